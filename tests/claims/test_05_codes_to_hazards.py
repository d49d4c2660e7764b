"""Claims of the notes on embedding, pooling, and what padding does to gradients and states."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from tests.ledger import Evidence, claim
from visitwise.simulate import draw_outcome
from visitwise.textbook import TextbookLSTM, clamp_and_log_nll, collate

Box = tuple[Tensor, Tensor, Tensor]


def model_of_the_notes(seed: int = 0, **settings: bool) -> TextbookLSTM:
    """Mean of code vectors, LSTM, sigmoid; the vector of code 0 is zero."""
    return TextbookLSTM(10, embedding=4, hidden=6, seed=seed, **settings).double()


def box_of(n_patients: int = 8, seed: int = 0) -> Box:
    """Patients of 1 to 9 visits with 1 to 6 codes each, in the box of the notes with its two masks."""
    random = np.random.default_rng(seed)
    lengths = random.integers(1, 10, n_patients)
    return collate([[random.integers(1, 10, random.integers(1, 7)).tolist() for _ in range(n)] for n in lengths])


def gradient_of_vectors(model: TextbookLSTM, box: Box, stop: Tensor, observed: Tensor, *, masked: bool) -> Tensor:
    """Gradient of the notes' loss with respect to the vector of every place for a visit, real or padded."""
    codes, code_mask, visit_mask = box
    vectors = model.visit_vectors(codes, code_mask).detach().requires_grad_()
    hazard = torch.sigmoid(model.head(model.lstm(vectors)[0])[..., 0])
    if masked:
        hazard = hazard * visit_mask
    loss = clamp_and_log_nll(hazard, stop, observed, visit_mask if masked else None)
    return torch.autograd.grad(loss, vectors)[0]


@claim(
    "D6",
    "In the backward pass only real visits contribute to the gradient; padded ones get zero. (The masks are given as "
    "the reason.)",
    source="integration",
    verdict="TRUE",
    shows="Of {padded} padded places {padded_reached} get a gradient. Of {real} real visits {late} get exactly none, "
    "too: those after the patient's last row.",
    teaches="True of the notes' model, which reads forward, and not the whole truth: the outcome is a mask already. A "
    "real visit after the last row that counts teaches nothing, and padding gets exactly zero without any mask on "
    "hazards or loss. In a bidirectional LSTM it does get a gradient, whatever the masks.",
    chapter="05-codes-to-hazards#where-the-gradient-goes",
)
def test_padding_and_real_visits_after_the_last_row_get_no_gradient(evidence: Evidence) -> None:
    box = box_of()
    visit_mask, random = box[2], np.random.default_rng(1)
    length = visit_mask.sum(1)
    stop = torch.tensor([random.integers(1, n + 1) for n in length.tolist()])
    observed = torch.from_numpy(random.random(len(stop)) < 0.5)
    gradients = [
        gradient_of_vectors(model_of_the_notes(), box, stop, observed, masked=masked) for masked in (True, False)
    ]
    asked = torch.arange(visit_mask.shape[1]) < stop[:, None]
    for gradient in gradients:
        assert torch.equal((gradient != 0).any(-1), asked)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=0, atol=1e-15)
    reached = (gradients[0] != 0).any(-1)
    late = visit_mask & ~reached
    two_ways = gradient_of_vectors(model_of_the_notes(bidirectional=True), box, stop, observed, masked=True)
    assert (two_ways != 0).any(-1)[~visit_mask].any()
    assert int(late.sum()) == int((length - stop).sum()) > 0
    evidence(
        padded=int((~visit_mask).sum()),
        padded_reached=int((reached & ~visit_mask).sum()),
        real=int(visit_mask.sum()),
        late=int(late.sum()),
    )


