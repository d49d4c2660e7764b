"""The claims of chapter 13, one test each. Times come from the benchmark that was recorded, never from this run."""

import json
import re
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.distributed.constants import default_pg_timeout

from visitwise.check import scale
from visitwise.cohort import Cohort, Outcome
from visitwise.losses import outcome_nll
from visitwise.model import SurvivalRNN
from visitwise.parallel import exact_mean, run_processes, step_gradients
from visitwise.simulate import TEACHING
from visitwise.training import evaluate_nll, fit
from visitwise.visits import Visits

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "explainer" / "13-scale.md"
RESULTS = ROOT / "tests" / "benchmarks" / "results"


@pytest.fixture(scope="module")
def train() -> Cohort:
    return TEACHING.draw(1_000, seed=1).cohort


@pytest.fixture(scope="module")
def model(train: Cohort) -> SurvivalRNN:
    """Trained for a while, as on the page but on fewer patients."""
    trained = SurvivalRNN.for_cohort(train, embedding=8, hidden=16).double()
    others = TEACHING.draw(1_200, seed=2).cohort.select(torch.arange(1_000, 1_200))
    fit(trained, train, others, epochs=4, batch_size=32, learning_rate=1e-2, progress=False)
    return trained.train()


def by_length(batch: Cohort) -> list[Cohort]:
    """Short records to one process, long ones to the other, with as many visits each."""
    order = batch.visits.length.argsort(stable=True)
    upto = batch.visits.length[order].cumsum(0)
    n = int((upto < upto[-1] / 2).sum())
    return [batch.select(order[:n]), batch.select(order[n:])]


def drawn(train: Cohort, n: int, seed: int) -> Cohort:
    return train.select(torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))[:n])


def gradient(model: SurvivalRNN, share: Cohort) -> Tensor:
    loss = outcome_nll(model(share.visits), share.outcome, reduction="sum")
    return torch.cat([part.flatten() for part in torch.autograd.grad(loss, list(model.parameters()))])


def average_and_truth(model: SurvivalRNN, shares: list[Cohort], counts: list[int]) -> tuple[Tensor, Tensor]:
    sums = [gradient(model, share) for share in shares]
    own = [each / n for each, n in zip(sums, counts, strict=True)]
    return torch.stack(own).mean(0), torch.stack(sums).sum(0) / sum(counts)


def four_patients() -> list[Cohort]:
    """Eve, Ben and Ada, and Dan, with visits 1, 2, 3 and 5; Eve and Ben have the event."""
    lengths = [1, 2, 3, 5]
    visits = Visits.from_lists([[["check-up"]] * n for n in lengths], day=[range(n) for n in lengths])
    everybody = Cohort(visits, Outcome.of(visits.length, torch.tensor([True, True, False, False])))
    return [everybody.select(torch.arange(3)), everybody.select(torch.tensor([3]))]


def facts() -> dict[str, float]:
    return {
        name: value
        for record in ("scale", "scale_memory", "scale_growth", "processes", "processes_memory")
        for name, value in json.loads((RESULTS / f"{record}.json").read_text())["facts"].items()
    }


# ------------------------------------------------------------------------------------------------------ wrong means


def rests_at(weights: list[float]) -> float:
    """Gradient descent on the one hazard of the four patients, each process's sum weighed like this."""
    logit = torch.tensor(0.0, dtype=torch.float64, requires_grad=True)
    for _ in range(4_000):
        losses = [
            weight * outcome_nll(logit.expand(share.visits.mask.shape), share.outcome, reduction="sum")
            for weight, share in zip(weights, four_patients(), strict=True)
        ]
        (step,) = torch.autograd.grad(sum(losses), logit)
        if abs(step) < 1e-9:
            break
        logit = (logit - step).detach().requires_grad_()
    return torch.sigmoid(logit).item()


def test_own_means_of_four_patients_rest_at_half_the_hazard():
    own = rests_at([1 / 3 / 2, 1 / 1 / 2])
    exact = rests_at([1 / 4, 1 / 4])
    assert own == pytest.approx(2 / 21, abs=1e-6)
    assert exact == pytest.approx(2 / 11, abs=1e-6)
    assert own < 0.55 * exact


def test_the_average_of_own_means_can_point_the_wrong_way(model, train):
    def push(share: Cohort) -> Tensor:
        logit = torch.logit(torch.tensor(0.15, dtype=torch.float64)).requires_grad_()
        loss = outcome_nll(logit.expand(share.visits.mask.shape), share.outcome, reduction="sum")
        return torch.autograd.grad(loss, logit)[0]

    short, long = map(push, four_patients())
    assert (short / 3 + long) / 2 > 0 > (short + long) / 4
    cosines = []
    for epoch in range(8):
        for batch in list(train.batches(250, seed=7, epoch=epoch)):
            shares = by_length(batch)
            pair = average_and_truth(model, shares, [len(share) for share in shares])
            cosines.append(torch.cosine_similarity(*pair, 0))
    cosines = torch.stack(cosines)
    assert len(cosines) == 32
    assert (cosines < 0).sum() >= 4
    assert cosines.min() < -0.2


