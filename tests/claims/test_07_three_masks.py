"""Claims about masks, tried: what each of them moves, and what breaks where there is nothing to mask."""

import itertools
import math

import numpy as np
import pytest
import torch
from pycox.models.loss import nll_logistic_hazard
from torch import Tensor, nn

from tests.ledger import Evidence, claim
from visitwise.cohort import Cohort, Outcome
from visitwise.functional import hazard_nll
from visitwise.textbook import TextbookLSTM, change_in_company, clamp_and_log_nll, collate
from visitwise.visits import Visits

ADA, BEN, CLEO = [[1, 2], [3], [2, 4]], [[5], [1, 6]], [[2], [1, 2, 3, 4, 5, 6], [3]]
RECORDS = [ADA, BEN, CLEO]
STOP, OBSERVED = torch.tensor([3, 2, 3]), torch.tensor([True, True, False])
NO_MASKS = {"mask_code_sum": False, "mask_code_count": False, "mask_hazard": False}
MASKS_PAGE = "07-three-masks"


@pytest.fixture(autouse=True)
def _float64():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def run(
    *, in_hazard: bool = True, in_loss: bool = True, of_codes: bool = True, stop: Tensor = STOP
) -> tuple[float, Tensor]:
    """Loss and gradient of three patients, with some masks left out; their labels are valid unless `stop` is not."""
    codes, code_mask, visit_mask = collate(RECORDS)
    model = TextbookLSTM(7, 4, 5, seed=2, mask_hazard=in_hazard, mask_code_sum=of_codes, mask_code_count=of_codes)
    hazard = model(codes, code_mask, visit_mask)
    loss = clamp_and_log_nll(hazard, stop, OBSERVED, visit_mask if in_loss else None)
    slopes = torch.autograd.grad(loss, list(model.parameters()))
    return loss.item(), torch.cat([slope.flatten() for slope in slopes])


def notes_nll(hazard: Tensor, time: Tensor, event: Tensor, mask: Tensor | None) -> Tensor:
    """The notes' loss: `time` is the index of the event or of censoring, and both terms are multiplied by the mask."""
    hazard = hazard.clamp(1e-7, 1 - 1e-7)
    visit = torch.arange(hazard.shape[1])[None, :]
    before, at = (visit < time[:, None]).double() * mask, (visit == time[:, None]).double() * mask
    log_likelihood = (torch.log(1 - hazard) * before).sum(1) + (torch.log(hazard) * at).sum(1) * event
    return -log_likelihood.mean()


@claim(
    "D12",
    "Masking at three levels, a visit's codes, the hazards of padded visits and the terms of the loss, makes the "
    "pipeline robust: it stays correct even if one level is missed.",
    source="integration",
    verdict="DEPENDS",
    shows="Without the mask on the hazards, the mask in the loss, or both, loss and slopes change by {idle:.0f}, to "
    "the last bit. Without the masks on the codes the loss goes from {loss:.4f} to {missed:.4f}, and a slope by up to "
    "{slope:.3f}.",
    teaches="It depends on which is missed. With valid labels two of them do nothing. The third is "
    "needed, for the number that the sum over a visit's codes is divided by.",
    chapter=f"{MASKS_PAGE}#sixteen-ways-to-leave-masks-out",
)
def test_of_three_levels_of_masks_two_do_nothing_and_one_cannot_be_missed(evidence: Evidence) -> None:
    loss, slopes = run()
    changes = []
    for in_hazard, in_loss in ((False, True), (True, False), (False, False)):
        other, other_slopes = run(in_hazard=in_hazard, in_loss=in_loss)
        changes += [abs(other - loss), float((other_slopes - slopes).abs().max())]
    assert changes == [0.0] * 6
    late = torch.tensor([3, 3, 3])  # Ben's event in the padding: the two masks that were idle now matter
    both, one, neither = (
        run(stop=late, in_loss=in_loss, in_hazard=in_hazard)[0]
        for in_loss, in_hazard in ((True, True), (False, True), (False, False))
    )
    assert both + 0.1 < neither < one - 1
    missed, missed_slopes = run(of_codes=False)
    slope = float((missed_slopes - slopes).abs().max())
    assert abs(missed - loss) > 0.01
    assert slope > 0.03
    evidence(idle=max(changes), loss=loss, missed=missed, slope=slope)


