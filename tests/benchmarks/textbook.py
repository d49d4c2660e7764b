"""The implementation found in tutorials, written out to be timed against: nested loops, a dense box, clamp and log."""

import torch
from torch import Tensor, nn

Record = list[list[int]]


def collate(records: list[Record]) -> tuple[Tensor, Tensor, Tensor]:
    """Codes `[patient, visit, code]` and the masks of codes and visits, filled cell by cell."""
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
    """Embed every cell of the box, mask, sum, divide; run the recurrence over the padding; sigmoid."""

    def __init__(self, n_codes: int, embedding: int, hidden: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(n_codes, embedding, padding_idx=0)
        self.lstm = nn.LSTM(embedding, hidden, batch_first=True)
        self.head = nn.Linear(hidden, 1)

    def forward(self, codes: Tensor, code_mask: Tensor, visit_mask: Tensor) -> Tensor:
        embedded = self.embedding(codes) * code_mask[..., None]
        visits = embedded.sum(2) / code_mask.sum(2, keepdim=True).clamp(min=1)
        states, _ = self.lstm(visits)
        return torch.sigmoid(self.head(states)[..., 0]) * visit_mask


def loss(hazard: Tensor, stop: Tensor, observed: Tensor, visit_mask: Tensor) -> Tensor:
    """Clamped probabilities and their logarithms, with a full-credit last row so that the value is ours."""
    hazard = hazard.clamp(1e-7, 1 - 1e-7)
    visit = torch.arange(hazard.shape[1])
    event = (visit == stop[:, None] - 1) & observed[:, None]
    survived = (visit < stop[:, None]) & ~event & visit_mask
    log_likelihood = (torch.log(hazard) * event).sum(1) + (torch.log(1 - hazard) * survived).sum(1)
    return -log_likelihood.sum()