def test_equal_counts_of_what_the_loss_counts_make_no_error(model, train):
    batch = drawn(train, 256, seed=3)
    halves = [batch.select(torch.arange(128)), batch.select(torch.arange(128, 256))]
    torch.testing.assert_close(*average_and_truth(model, halves, [128, 128]), rtol=0, atol=1e-12)
    rows = [share.outcome.n_rows for share in halves]
    average, truth = average_and_truth(model, halves, rows)
    assert rows[0] != rows[1]
    assert (average - truth).norm() > 0.01 * truth.norm()  # a mean over rows is another matter
    shares = by_length(batch)
    per_patient, mean = average_and_truth(model, shares, [len(share) for share in shares])
    per_row, mean_of_rows = average_and_truth(model, shares, [share.outcome.n_rows for share in shares])
    assert (per_row - mean_of_rows).norm() / mean_of_rows.norm() < 0.1
    assert (per_patient - mean).norm() / mean.norm() > 0.5


def test_a_ragged_last_batch_makes_an_error(model, train):
    errors = []
    for seed in range(9):
        batch = drawn(train, 160, seed)
        ragged = [batch.select(torch.arange(128)), batch.select(torch.arange(128, 160))]
        average, truth = average_and_truth(model, ragged, [128, 32])
        errors.append((average - truth).norm() / truth.norm())
    assert torch.stack(errors).median() > 0.1


def test_two_processes_have_the_gradient_of_one(model, train):
    shares = by_length(drawn(train, 60, seed=0))
    n = sum(map(len, shares))
    truth = sum(gradient(model, share) for share in shares) / n
    means = [scale.own_mean, exact_mean]
    single = SurvivalRNN.for_cohort(train, embedding=8, hidden=16)
    single.load_state_dict(model.state_dict())
    here, there = run_processes(both_precisions, 2, (model, single), shares, means)
    for (own, exact), bound in zip(here, (1e-12, 3e-6), strict=True):
        assert (exact.double() - truth).norm() < bound * truth.norm()
        assert (own.double() - truth).norm() > 0.1 * truth.norm()
    for one, other in zip(here, there, strict=True):
        assert torch.equal(one, other)


def both_precisions(models: tuple[SurvivalRNN, ...], shares: list[Cohort], means: list) -> list[Tensor]:
    """Runs in each of two processes: one step in float64 and one in float32."""
    return [step_gradients(model, shares, means, "patient") for model in models]


def test_training_on_own_means_ends_at_lower_hazards(train):
    new, ends = TEACHING.draw(2_000, seed=9).cohort, []
    for own in (True, False):
        twin = SurvivalRNN.for_cohort(train, embedding=8, hidden=16).double()
        optimizer = torch.optim.Adam(twin.parameters(), lr=1e-2)
        fall = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 6 * 8)
        for epoch in range(6):
            for batch in train.batches(125, seed=0, epoch=epoch):
                for share in by_length(batch):
                    loss = outcome_nll(twin(share.visits), share.outcome, reduction="sum")
                    (loss / (2 * len(share) if own else len(batch))).backward()
                optimizer.step()
                optimizer.zero_grad()
                fall.step()
        hazard = (twin.predict(new.visits).hazard.nansum() / new.visits.n_visits).item()
        ends.append((hazard, evaluate_nll(twin, new)))
    (own_hazard, own_loss), (exact_hazard, exact_loss) = ends
    assert own_hazard < 0.85 * exact_hazard
    assert own_hazard < 0.85 * int(new.outcome.observed.sum()) / new.outcome.n_rows
    assert own_loss > exact_loss


# ------------------------------------------------------------------------------------------------------- what grows


def flat_bytes(visits: Visits) -> int:
    return sum(values.nbytes for values in vars(visits).values() if torch.is_tensor(values))


def test_bytes_a_patient_stay_flat_and_grow_in_a_box():
    flat, box = [], []
    for n in (100, 1_000, 10_000):
        visits = TEACHING.draw(n, seed=1).cohort.visits
        flat.append(flat_bytes(visits) / n)
        box.append(4 * int(visits.length.max()) * int(visits.code_offsets.diff().max()))
        if n == 100:
            assert visits.padded().codes.nbytes == n * box[0]
    assert max(flat) < 1.1 * min(flat)
    assert box[0] < box[1] < box[2]
    known = facts()
    recorded = [known[f"bench_bytes_flat_{n}"] for n in (1_000, 10_000, 100_000, 1_000_000)]
    assert max(recorded) < 1.1 * min(recorded)


def test_a_saved_cohort_takes_its_bytes_and_gives_back_its_patients(tmp_path, train):
    train.save(tmp_path / "cohort")
    mapped, some = Cohort.load(tmp_path / "cohort"), torch.tensor([7, 3])
    assert torch.equal(mapped.select(some).visits.codes, train.select(some).visits.codes)
    on_disk = sum(file.stat().st_size for file in (tmp_path / "cohort").glob("*.npy"))
    in_memory = flat_bytes(train.visits) + flat_bytes(train.outcome)
    assert 0 <= on_disk - in_memory < 200 * 12