@claim(
    "D13",
    "The loss needs the sequence mask; otherwise padding is counted as survival and biases the loss.",
    source="integration",
    verdict="FALSE",
    shows="On the notes' own two patients the loss is {masked:.4f} with the mask and {ones:.4f} with a mask that is 1 "
    "everywhere. Over {batches} random batches with valid labels the largest difference is {largest:.0f}.",
    teaches="A hazard of 0 survived costs -log 1 = 0, which can bias nothing, and rows after the label are not in the "
    "sum anyway. The mask acts only where a label points past the last visit.",
    chapter=f"{MASKS_PAGE}#why-two-masks-are-idle",
)
def test_the_loss_is_the_same_number_with_a_mask_of_ones(evidence: Evidence) -> None:
    hazard = torch.tensor([[0.1, 0.2, 0.3, 0.0, 0.0], [0.15, 0.25, 0.0, 0.0, 0.0]])
    time, event = torch.tensor([2, 1]), torch.tensor([1.0, 0.0])
    mask = torch.tensor([[1.0, 1, 1, 0, 0], [1, 1, 0, 0, 0]])
    masked, ones = (notes_nll(hazard, time, event, m).item() for m in (mask, torch.ones(2, 5)))
    assert masked == ones
    largest, batches = 0.0, 50
    for seed in range(batches):
        random = np.random.default_rng(seed)
        length = torch.from_numpy(random.integers(1, 9, 16))
        mask = (torch.arange(8) < length[:, None]).double()
        hazard = torch.from_numpy(random.uniform(0.01, 0.9, (16, 8))) * mask
        time = torch.from_numpy(random.integers(0, length.numpy()))
        event = torch.from_numpy(random.random(16) < 0.5).double()
        with_mask, with_ones = (notes_nll(hazard, time, event, m).item() for m in (mask, torch.ones_like(mask)))
        largest = max(largest, abs(with_mask - with_ones))
    assert largest == 0
    evidence(masked=masked, ones=ones, batches=batches, largest=largest)


@claim(
    "D14",
    "If the model does not mask its output, the hazards of padded visits contaminate the loss.",
    source="integration",
    verdict="FALSE",
    shows="With and without the mask on its output the loss is {loss:.4f}, {difference:.0f} apart. A risk score that "
    "adds up all hazards of a patient with a padded visit goes from {clean:.3f} to {dirty:.3f}.",
    teaches="With valid labels the loss asks for no padded hazard. Whoever adds or plots hazards does; NaN in their "
    "place, not 0, makes that visible.",
    chapter=f"{MASKS_PAGE}#sixteen-ways-to-leave-masks-out",
)
def test_unmasked_hazards_spoil_a_sum_of_hazards_and_not_the_loss(evidence: Evidence) -> None:
    loss, slopes = run()
    unmasked, unmasked_slopes = run(in_hazard=False)
    assert unmasked == loss
    assert torch.equal(unmasked_slopes, slopes)
    batch = collate(RECORDS)
    with torch.no_grad():
        clean, dirty = (TextbookLSTM(7, 4, 5, seed=2, mask_hazard=on)(*batch)[1].sum().item() for on in (True, False))
    assert dirty > clean + 0.4
    evidence(loss=loss, difference=abs(unmasked - loss), clean=clean, dirty=dirty)


@claim(
    "D15",
    "Without a mask (None in its place) the loss is computed on padded visits and gets incorrect values.",
    source="integration",
    verdict="FALSE",
    shows="None raises `{error}`, so there is no value at all. A mask that is 1 everywhere, which masks nothing, gives "
    "the value with the right mask: {value:.4f}, {difference:.0f} apart.",
    teaches="A missing mask cannot go unnoticed in this code. And where it is left out on purpose, valid labels keep "
    "padding out of the sum.",
    chapter=f"{MASKS_PAGE}#why-two-masks-are-idle",
)
def test_none_for_a_mask_raises_and_no_mask_gives_the_same_value(evidence: Evidence) -> None:
    hazard = torch.tensor([[0.1, 0.2, 0.3], [0.15, 0.25, 0.4]])
    time, event = torch.tensor([2, 1]), torch.tensor([1.0, 1.0])
    with pytest.raises(TypeError) as raised:
        notes_nll(hazard, time, event, None)
    mask = torch.tensor([[1.0, 1, 1], [1, 1, 0]])
    value, ones = (notes_nll(hazard, time, event, m).item() for m in (mask, torch.ones(2, 3)))
    assert value == ones
    evidence(error=raised.type.__name__, value=value, difference=abs(value - ones))


