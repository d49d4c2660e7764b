"""The padded survival LSTM as tutorials write it: nested loops, a dense box, three masks, clamp and log.

Kept to be looked at, taken apart and measured against (chapters 2 and 5 to 7). `visitwise.model` and
`visitwise.functional` give the same numbers in another way, and the tests hold the two together.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

Record = list[list[int]]


def collate(
    records: list[Record],
) -> tuple[Int[Tensor, "patient visit code"], Bool[Tensor, "patient visit code"], Bool[Tensor, "patient visit"]]:
    """Codes in a box, and the masks of its codes and of its visits, filled cell by cell.

    Args:
        records: for each patient the visits, for each visit the numbers of its codes; 0 is the padding.

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
    n_codes = max(len(codes) for visits in records for codes in visits)
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
    """

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
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(n_codes, embedding, padding_idx=padding_idx)
        self.lstm = nn.LSTM(embedding, hidden, batch_first=True, bidirectional=bidirectional)
        self.head = nn.Linear(hidden * (2 if bidirectional else 1), 1)
        self.packed = packed
        self.mask_code_sum = mask_code_sum
        self.mask_code_count = mask_code_count
        self.mask_hazard = mask_hazard

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

    def visit_vectors(
        self, codes: Int[Tensor, "patient visit code"], code_mask: Bool[Tensor, "patient visit code"]
    ) -> Float[Tensor, "patient visit feature"]:
        """The mean of the vectors of each visit's codes; zeros for a visit without any."""
        embedded: Tensor = self.embedding(codes)
        if self.mask_code_sum:
            embedded = embedded * code_mask[..., None]
        counted = code_mask if self.mask_code_count else torch.ones_like(code_mask)
        return embedded.sum(2) / counted.sum(2, keepdim=True).clamp(min=1)


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
        eps: probabilities are kept between this and one minus this; None leaves them as they are.

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
