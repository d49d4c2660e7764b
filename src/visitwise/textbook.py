"""The padded survival LSTM as tutorials write it: nested loops, a dense box, three masks, clamp and log.

Kept to be looked at, taken apart and measured against (chapters 2 and 4 to 7). `visitwise.model` and
`visitwise.functional` give the same numbers in another way, and the tests hold the two together.
"""

from itertools import product
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from visitwise._explain import explained

Record = list[list[int]]
Pooling = Literal["mean", "max", "attention"]


@explained
def collate(
    records: list[Record],
) -> tuple[Int[Tensor, "patient visit code"], Bool[Tensor, "patient visit code"], Bool[Tensor, "patient visit"]]:
    """Codes in a box, and the masks of its codes and of its visits, filled cell by cell. Nothing is checked.

    Args:
        records: for each patient the visits, for each visit the numbers of its codes; 0 is the padding. A visit may
            be without codes; then it, too, has one cell at least.

    Examples:
        >>> codes, code_mask, visit_mask = collate([[[3, 5], [4]], [[6]]])
        >>> codes
        tensor([[[3, 5],
                 [4, 0]],
        <BLANKLINE>
                [[6, 0],
                 [0, 0]]])
        >>> visit_mask
        tensor([[ True,  True],
                [ True, False]])
    """
    n_visits = max(len(visits) for visits in records)
    n_codes = max(1, *(len(codes) for visits in records for codes in visits))
    codes = torch.zeros(len(records), n_visits, n_codes, dtype=torch.long)
    code_mask = torch.zeros(len(records), n_visits, n_codes, dtype=torch.bool)
    visit_mask = torch.zeros(len(records), n_visits, dtype=torch.bool)
    for i, visits in enumerate(records):
        for k, visit in enumerate(visits):
            visit_mask[i, k] = True
            for c, code in enumerate(visit):
                codes[i, k, c] = code
                code_mask[i, k, c] = True
    return codes, code_mask, visit_mask


@explained
def weights_of_codes(
    scores: Float[Tensor, "*visit code"], code_mask: Bool[Tensor, "*visit code"], *, guard_empty: bool = False
) -> Float[Tensor, "*visit code"]:
    """Attention weights from scores: a softmax over each visit's real codes.

    Args:
        scores: one number for each cell of the box.
        code_mask: which cells hold a code.
        guard_empty: give a visit without any code weights of 0. Without it they are 0/0, which is NaN.

    Examples:
        >>> scores = torch.tensor([[2.0, 2.0, 0.0], [0.0, 0.0, 0.0]])
        >>> code_mask = torch.tensor([[True, True, False], [False, False, False]])
        >>> weights_of_codes(scores, code_mask)
        tensor([[0.5000, 0.5000, 0.0000],
                [   nan,    nan,    nan]])
        >>> weights_of_codes(scores, code_mask, guard_empty=True)
        tensor([[0.5000, 0.5000, 0.0000],
                [0.0000, 0.0000, 0.0000]])
    """
    if code_mask.shape != scores.shape:
        raise ValueError(f"code_mask has shape {list(code_mask.shape)}; expected {list(scores.shape)}, as the scores")
    scores = scores.masked_fill(~code_mask, -torch.inf)
    if guard_empty:
        # The NaN of an empty visit would not reach the scores, but anomaly detection would stop at it on the way back.
        scores = scores.masked_fill(~code_mask.any(-1, keepdim=True), 0)
    weights = torch.softmax(scores, -1)
    return torch.where(code_mask, weights, 0) if guard_empty else weights


