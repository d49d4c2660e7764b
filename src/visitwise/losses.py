"""The likelihoods as modules that store settings, and for an `Outcome`; `visitwise.functional` does the work."""

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from visitwise import functional as F
from visitwise.cohort import Outcome
from visitwise.functional import Reduction


def outcome_nll(
    hazard_logits: Float[Tensor, "patient visit"], outcome: Outcome, reduction: Reduction = "mean"
) -> Float[Tensor, "..."]:
    """`visitwise.functional.hazard_nll` with all that an outcome says: start, stop, event, censored exposure.

    An event of any cause counts.

    Examples:
        >>> import torch
        >>> outcome = Outcome.of(stop=torch.tensor([2]), observed=torch.tensor([True]))
        >>> outcome_nll(torch.tensor([[0.0, 1.0]]), outcome)
        tensor(1.0064)
    """
    exposure = outcome.censored_exposure.to(hazard_logits.dtype)
    return F.hazard_nll(hazard_logits, outcome.stop, outcome.observed, outcome.start, exposure, reduction)


class HazardNLL(nn.Module):
    """Discrete-time survival loss over `[patient, visit]`; see `visitwise.functional.hazard_nll`.

    Examples:
        >>> import torch
        >>> loss = HazardNLL(censored_exposure=0.5)
        >>> loss
        HazardNLL(censored_exposure=0.5, reduction='mean')
        >>> loss(torch.zeros(1, 2), stop=torch.tensor([2]), observed=torch.tensor([False]))
        tensor(1.0397)
    """

    def __init__(self, censored_exposure: float = 1.0, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.censored_exposure = censored_exposure
        self.reduction = reduction

    def forward(
        self,
        hazard_logits: Float[Tensor, "*patient visit"],
        stop: Int[Tensor, "*patient"],
        observed: Bool[Tensor, "*patient"],
        start: Int[Tensor, "*patient"] | None = None,
    ) -> Float[Tensor, "..."]:
        return F.hazard_nll(hazard_logits, stop, observed, start, self.censored_exposure, self.reduction)

    def extra_repr(self) -> str:
        return f"censored_exposure={self.censored_exposure}, reduction={self.reduction!r}"


class HazardNLLFlat(nn.Module):
    """Discrete-time survival loss over rows without padding; see `visitwise.functional.hazard_nll_flat`.

    Examples:
        >>> import torch
        >>> logits, offsets = torch.tensor([0.0, 0.0]), torch.tensor([0, 2])
        >>> HazardNLLFlat()(logits, offsets, stop=torch.tensor([2]), observed=torch.tensor([True]))
        tensor(1.3863)
    """

    def __init__(self, censored_exposure: float = 1.0, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.censored_exposure = censored_exposure
        self.reduction = reduction

    def forward(
        self,
        hazard_logits: Float[Tensor, " row"],
        offsets: Int[Tensor, " patient_and_end"],
        stop: Int[Tensor, " patient"],
        observed: Bool[Tensor, " patient"],
        start: Int[Tensor, " patient"] | None = None,
    ) -> Float[Tensor, "..."]:
        return F.hazard_nll_flat(hazard_logits, offsets, stop, observed, start, self.censored_exposure, self.reduction)

    def extra_repr(self) -> str:
        return f"censored_exposure={self.censored_exposure}, reduction={self.reduction!r}"