@claim(
    "D11",
    "At a padded visit the output of the LSTM is zeros.",
    source="architecture",
    verdict="FALSE",
    shows="At {n} padded visits the states have lengths from {low:.2f} to {high:.2f}. Packed, the lengths are exactly "
    "{packed:.0f}, and the head still makes a hazard of {hazard:.3f} of such a state.",
    teaches="An LSTM goes on over padding, from the state it has. Packing leaves zeros there, and the head turns zeros "
    "into the sigmoid of its bias. Whatever the states, the hazards of padding have to be masked.",
    chapter="05-codes-to-hazards#padding-has-hazards-too",
)
def test_padded_states_are_not_zero_and_packed_ones_still_give_a_hazard(evidence: Evidence) -> None:
    codes, code_mask, visit_mask = box_of()
    model = model_of_the_notes()
    states = model.lstm(model.visit_vectors(codes, code_mask))[0][~visit_mask].norm(dim=-1)
    assert (states > 0.05).all()
    packed = nn.utils.rnn.pack_padded_sequence(
        model.visit_vectors(codes, code_mask), visit_mask.sum(1), batch_first=True, enforce_sorted=False
    )
    zeros, _ = nn.utils.rnn.pad_packed_sequence(model.lstm(packed)[0], batch_first=True)
    lengths = zeros[~visit_mask].norm(dim=-1)
    assert (lengths == 0).all()
    unmasked = model_of_the_notes(packed=True, mask_hazard=False)(codes, code_mask, visit_mask)[~visit_mask]
    torch.testing.assert_close(unmasked, model.head.bias.sigmoid().expand_as(unmasked))
    evidence(
        n=len(states),
        low=states.min().item(),
        high=states.max().item(),
        packed=lengths.max().item(),
        hazard=unmasked[0].item(),
    )


@claim(
    "D23",
    "`padding_idx=0` keeps padded codes out of a visit's vector.",
    source="architecture; lstm baseline",
    verdict="DEPENDS",
    shows="Write a vector of sevens for the padding: with all masks on, hazards move by exactly {masked:.0f}, without "
    "the mask in the sum over codes by up to {sevens:.3f}. Leave the padding's vector at zero: without that mask they "
    "move by exactly {zeros:.0f}. Without the mask in the count of codes they move by up to {count:.3f} in either "
    "case.",
    teaches="`padding_idx=0` holds the vector of the padding at zero, so that it adds nothing to a sum. The mask of "
    "the sum does the same; one of the two is enough. Neither mends the number that the sum is divided by.",
    chapter="05-codes-to-hazards#one-vector-for-each-visit",
)
def test_padding_idx_or_a_mask_keeps_padding_out_of_the_sum_and_neither_out_of_the_count(evidence: Evidence) -> None:
    box = box_of()
    right = model_of_the_notes()(*box)

    def moved(row: float, **settings: bool) -> float:
        model = model_of_the_notes(**settings)
        with torch.no_grad():
            model.embedding.weight[0] = row
        return (model(*box) - right).abs().max().item()

    assert moved(7.0) == moved(0.0, mask_code_sum=False) == 0
    assert moved(7.0, mask_code_sum=False) > 0.01
    assert moved(0.0, mask_code_count=False) == moved(7.0, mask_code_count=False) > 0.01
    evidence(
        masked=moved(7.0),
        sevens=moved(7.0, mask_code_sum=False),
        zeros=moved(0.0, mask_code_sum=False),
        count=moved(0.0, mask_code_count=False),
    )