class TextbookLSTM(nn.Module):
    """Embed every cell of the box, mask, sum, divide; run the LSTM over the padding; sigmoid, mask.

    Each mask can be left out, to see what it does.

    Args:
        n_codes: size of the vocabulary, the padding 0 included.
        embedding: width of a code's vector.
        hidden: width of the LSTM's state.
        padding_idx: 0 keeps the vector of the padding at zero; None treats it as a code like any other.
        bidirectional: also read the visits from last to first. Such a model sees what comes after a visit.
        packed: run the LSTM over a `PackedSequence`, not over the padding.
        mask_code_sum: leave padded codes out of the sum over a visit's codes.
        mask_code_count: leave padded codes out of the number that the sum is divided by.
        mask_hazard: write a hazard of 0 where there is no visit.
        pooling: how the vectors of a visit's codes become one. `"mean"` sums and divides; `"max"` takes the largest
            number of each feature, `"attention"` a mean weighted by learned scores. Both of these fill padded codes
            with minus infinity, unless `mask_code_sum` is off; they have nothing to count.
        guard_empty: give a visit without any code the vector 0, where `"max"` has minus infinity and `"attention"` NaN.
        seed: Seed of the first weights, drawn by NumPy: torch's normal numbers depend on the processor.

    Examples:
        >>> model = TextbookLSTM(n_codes=7, embedding=2, hidden=3)
        >>> hazard = model(*collate([[[3, 5], [4]], [[6]]]))
        >>> hazard.shape, hazard[1, 1].item()  # the second patient has no second visit
        (torch.Size([2, 2]), 0.0)
    """

    @explained
    def __init__(
        self,
        n_codes: int,
        embedding: int,
        hidden: int,
        *,
        padding_idx: int | None = 0,
        bidirectional: bool = False,
        packed: bool = False,
        mask_code_sum: bool = True,
        mask_code_count: bool = True,
        mask_hazard: bool = True,
        pooling: Pooling = "mean",
        guard_empty: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if pooling not in ("mean", "max", "attention"):
            raise ValueError(f"pooling is {pooling!r}; expected 'mean', 'max' or 'attention'")
        with torch.random.fork_rng(devices=[]):  # what torch draws is replaced below; its generator is left alone
            self.embedding = nn.Embedding(n_codes, embedding, padding_idx=padding_idx)
            self.lstm = nn.LSTM(embedding, hidden, batch_first=True, bidirectional=bidirectional)
            self.head = nn.Linear(hidden * (2 if bidirectional else 1), 1)
            self.score = nn.Linear(embedding, 1) if pooling == "attention" else None
        self.packed = packed
        self.pooling = pooling
        self.guard_empty = guard_empty
        self.mask_code_sum = mask_code_sum
        self.mask_code_count = mask_code_count
        self.mask_hazard = mask_hazard
        self._draw_weights(seed, hidden**-0.5)

    @torch.no_grad()
    def _draw_weights(self, seed: int, bound: float) -> None:
        """The same numbers whatever the masks, and the vector of the padding drawn too, so that worlds compare."""
        random = np.random.default_rng(seed)
        for name, parameter in self.named_parameters():
            if name == "embedding.weight":
                drawn = random.normal(size=parameter.shape)
                if self.embedding.padding_idx is not None:
                    drawn[self.embedding.padding_idx] = 0
            else:
                drawn = random.uniform(-bound, bound, parameter.shape)
            parameter.copy_(torch.from_numpy(drawn))

    @explained
    def forward(
        self,
        codes: Int[Tensor, "patient visit code"],
        code_mask: Bool[Tensor, "patient visit code"],
        visit_mask: Bool[Tensor, "patient visit"],
    ) -> Float[Tensor, "patient visit"]:
        """Hazards, not logits."""
        visits = self.visit_vectors(codes, code_mask)
        if self.packed:
            lengths = visit_mask.sum(1).cpu()
            packed = pack_padded_sequence(visits, lengths, batch_first=True, enforce_sorted=False)
            states, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=visits.shape[1])
        else:
            states, _ = self.lstm(visits)
        hazard: Tensor = torch.sigmoid(self.head(states)[..., 0])
        return hazard * visit_mask if self.mask_hazard else hazard

    @explained
    def visit_vectors(
        self, codes: Int[Tensor, "patient visit code"], code_mask: Bool[Tensor, "patient visit code"]
    ) -> Float[Tensor, "patient visit feature"]:
        """One vector for each visit from those of its codes; by the mean, zeros for a visit without any."""
        embedded: Tensor = self.embedding(codes)
        if self.pooling == "mean":
            if self.mask_code_sum:
                embedded = embedded * code_mask[..., None]
            counted = code_mask if self.mask_code_count else torch.ones_like(code_mask)
            return embedded.sum(2) / counted.sum(2, keepdim=True).clamp(min=1)
        kept = code_mask if self.mask_code_sum else torch.ones_like(code_mask)
        if self.score is not None:
            weights = weights_of_codes(self.score(embedded)[..., 0], kept, guard_empty=self.guard_empty)
            return (embedded * weights[..., None]).sum(2)
        largest = embedded.masked_fill(~kept[..., None], -torch.inf).max(2).values
        return largest.where(kept.any(2, keepdim=True), 0) if self.guard_empty else largest


