"""The claims of chapter 05, one test each, and the pieces of the page that could drift from the package."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from visitwise.cohort import Cohort, Outcome
from visitwise.losses import outcome_nll
from visitwise.model import SurvivalRNN
from visitwise.textbook import collate
from visitwise.visits import Schema, Visits

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "explainer" / "05-codes-to-hazards.md"

NAMES = ["asthma", "diabetes", "heart failure", "hypertension", "kidney disease", "stroke"]
ADA = [["hypertension", "diabetes"], ["hypertension"], ["heart failure", "diabetes"]]
BEN = [["hypertension"], ["heart failure", "hypertension"]]
CLEO = [["diabetes"], [], ["kidney disease", "diabetes"], ["hypertension"], ["asthma"]]
DAYS = [[0, 90, 200], [0, 30], [0, 180, 365, 545, 730]]
ASTHMA, STROKE = 1, 6


def three(ben: list = BEN, cleo: list = CLEO, ben_stop: int = 2) -> Cohort:
    days = [DAYS[0], [*DAYS[1], 47][: len(ben)], DAYS[2]]
    visits = Visits.from_lists([ADA, ben, cleo], day=days, schema=Schema.of(NAMES))
    return Cohort(visits, Outcome.of(torch.tensor([3, ben_stop, 3]), torch.tensor([True, True, False])))


def new_model(cohort: Cohort, **settings) -> SurvivalRNN:
    return SurvivalRNN.for_cohort(cohort, embedding=4, hidden=6, seed=8, **settings).double()


def code_gradient(model: SurvivalRNN, cohort: Cohort) -> Tensor:
    loss = outcome_nll(model(cohort.visits), cohort.outcome)
    return torch.autograd.grad(loss, model.encoder.embedding.weight)[0]


def trained(cohort: Cohort, asthma: Tensor | None = None) -> SurvivalRNN:
    model = new_model(cohort)
    if asthma is not None:
        with torch.no_grad():
            model.encoder.embedding.weight[ASTHMA] = asthma
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    for _ in range(40):
        optimizer.zero_grad()
        outcome_nll(model(cohort.visits), cohort.outcome).backward()
        optimizer.step()
    return model


def random_records(seed: int) -> tuple[list[list[list[int]]], Visits]:
    """A few patients with 0 to 6 codes a visit, as lists of numbers and as `Visits`."""
    random = np.random.default_rng(seed)
    lengths = random.integers(1, 8, 6)
    records = [[random.integers(1, 10, random.integers(0, 7)).tolist() for _ in range(n)] for n in lengths]
    names = [[[f"code {code}" for code in visit] for visit in record] for record in records]
    schema = Schema.of([f"code {code}" for code in range(1, 10)])
    return records, Visits.from_lists(names, day=[list(range(n)) for n in lengths], schema=schema)


# ------------------------------------------------------------------------------------------------- row, box, collate


@pytest.mark.parametrize("seed", range(5))
def test_loops_and_addresses_fill_the_same_box_and_the_same_masks(seed: int):
    records, visits = random_records(seed)
    codes, code_mask, visit_mask = collate(records)
    padded = visits.padded()
    assert torch.equal(padded.codes.long(), codes)
    assert torch.equal(padded.code_mask, code_mask)
    assert torch.equal(padded.visit_mask, visit_mask)


@pytest.mark.parametrize("seed", range(5))
def test_offsets_give_back_every_visit_of_every_patient(seed: int):
    records, visits = random_records(seed)
    codes, inner, outer = (values.tolist() for values in (visits.codes, visits.code_offsets, visits.visit_offsets))
    back = [[codes[inner[j] : inner[j + 1]] for j in range(outer[i], outer[i + 1])] for i in range(len(records))]
    assert back == records


def test_an_empty_visit_and_no_visit_differ_in_the_mask_of_visits_alone():
    padded = three().visits.padded()
    checkup, nothing = (2, 1), (1, 4)
    assert torch.equal(padded.codes[checkup], padded.codes[nothing])
    assert torch.equal(padded.code_mask[checkup], padded.code_mask[nothing])
    assert padded.visit_mask[checkup]
    assert not padded.visit_mask[nothing]


def test_17_of_30_cells_are_padding_and_one_long_record_makes_it_99_of_100():
    box = three().visits.padded().codes
    assert (box.numel(), int((box == 0).sum())) == (30, 17)
    dora = [["hypertension"]] * 199 + [[f"finding {n}" for n in range(25)]]
    box = Visits.from_lists([ADA, BEN, CLEO, dora], day=[*DAYS, list(range(200))]).padded().codes
    assert list(box.shape) == [4, 200, 25]
    assert int((box != 0).sum()) == 13 + 199 + 25 == 237
    assert (box != 0).double().mean().item() == pytest.approx(0.01185)


@pytest.mark.parametrize("length", [5, 50, 500])
def test_the_memory_of_the_box_grows_with_the_longest_record_for_everybody(length: int):
    dora = [["hypertension"]] * (length - 1) + [[f"finding {n}" for n in range(25)]]
    visits = Visits.from_lists([ADA, BEN, CLEO, dora], day=[*DAYS, list(range(length))])
    in_box = nn.Embedding(31, 64)(visits.padded().codes.long())
    in_a_row = nn.EmbeddingBag(31, 64, mode="mean")(visits.codes.long(), visits.code_offsets[:-1])
    assert in_box.nbytes == 4 * length * 25 * 64 * 4
    assert in_a_row.nbytes == (10 + length) * 64 * 4


# ------------------------------------------------------------------------------------------ one vector for each visit


@pytest.mark.parametrize("seed", range(5))
def test_both_ways_to_pool_give_the_same_vectors_and_the_same_gradient(seed: int):
    records, visits = random_records(seed)
    encoder = SurvivalRNN(visits.schema, embedding=4, seed=seed).double().encoder
    table, random = encoder.embedding.weight, np.random.default_rng(seed)
    in_a_row, in_box = encoder(visits), visits.unpad(encoder.forward_dense(visits))
    by_loop = torch.stack(
        [table[codes].mean(0) if codes else torch.zeros(4).double() for record in records for codes in record]
    )
    push = torch.from_numpy(random.normal(size=tuple(in_a_row.shape)))
    gradients = [
        torch.autograd.grad((values * push[:, : values.shape[1]]).sum(), table)[0]
        for values in (in_a_row, in_box, by_loop)
    ]
    for other, gradient in ((in_box[:, :4], gradients[1]), (by_loop, gradients[2])):
        torch.testing.assert_close(in_a_row[:, :4], other, rtol=0, atol=1e-14)
        torch.testing.assert_close(gradients[0], gradient, rtol=0, atol=1e-13)


def test_a_plain_mean_shrinks_a_visit_by_the_share_of_its_cells_that_is_padding():
    cohort = three()
    encoder = new_model(cohort).encoder
    box = cohort.visits.padded().codes.long()
    plain = cohort.visits.unpad(encoder.embedding(box).mean(2))
    right = encoder(cohort.visits)[:, :4]
    filled = cohort.visits.code_offsets.diff()[:, None] / 2
    torch.testing.assert_close(plain, right * filled)
    assert filled.unique().tolist() == [0, 0.5, 1]


def test_the_vector_of_a_visit_does_not_depend_on_who_shares_the_batch_and_a_plain_mean_does():
    dora = [["hypertension"]] * 4 + [NAMES]
    visits = Visits.from_lists([ADA, BEN, CLEO, dora], day=[*DAYS, list(range(5))], schema=Schema.of(NAMES))
    encoder = new_model(three()).encoder
    assert torch.equal(encoder(visits)[:10], encoder(three().visits))
    with_dora, without = (
        v.unpad(encoder.embedding(v.padded().codes.long()).mean(2))[1] for v in (visits, three().visits)
    )
    torch.testing.assert_close(with_dora * 6, without * 2)


def test_a_mean_forgets_the_number_of_codes_and_a_number_beside_it_keeps_it():
    visits = Visits.from_lists([[["a"], ["a", "a"]]], day=[[0, 1]])
    once, twice = SurvivalRNN(visits.schema, embedding=4).double().encoder(visits)
    assert torch.equal(once[:4], twice[:4])
    assert twice[4].item() == pytest.approx(np.log(3), abs=1e-6)


# -------------------------------------------------------------------------------------------------- LSTM, head, bias


def test_four_gates_by_hand_are_the_lstm_of_torch():
    cohort = three()
    model = new_model(cohort)
    vectors = cohort.visits.pad(model.encoder(cohort.visits)).detach().numpy()
    states = model.recurrence(torch.from_numpy(vectors))[0].detach().numpy()
    weight = {name: value.detach().numpy() for name, value in model.recurrence.named_parameters()}

    def sigmoid(x: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-x))

    for i in range(3):
        state = cell = np.zeros(6)
        for k in range(5):
            gates = weight["weight_ih_l0"] @ vectors[i, k] + weight["bias_ih_l0"]
            gates = gates + weight["weight_hh_l0"] @ state + weight["bias_hh_l0"]
            take, keep, candidate, show = np.split(gates, 4)
            cell = sigmoid(keep) * cell + sigmoid(take) * np.tanh(candidate)
            state = sigmoid(show) * np.tanh(cell)
            np.testing.assert_allclose(state, states[i, k], rtol=0, atol=1e-13)


def test_the_bias_of_the_head_is_the_logit_of_events_by_row():
    cohort = three()
    model = new_model(cohort)
    assert model.head(torch.zeros(6).double()).sigmoid().item() == pytest.approx(2 / 8, abs=1e-6)
    hazards = cohort.visits.unpad(model(cohort.visits)).sigmoid()
    assert ((hazards - 0.25).abs() < 0.03).all()


def test_padding_has_states_and_hazards_until_nan_is_written_over_them():
    cohort = three()
    model, visits = new_model(cohort), cohort.visits
    vectors = model.encoder(visits)
    states = model.recurrence(visits.pad(vectors))[0]
    assert (states[~visits.mask].norm(dim=-1) > 0.1).all()
    packed = visits.pad(visits.unpack(model.recurrence(visits.pack(vectors))[0]))
    assert (packed[~visits.mask] == 0).all()
    assert model.head(packed)[..., 0].sigmoid()[~visits.mask].tolist() == pytest.approx([0.25] * 5, abs=1e-6)
    assert torch.equal(model(visits).isnan(), ~visits.mask)


# ---------------------------------------------------------------------------------------------- loss and the way back


def test_a_code_recorded_only_after_stop_gets_exactly_no_gradient():
    cohort = three()
    gradient = code_gradient(new_model(cohort), cohort)
    untouched = [name for name, row in zip(cohort.visits.schema.codes, gradient, strict=True) if (row == 0).all()]
    assert untouched == ["<padding>", "asthma", "stroke"]
    longer = Outcome.of(torch.tensor([3, 2, 5]), cohort.outcome.observed)
    assert code_gradient(new_model(cohort), Cohort(cohort.visits, longer))[ASTHMA].abs().sum() > 1e-3


def test_the_gradient_of_a_code_is_what_a_small_change_of_its_vector_does_to_the_loss():
    cohort = three()
    model = new_model(cohort)
    gradient, table = code_gradient(model, cohort), model.encoder.embedding.weight
    for code, place in [(1, 2), (2, 0), (3, 1), (4, 3), (5, 0), (6, 0)]:
        losses = []
        for step in (1e-5, -1e-5):
            with torch.no_grad():
                table[code, place] += step
                losses.append(outcome_nll(model(cohort.visits), cohort.outcome).item())
                table[code, place] -= step
        assert (losses[0] - losses[1]) / 2e-5 == pytest.approx(gradient[code, place].item(), abs=1e-9)


def test_the_logits_get_hazard_minus_what_happened_in_rows_that_count_and_nothing_elsewhere():
    cohort = three()
    logits = new_model(cohort)(cohort.visits)
    gradient = torch.autograd.grad(outcome_nll(logits, cohort.outcome), logits)[0]
    for i, (stop, event) in enumerate([(3, 2), (2, 1), (3, None)]):
        for k in range(5):
            expected = (logits[i, k].sigmoid().item() - (k == event)) / 3 if k < stop else 0.0
            assert gradient[i, k].item() == pytest.approx(expected, abs=1e-15)


def test_training_is_the_same_to_the_last_bit_whatever_the_vector_of_asthma_and_the_hazard_after_it_is_not():
    cohort = three()
    random = np.random.default_rng(0)
    models = [trained(cohort, torch.from_numpy(random.normal(size=4))) for _ in range(3)]
    for name, value in models[0].state_dict().items():
        others = [model.state_dict()[name] for model in models[1:]]
        if name == "encoder.embedding.weight":
            value, others = value[2:], [other[2:] for other in others]
        assert all(torch.equal(value, other) for other in others)
    after_asthma = [model.predict(cohort.visits).hazard[2, 4].item() for model in models]
    assert max(after_asthma) - min(after_asthma) > 0.1


def test_the_trained_model_says_what_the_page_quotes():
    cohort = three()
    model = trained(cohort)
    hazard = model.predict(cohort.visits).hazard
    assert hazard[2, 4].item() == pytest.approx(0.642, abs=5e-4)
    assert outcome_nll(model(cohort.visits), cohort.outcome).item() == pytest.approx(0.028, abs=5e-4)
    other = three(cleo=[*CLEO[:2], ["heart failure", "diabetes"], *CLEO[3:]])
    assert model.predict(other.visits).hazard[2, 2].item() == pytest.approx(0.499, abs=1e-3)


# ------------------------------------------------------------------------------------------------------- no later visit


@pytest.mark.parametrize("path", ["padded", "packed"])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_an_edited_visit_moves_no_hazard_before_it(cell: str, path: str):
    cohort = three()
    model = new_model(cohort, cell=cell, path=path)
    before = model.predict(cohort.visits).hazard
    for k in range(5):
        edited = [*CLEO]
        edited[k] = ["stroke", "heart failure"]
        after = model.predict(three(cleo=edited).visits).hazard
        assert torch.equal(after[2, :k], before[2, :k])
        assert torch.equal(after[:2].nan_to_num(), before[:2].nan_to_num())
        assert (after[2, k:] != before[2, k:]).all()


def test_a_bidirectional_model_would_hear_of_the_edited_visit():
    cohort = three()
    model = new_model(cohort, path="packed", bidirectional=True, demonstration=True)
    edited = three(cleo=[*CLEO[:2], ["stroke"], *CLEO[3:]])
    moved = model.predict(edited.visits).hazard - model.predict(cohort.visits).hazard
    assert moved[2, :2].abs().min() > 1e-5


def test_no_hazard_hears_of_a_later_visit():
    cohort = three()
    model = new_model(cohort)
    vectors = cohort.visits.pad(model.encoder(cohort.visits)).detach().requires_grad_()
    logits = model.head(model.recurrence(vectors)[0])[2, :, 0]
    for k in range(5):
        heard = torch.autograd.grad(logits[k], vectors, retain_graph=True)[0]
        assert (heard[2, : k + 1].norm(dim=-1) > 0).all()
        assert (heard[2, k + 1 :] == 0).all()
        assert (heard[:2] == 0).all()


# ------------------------------------------------------------------------------------------------------ where it breaks


def test_one_row_too_many_teaches_the_word_stroke_and_hides_the_stroke_that_comes():
    stay = [*BEN, ["stroke"]]
    hazards = {}
    for stop in (2, 3):
        cohort = three(ben=stay, ben_stop=stop)
        gradient = code_gradient(new_model(cohort), cohort)[STROKE]
        assert bool((gradient == 0).all()) == (stop == 2)
        hazards[stop] = trained(cohort).predict(cohort.visits).hazard[1]
    assert hazards[2][1] > 0.9
    assert hazards[3][1] < 0.1
    assert hazards[3][2] > 0.9


# --------------------------------------------------------------------------------------------------------- the page


def test_the_table_of_shapes_is_what_the_model_makes():
    cohort = three()
    visits, model = cohort.visits, new_model(cohort)
    padded, table = visits.padded(), model.encoder.embedding
    logits = model(visits)
    made = {
        "codes": (padded.codes, visits.codes),
        "what is real": (padded.code_mask, padded.visit_mask, visits.code_offsets, visits.visit_offsets),
        "vectors of codes": (table(padded.codes.long()), table(visits.codes.long())),
        "mean of each visit": (model.encoder.forward_dense(visits)[..., :4], model.encoder(visits)[:, :4]),
        "with four numbers": (model.encoder.forward_dense(visits), model.encoder(visits)),
        "hidden states": (model.recurrence(visits.pad(model.encoder(visits)))[0],),
        "logits, hazards": (logits,),
        "loss": (outcome_nll(logits, cohort.outcome, reduction="none"),),
        "gradient, way back": (code_gradient(model, cohort),),
    }
    rows = re.findall(r"^\| ([^|`]+?) \| (.*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    written = {stage: re.findall(r"`(\[[\d, ]+\])`", rest) for stage, rest in rows if stage in made}
    assert written == {stage: [str(list(values.shape)) for values in tensors] for stage, tensors in made.items()}


def test_the_three_lines_of_a_training_step_run():
    lines = re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert lines
    batch = three()
    model = new_model(batch)
    exec(lines[1], {"model": model, "batch": batch, "outcome_nll": outcome_nll})
    assert model.head.bias.grad is not None