@claim(
    "D16",
    "If an event time lies beyond a patient's last visit, the computation of the loss fails.",
    source="integration",
    verdict="FALSE",
    shows="It succeeds: for the second patient of the notes' example an event labelled one visit too late gives "
    "{late:.4f}, {difference:.0f} away from the loss without an event; with the right label it is {right:.4f}. "
    "The slope at the last visit's logit, h - y, is {push_late:+.2f} instead of {push_right:+.2f}.",
    teaches="Worse than a failure: the mask deletes the event, and the model learns that the patient is safe. Compare "
    "every label with the number of visits: `Cohort` does, and names the patient. `hazard_nll` knows no visits, and "
    "refuses a row past the box or of NaN.",
    chapter=f"{MASKS_PAGE}#a-label-one-row-too-late",
)
def test_an_event_past_the_last_visit_is_silently_made_a_survivor(evidence: Evidence) -> None:
    mask = torch.tensor([[1.0, 1.0, 0.0]])
    event, right, late = torch.tensor([1.0]), torch.tensor([1]), torch.tensor([2])

    def value_and_push(time: Tensor, event: Tensor) -> tuple[float, float]:
        logits = torch.tensor([[0.15, 0.25, 0.4]]).logit().requires_grad_()
        loss = notes_nll(torch.sigmoid(logits) * mask, time, event, mask)
        loss.backward()
        return loss.item(), logits.grad[0, 1].item()

    (with_right, push_right), (with_late, push_late) = value_and_push(right, event), value_and_push(late, event)
    survivor, _ = value_and_push(late, torch.tensor([0.0]))
    assert with_late == survivor < with_right
    assert push_late == pytest.approx(0.25)
    assert push_right == pytest.approx(-0.75)
    for impossible in (-1, 5):  # nor does a time before the first visit, or past the box, raise anything
        assert math.isfinite(value_and_push(torch.tensor([impossible]), event)[0])
    assert value_and_push(torch.tensor([-1]), event)[0] == 0
    logits = torch.tensor([[0.15, 0.25]]).logit()
    with pytest.raises(ValueError, match="too small"):
        nll_logistic_hazard(logits, late, event)
    with pytest.raises(ValueError, match="past the last visit"):
        hazard_nll(logits, late + 1, torch.tensor([True]))
    with pytest.raises(ValueError, match="row 2, is nan"):
        hazard_nll(torch.tensor([[0.15, 0.25, torch.nan]]).logit(), late + 1, torch.tensor([True]))
    two_visits = Visits.from_lists([[["asthma"], ["gout"]]], day=[[0, 30]])
    with pytest.raises(ValueError, match="patient 0 stops at row 3"):
        Cohort(two_visits, Outcome.of(late + 1, torch.tensor([True])))
    evidence(
        late=with_late,
        difference=abs(with_late - survivor),
        right=with_right,
        push_late=push_late,
        push_right=push_right,
    )


@claim(
    "D22",
    "Tests show that variable lengths are handled: the shape is right and no output is NaN.",
    source="lstm length",
    verdict="FALSE",
    shows="A model that ignores every mask passes the same test, and a patient's hazards move by up to {careless:.4f} "
    "when others join the batch. With all masks they move by less than {bound:.0e}.",
    teaches="A shape says nothing of masks. Test what a right model must have and this one lacks: a patient's "
    "hazards do not depend on the others, nor on the size of the box.",
    chapter=f"{MASKS_PAGE}#a-test-that-cannot-fail",
)
def test_a_model_that_ignores_every_mask_passes_a_test_of_shapes(evidence: Evidence) -> None:
    random = np.random.default_rng(0)
    codes = torch.from_numpy(random.integers(0, 7, (4, 8, 6)))  # as in the notes' test, the padding holds codes, too
    visit_mask = torch.arange(8) < torch.tensor([5, 8, 3, 6])[:, None]
    code_mask = visit_mask[..., None] & torch.from_numpy(random.random((4, 8, 6)) < 0.7)
    models = {"all": TextbookLSTM(7, 4, 5, seed=2), "none": TextbookLSTM(7, 4, 5, seed=2, **NO_MASKS)}
    for model in models.values():
        hazard = model(codes, code_mask, visit_mask)
        assert hazard.shape == (4, 8)
        assert not hazard.isnan().any()
    careless, careful = (change_in_company(models[name], RECORDS, 1) for name in ("none", "all"))
    assert careful < 1e-12
    assert careless > 0.01
    evidence(careless=careless, bound=1e-12)