@explained
def clamp_and_log_nll(
    hazard: Float[Tensor, "patient visit"],
    stop: Int[Tensor, " patient"],
    observed: Bool[Tensor, " patient"],
    visit_mask: Bool[Tensor, "patient visit"] | None = None,
    eps: float | None = 1e-7,
) -> Float[Tensor, ""]:
    """Mean NLL of clamped probabilities and their logarithms: what `visitwise.functional.hazard_nll` avoids.

    The last row of a censored patient counts, so that the value is the package's own. Nothing is checked.

    Args:
        hazard: probabilities.
        stop: how many rows each patient has.
        observed: whether the last row ended in the event.
        visit_mask: rows to leave out of the sum, by multiplying with 0; None for none.
        eps: probabilities are kept between this and one minus this; None leaves them as they are, and a hazard of
            exactly 0 or 1 then makes the loss infinite or NaN.

    Examples:
        >>> hazard = torch.tensor([[0.1, 0.2, 0.3]], dtype=torch.float64)
        >>> clamp_and_log_nll(hazard, torch.tensor([3]), torch.tensor([True]))
        tensor(1.5325, dtype=torch.float64)
    """
    if eps is not None:
        hazard = hazard.clamp(eps, 1 - eps)
    visit = torch.arange(hazard.shape[1], device=hazard.device)
    event = (visit == stop[:, None] - 1) & observed[:, None]
    survived = (visit < stop[:, None]) & ~event
    if visit_mask is not None:
        event, survived = event & visit_mask, survived & visit_mask
    log_likelihood = (torch.log(hazard) * event).sum(1) + (torch.log(1 - hazard) * survived).sum(1)
    return -log_likelihood.mean()


class Effect(NamedTuple):
    """A run with some masks off: the loss, how far it is from the loss with all four, and the same of the gradient."""

    off: tuple[str, ...]
    loss: float
    loss_change: float
    gradient_change: float


MASKS = ("code sum", "code count", "hazard", "loss")


@explained
def effects_of_masks(
    records: list[Record],
    stop: Int[Tensor, " patient"],
    observed: Bool[Tensor, " patient"],
    *,
    n_codes: int,
    embedding: int = 4,
    hidden: int = 5,
    padding_idx: int | None = 0,
    bidirectional: bool = False,
    seed: int = 0,
) -> list[Effect]:
    """Switch each of the four masks off and on, all sixteen ways, and compare with all of them on.

    The gradient's change is the largest that any entry of any parameter's gradient sees.

    Args:
        records: as `collate` takes them.
        stop: how many rows each patient has; nothing is checked, so it may point past the last visit.
        observed: whether the last row ended in the event.
        n_codes: size of the vocabulary, the padding included.
        embedding: width of a code's vector.
        hidden: width of the LSTM's state.
        padding_idx: as in `TextbookLSTM`.
        bidirectional: as in `TextbookLSTM`.
        seed: as in `TextbookLSTM`.

    Examples:
        >>> stop, observed = torch.tensor([2, 1]), torch.tensor([True, True])
        >>> effects = effects_of_masks([[[1, 2], [3]], [[2]]], stop, observed, n_codes=4)
        >>> len(effects), effects[0].off, effects[-1].off
        (16, (), ('code sum', 'code count', 'hazard', 'loss'))
        >>> {effect.off: effect.loss_change for effect in effects}["hazard", "loss"]
        0.0
    """
    codes, code_mask, visit_mask = collate(records)
    runs = []
    for on in product((True, False), repeat=len(MASKS)):
        code_sum, code_count, in_hazard, in_loss = on
        model = TextbookLSTM(
            n_codes,
            embedding,
            hidden,
            padding_idx=padding_idx,
            bidirectional=bidirectional,
            mask_code_sum=code_sum,
            mask_code_count=code_count,
            mask_hazard=in_hazard,
            seed=seed,
        )
        hazard = model(codes, code_mask, visit_mask)
        loss = clamp_and_log_nll(hazard, stop, observed, visit_mask if in_loss else None)
        gradient = torch.cat([part.flatten() for part in torch.autograd.grad(loss, list(model.parameters()))])
        off = tuple(name for name, is_on in zip(MASKS, on, strict=True) if not is_on)
        runs.append((off, loss.detach(), gradient))
    _, whole_loss, whole_gradient = runs[0]
    return [
        Effect(off, float(loss), float(loss - whole_loss), float((gradient - whole_gradient).abs().max()))
        for off, loss, gradient in runs
    ]


@explained
def change_in_company(model: TextbookLSTM, records: list[Record], patient: int) -> float:
    """How far a patient's hazards in this batch are from those alone: the largest difference at any visit made.

    Args:
        model: reads a batch of any size.
        records: the batch, as `collate` takes it.
        patient: position in the batch.

    Examples:
        >>> careless = TextbookLSTM(4, 2, 3, mask_code_sum=False, mask_code_count=False, mask_hazard=False)
        >>> change_in_company(careless, [[[1, 2, 3], [3]], [[2]]], 1) > 0.001
        True
    """
    with torch.no_grad():
        together = model(*collate(records))[patient]
        alone = model(*collate([records[patient]]))[0]
    return float((together[: len(alone)] - alone).abs().max())