def test_parts_bound_what_a_step_holds(train):
    batch = drawn(train, 512, seed=0)
    cells = [len(part) * int(part.visits.length.max()) for part in batch.parts(1_024)]
    assert max(cells) <= 1_024 < len(batch) * int(batch.visits.length.max()) / 10
    known = facts()
    peaks = [known[f"bench_peak_parts_{n}"] for n in (1_000, 1_000_000)]
    assert max(peaks) < 1.1 * min(peaks)
    assert max(peaks) < known["bench_peak_whole_1000"] / 10


def test_recorded_training_took_as_long_a_visit_in_a_large_cohort_and_cutting_batches_hardly_longer():
    known = facts()
    steps = [known[f"bench_scale_step_{n}"] for n in (1_000, 10_000, 100_000, 1_000_000)]
    assert max(steps) < 1.05 * min(steps)
    assert known["bench_scale_batch_1000000"] < 1.5 * known["bench_scale_batch_10000"]
    assert known["bench_scale_load_1000000_low"] > known["bench_scale_load_1000_high"]
    assert known["bench_scale_batch_1000000"] < known["bench_scale_step_1000000"] / 20


def test_recorded_processes_had_one_gradient_and_held_little_of_the_cohort():
    known = facts()
    assert 0 < known["bench_processes_difference"] < 3e-6  # single precision
    assert known["bench_processes_ddp_difference"] < 1e-6  # our message and that of DistributedDataParallel
    on_disk, held = (
        known[f"{name}_1000000"] - known[f"{name}_10000"]
        for name in ("bench_processes_disk", "bench_processes_private_2")
    )
    assert held < on_disk / 3


def test_on_a_mapped_cohort_a_batch_is_all_that_is_copied(tmp_path, train):
    train.save(tmp_path / "cohort")
    learn, decide = Cohort.load(tmp_path / "cohort").split([0.8, 0.2], seed=0)
    fit(SurvivalRNN.for_cohort(learn, embedding=4, hidden=4), learn, decide, epochs=1, progress=False)
    assert {"codes", "code_offsets", "day"}.isdisjoint(vars(learn.visits) | vars(decide.visits))


# --------------------------------------------------------------------------------------------------- where it breaks


def test_seeds_of_their_own_leave_about_a_quarter_undrawn():
    undrawn = []
    for pair in range(20):
        drawn = torch.zeros(1_600)
        for seed in (2 * pair, 2 * pair + 1):
            drawn[torch.randperm(1_600, generator=torch.Generator().manual_seed(seed))[:800]] += 1
        assert (drawn == 0).sum() == (drawn == 2).sum()
        undrawn.append((drawn == 0).double().mean())
    assert all(0.22 < share < 0.28 for share in undrawn)


def test_a_sum_without_the_factor_is_smaller_by_the_number_of_processes(model, train):
    batch = drawn(train, 30, seed=0)
    sums = torch.stack([gradient(model, share) for share in batch.parts(200)])
    assert len(sums) > 1
    torch.testing.assert_close(sums.mean(0), gradient(model, batch) / len(sums), rtol=0, atol=1e-10)


def test_others_wait_half_an_hour_for_a_process_unless_told_otherwise():
    assert default_pg_timeout == timedelta(minutes=30)


def test_predictions_of_two_batches_join_only_without_padding(model, train):
    short, long = by_length(train.select(torch.arange(50)))
    boxes = [model.predict(share.visits).hazard for share in (short, long)]
    with pytest.raises(RuntimeError, match="Sizes of tensors must match"):
        torch.cat(boxes)
    flat = torch.cat([share.visits.unpad(box) for share, box in zip((short, long), boxes, strict=True)])
    assert len(flat) == short.visits.n_visits + long.visits.n_visits
    assert not flat.isnan().any()


# --------------------------------------------------------------------------------------------------------- the page


def test_the_options_on_the_page_are_the_right_answers_and_mistakes():
    text = PAGE.read_text(encoding="utf-8")
    options = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", o) for o in re.findall(r"<summary>(.*)</summary>", text)]
    predict, test = options[:4], options[-4:]
    rows, events, patients = torch.tensor([6, 5]), torch.tensor([2, 0]), torch.tensor([3, 1])
    names = ("all_together", "average_of_rates", "most_patients")
    wrong = [float(scale.RESTS_AT[name].formula(rows, events, patients)) for name in names]
    assert predict == [f"{value:.3f}" for value in (*wrong, 2 / 21)]
    three = torch.tensor([50, 30, 20])
    first = {name: f"{float(mistake.formula(three)[0]):.3g}" for name, mistake in scale.WEIGHTS.items()}
    assert test == [first["shares"], first["equal"], first["upside_down"], "1.5"]


def test_every_recorded_number_on_the_page_is_in_a_record():
    quoted = set(re.findall(r"\(fact:(bench_\w+)\)", PAGE.read_text(encoding="utf-8")))
    assert len(quoted) >= 4
    assert quoted <= set(facts())
