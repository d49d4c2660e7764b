"""Chapter 7: wrong answers about masks: what a count, a padded row, a late label and a batch-mate do."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from visitwise.check import Mistake
from visitwise.textbook import weights_of_codes

EPS = 1e-7  # where `visitwise.textbook.clamp_and_log_nll` keeps a hazard of 0

# ------------------------------------------------------------- one visit, its sum divided by all cells of the box


def mean_over_codes(code_values: Float[Tensor, " code"], code_mask: Bool[Tensor, " code"]) -> Float[Tensor, ""]:
    """The mean of the real codes, which is what the count mask is for."""
    return code_values[code_mask].mean()


def sum_over_codes(code_values: Float[Tensor, " code"], code_mask: Bool[Tensor, " code"]) -> Float[Tensor, ""]:
    """The sum of the real codes, divided by nothing."""
    return code_values[code_mask].sum()


UNMASKED_COUNT = {
    "mean_over_codes": Mistake(
        "that is the mean of the codes; without the mask every cell of the box is counted", mean_over_codes
    ),
    "sum_over_codes": Mistake("that is the sum; it is still divided, by the cells of the box", sum_over_codes),
}
"""Wrong answers to the mean of a visit whose count is not masked, of `code_values` (0 in the padding), `code_mask`."""


# ------------------------------------------------------------------ a padded row with a hazard, and a label before it


def padding_survived(padded_hazard: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """The padded row charged as one more interval survived."""
    return -torch.log(1 - padded_hazard)


def padding_as_event(padded_hazard: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """The padded row charged as the event."""
    return -torch.log(padded_hazard)


PADDED_ROW = {
    "padding_survived": Mistake("you charged the padded row as survived; the label ends before it", padding_survived),
    "padding_as_event": Mistake("you charged the padded row as the event; the label ends before it", padding_as_event),
}
"""Wrong answers to what a padded row adds to a loss whose label ends before it, of the hazard found there."""


# --------------------------------------------------------------- an event labelled one row after the last visit made


def right_label(hazard: Float[Tensor, " visit"]) -> Float[Tensor, ""]:
    """The loss with the event where it was, after the last visit."""
    return -torch.log(1 - hazard[:-1]).sum() - torch.log(hazard[-1])


def clamped_zero(hazard: Float[Tensor, " visit"]) -> Float[Tensor, ""]:
    """The event charged at the padding's hazard of 0, which the clamp lifts to `EPS`."""
    return -torch.log(1 - hazard).sum() - torch.log(hazard.new_tensor(EPS))


def one_row_short(hazard: Float[Tensor, " visit"]) -> Float[Tensor, ""]:
    """The last visit's row left out, as if it were the event's."""
    return -torch.log(1 - hazard[:-1]).sum()


LATE_EVENT = {
    "right_label": Mistake("that is the loss with the right label", right_label),
    "clamped_zero": Mistake(
        "that charges the event at a padded hazard of 0, clamped; no such row is charged here", clamped_zero
    ),
    "one_row_short": Mistake("this label says that the last visit's row was survived, too", one_row_short),
}
"""Wrong answers to the masked loss of an event labelled one row too late, of the hazards at the visits made."""


# ------------------------------------------------------------------------------ one patient alone and in the batch


def first_patient(alone: Float[Tensor, " visit"], together: Float[Tensor, "patient wide"]) -> Float[Tensor, ""]:
    """Ben alone against the first patient of the batch."""
    return (together[0, : len(alone)] - alone).abs().max()


def mean_change(alone: Float[Tensor, " visit"], together: Float[Tensor, "patient wide"]) -> Float[Tensor, ""]:
    """The mean of the changes, in which a large one can hide."""
    return (together[1, : len(alone)] - alone).abs().mean()


def signed_change(alone: Float[Tensor, " visit"], together: Float[Tensor, "patient wide"]) -> Float[Tensor, ""]:
    """The largest change with its sign, which overlooks hazards that fall."""
    return (together[1, : len(alone)] - alone).max()


COMPANY = {
    "first_patient": Mistake("you compared with the first patient of the batch; Ben is the second", first_patient),
    "mean_change": Mistake("that is the mean change, and a large one can hide in it; take the largest", mean_change),
    "signed_change": Mistake("you overlooked the hazards that fall; take absolute values first", signed_change),
}
"""Wrong answers to how far the second patient's hazards move in company, of hazards `alone` and `together`."""


# ------------------------------------------------------------------------------- attention weights over real codes


def filled_with_zero(
    scores: Float[Tensor, "*visit code"], code_mask: Bool[Tensor, "*visit code"]
) -> Float[Tensor, "*visit code"]:
    """Scores of 0 in the padding, which the exponential makes 1."""
    return torch.softmax(scores * code_mask, -1)


def masked_after(
    scores: Float[Tensor, "*visit code"], code_mask: Bool[Tensor, "*visit code"]
) -> Float[Tensor, "*visit code"]:
    """The padding's share taken away after the softmax, and not given to the codes."""
    return torch.softmax(scores, -1) * code_mask


def unguarded(
    scores: Float[Tensor, "*visit code"], code_mask: Bool[Tensor, "*visit code"]
) -> Float[Tensor, "*visit code"]:
    """Minus infinity in the padding: right for every visit with a code, NaN for one without."""
    return weights_of_codes(scores, code_mask)


WEIGHTS = {
    "filled_with_zero": Mistake(
        "a score of 0 is a score: its exponential is 1, and the padding keeps a share", filled_with_zero
    ),
    "masked_after": Mistake(
        "you masked after the softmax, so what is left of a visit no longer sums to one", masked_after
    ),
    "unguarded": Mistake("a visit without any code is NaN: it has nothing to share out", unguarded),
}
"""Wrong attention weights over real codes, of `scores` and `code_mask`; each gives a tensor."""