class NotesAttention(nn.Module):
    """Attention over a visit's codes as the notes write it: a small scorer, minus infinity in the padding, softmax."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.score = nn.Sequential(nn.Linear(width, width // 2), nn.Tanh(), nn.Linear(width // 2, 1))

    def forward(self, embedded: Tensor, mask: Tensor) -> Tensor:
        weights = torch.softmax(self.score(embedded).masked_fill(~mask[..., None], -torch.inf), 1)
        return (embedded * weights).sum(1)


class AsWritten(nn.Module):
    """The recommended architecture. Its `forward` uses a name that only `__init__` was given."""

    def __init__(self, embedding_dim: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, embedding_dim, padding_idx=0)
        self.pool = NotesAttention(embedding_dim)
        self.lstm = nn.LSTM(embedding_dim, 5, batch_first=True)
        self.head = nn.Sequential(nn.Linear(5, 5), nn.ReLU(), nn.Linear(5, 1), nn.Sigmoid())

    def width(self) -> int:
        return embedding_dim

    def forward(self, codes: Tensor, code_mask: Tensor, visit_mask: Tensor) -> Tensor:
        n, visits, cells = codes.shape
        vectors = self.embedding(codes).view(n * visits, cells, self.width())
        pooled = self.pool(vectors, code_mask.view(n * visits, cells))
        states, _ = self.lstm(pooled.view(n, visits, self.width()))
        return self.head(states)[..., 0] * visit_mask.double()


class Mended(AsWritten):
    def width(self) -> int:
        return self.embedding.embedding_dim


@claim(
    "D24",
    "For most uses take the survival LSTM with attention over a visit's codes.",
    source="architecture; readme",
    verdict="FALSE",
    shows="The architecture document's code raises `{error}`. Mended, as in the README, one padded visit makes the "
    "loss NaN, and {spoilt} of {parameters} parameters get NaN slopes. In our version, with weights of 0 for a visit "
    "without codes, {spared} do, and the loss is {guarded:.3f}.",
    teaches="A softmax over nothing but padding is 0/0, and NaN times a mask's 0 is NaN. The softmax has to know what "
    "an empty visit weighs; packing helps against padded visits only.",
    chapter=f"{MASKS_PAGE}#where-it-breaks",
)
def test_attention_over_a_visit_without_codes_spoils_every_parameter(evidence: Evidence) -> None:
    batch = collate(RECORDS)
    with pytest.raises(NameError) as raised:
        AsWritten(4)(*batch)
    model = Mended(4)
    loss = clamp_and_log_nll(model(*batch), STOP, OBSERVED, batch[2])
    slopes = torch.autograd.grad(loss, list(model.parameters()))
    spoilt = sum(bool(slope.isnan().any()) for slope in slopes)
    assert loss.isnan()
    assert spoilt == len(slopes) == 13
    without_padded_visits = collate([ADA, CLEO])
    assert model(*without_padded_visits).isfinite().all()

    by_way = {}
    for packed, guard, pooling in itertools.product((False, True), (False, True), ("attention", "max")):
        ours = TextbookLSTM(7, 4, 5, seed=2, packed=packed, guard_empty=guard, pooling=pooling)
        by_way[packed, guard, pooling] = clamp_and_log_nll(ours(*batch), STOP, OBSERVED, batch[2])
    for (packed, guard, _), value in by_way.items():
        assert bool(value.isfinite()) is (packed or guard)
    safe = TextbookLSTM(7, 4, 5, seed=2, guard_empty=True, pooling="attention")
    guarded = clamp_and_log_nll(safe(*batch), STOP, OBSERVED, batch[2])
    torch.testing.assert_close(by_way[True, False, "attention"], guarded)
    spared = sum(bool(slope.isnan().any()) for slope in torch.autograd.grad(guarded, list(safe.parameters())))
    assert spared == 0
    evidence(error=raised.type.__name__, spoilt=spoilt, parameters=len(slopes), spared=spared, guarded=guarded.item())


@claim(
    "D25",
    "A masked loss for predictions [batch, time, class]: widen the mask to the predictions, then index predictions and "
    "labels with it.",
    source="lstm length",
    verdict="FALSE",
    shows="With labels of {labels} axes and a mask of {axes} it raises `{error}`. Indexed with the mask of {labels} "
    "axes, predictions and labels give {value:.4f}, the mean over the {steps} real steps.",
    teaches="One mask for both, one entry a step: indexing the first two axes keeps the classes of each step together. "
    "An earlier version in the same document does that.",
    chapter=f"{MASKS_PAGE}#where-it-breaks",
)
def test_a_mask_widened_to_the_classes_does_not_fit_the_labels(evidence: Evidence) -> None:
    random = np.random.default_rng(1)
    predictions, labels = (
        torch.from_numpy(random.normal(size=(3, 4, 5))),
        torch.from_numpy(random.integers(0, 5, (3, 4))),
    )
    lengths = torch.tensor([4, 2, 3])
    mask = torch.arange(4) < lengths[:, None]
    wide = mask[..., None].expand_as(predictions)
    with pytest.raises(IndexError) as raised:
        nn.functional.cross_entropy(predictions[wide], labels[wide])
    value = nn.functional.cross_entropy(predictions[mask], labels[mask]).item()
    by_hand = [
        -torch.log_softmax(predictions[i, t], -1)[labels[i, t]].item() for i in range(3) for t in range(int(lengths[i]))
    ]
    assert value == pytest.approx(np.mean(by_hand))
    evidence(labels=labels.dim(), axes=wide.dim(), error=raised.type.__name__, value=value, steps=len(by_hand))