@claim(
    "D27",
    "A plain mean over a visit's cells, with one cell in five padding, is one fifth weaker than the masked mean.",
    source="lstm baseline",
    verdict="TRUE",
    shows="With 4 of 5 cells real the plain mean is {four_of_five:.0%} as long as the masked one, with 3 of 4 it is "
    "{three_of_four:.0%}. In one batch of visits with 1 to 6 codes it is between {low:.0%} and {high:.0%}.",
    teaches="Right where the padding's vectors are zero, and worse than a weaker signal: each visit shrinks by its own "
    "share of padding, and the widest visit of the batch decides it. The same visit gets another vector in other "
    "company.",
    chapter="05-codes-to-hazards#one-vector-for-each-visit",
)
def test_a_plain_mean_is_shorter_by_the_share_of_padding_of_each_visit(evidence: Evidence) -> None:
    plain, right = model_of_the_notes(mask_code_count=False), model_of_the_notes()

    def ratio(codes: Tensor) -> Tensor:
        mask = codes != 0
        return plain.visit_vectors(codes, mask).norm(dim=-1) / right.visit_vectors(codes, mask).norm(dim=-1)

    four_of_five, three_of_four = (ratio(torch.tensor([[codes]])) for codes in ([3, 8, 1, 5, 0], [3, 8, 1, 0]))
    assert four_of_five.item() == pytest.approx(4 / 5)
    assert three_of_four.item() == pytest.approx(3 / 4)
    codes, code_mask, visit_mask = box_of()
    shares = ratio(codes)[visit_mask]
    torch.testing.assert_close(shares, code_mask.double().mean(-1)[visit_mask])
    evidence(
        four_of_five=four_of_five.item(),
        three_of_four=three_of_four.item(),
        low=shares.min().item(),
        high=shares.max().item(),
    )


@claim(
    "D28",
    "A loss over padded steps teaches the model that padding predicts the outcome, which is temporal leakage.",
    source="variable length",
    verdict="DEPENDS",
    shows="Of {patients:,} simulated patients with a hazard of {truth:.2f} at each of {visits} visits, {dropout:.0%} "
    "are lost after each. One hazard for all is learned as {right:.3f} from the real rows, and as {padded:.3f} when "
    "padded steps count as survived ones. With other codes in the padding, the hazards of an LSTM at real visits move "
    "by exactly {moved:.0f}; those of a bidirectional one by up to {both_ways:.3f}.",
    teaches="A loss over padding is wrong, but what it does to a model that reads forwards is bias, not leakage: "
    "padding stands after the real visits, and cannot be heard of in time. How large the bias is depends on what "
    "padded and real steps share; with a weight of its own for padding the real hazards come out right.",
    chapter="05-codes-to-hazards#why-a-hazard-sees-no-later-visit",
)
def test_a_loss_over_padding_bends_hazards_and_tells_earlier_ones_nothing(evidence: Evidence) -> None:
    truth, width, dropout = 0.1, 10, 0.1
    outcome = draw_outcome(torch.full((20_000, width), truth, dtype=torch.float64), dropout=dropout, seed=3)
    real = torch.arange(width) < outcome.stop[:, None]
    label = (torch.arange(width) == outcome.stop[:, None] - 1) & outcome.observed[:, None]
    right, padded = label[real].double().mean(), label.double().mean()
    assert abs(right - truth) < 0.005
    assert padded < 0.8 * truth

    shared = padded.logit().requires_grad_()
    own = torch.stack([right.logit(), torch.tensor(-40.0).double()]).requires_grad_()  # one for real, one for padded
    for logits, weights in [(shared.expand_as(real), shared), (own[(~real).long()], own)]:
        slope = torch.autograd.grad(binary_cross_entropy_with_logits(logits, label.double()), weights)[0]
        assert slope.abs().max() < 1e-12, "each is the smallest loss over all steps, padded ones included"

    codes, code_mask, visit_mask = box_of()
    random = np.random.default_rng(4)
    other = codes.where(visit_mask[..., None], torch.from_numpy(random.integers(1, 10, codes.shape)))
    other_mask = code_mask | ~visit_mask[..., None]
    moved = {}
    for bidirectional in (False, True):
        model = model_of_the_notes(bidirectional=bidirectional)
        difference = model(codes, code_mask, visit_mask) - model(other, other_mask, visit_mask)
        moved[bidirectional] = difference[visit_mask].abs().max().item()
    assert moved[False] == 0
    assert moved[True] > 0.001
    evidence(
        patients=len(outcome),
        visits=width,
        dropout=dropout,
        truth=truth,
        right=right.item(),
        padded=padded.item(),
        moved=moved[False],
        both_ways=moved[True],
    )
