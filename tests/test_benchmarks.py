"""The benchmarks measure what they say: the same models by other ways, records that reach pages. Nothing is timed."""

import importlib.util
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.benchmarks import __main__ as suite
from tests.benchmarks import pieces, records, time_to_fit, training_speed
from tests.benchmarks.patients import a_cohort, about, even_cohort, lists_of
from tests.benchmarks.time_to_fit import Run, SoftBuckets, TextbookRNN, clamped
from tests.built import ROOT
from visitwise.cohort import Cohort
from visitwise.losses import outcome_nll
from visitwise.model import SurvivalRNN
from visitwise.simulate import TEACHING

FOLDER = ROOT / "tests" / "benchmarks"


@pytest.fixture(scope="module")
def few() -> Cohort:
    return a_cohort(60, 0, about(4, 0.6, 12), about(2, 0.5, 5), vocabulary=20)


def test_make_bench_runs_every_benchmark_there_is() -> None:
    runnable = {path.stem for path in FOLDER.glob("*.py") if '__name__ == "__main__"' in path.read_text("utf-8")}
    assert set(suite.NAMES) == runnable - {"__main__"}
    assert all(importlib.util.find_spec(f"tests.benchmarks.{name}") for name in suite.NAMES)


def test_every_record_is_shown_on_a_page() -> None:
    pages = "".join(path.read_text("utf-8") for path in (ROOT / "explainer").glob("*.md"))
    recorded = {path.stem for path in records.RESULTS.glob("*.json")}
    assert {name for name in recorded if f"](bench:{name})" not in pages} == set()


def test_a_record_says_what_was_measured_where_and_when(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(records, "RESULTS", tmp_path)
    monkeypatch.setattr(sys, "argv", ["bench", "--record", "--date", "2026-01-02", "--machine", "a slow one"])
    table = {"title": "T", "columns": ["a"], "rows": [["1"]], "facts": {"bench_x": 1 / 3}}
    assert records.main("What it is.", {"made_up": lambda: dict(table)}, seed=4)
    written = json.loads((tmp_path / "made_up.json").read_text("utf-8"))
    assert written["facts"] == {"bench_x": 0.333333}
    assert (written["machine"], written["date"], written["seed"]) == ("a slow one", "2026-01-02", 4)
    assert written["torch"] == torch.__version__
    monkeypatch.setattr(sys, "argv", ["bench", "--only", "made_up"])
    assert not records.main("What it is.", {"made_up": lambda: dict(table)})
    assert "T" in capsys.readouterr().out


def test_the_textbook_in_fit_is_the_same_model_and_the_same_loss() -> None:
    cohort = TEACHING.draw(40, seed=0).cohort
    ours = SurvivalRNN.for_cohort(cohort, embedding=4, hidden=5).double()
    textbook = TextbookRNN.for_cohort(cohort, embedding=4, hidden=5, path="padded").double()
    textbook.records = dict(zip(cohort.visits.patient_id.tolist(), lists_of(cohort), strict=True))
    mask = cohort.visits.mask
    torch.testing.assert_close(textbook(cohort.visits)[mask], torch.sigmoid(ours(cohort.visits))[mask])
    slopes = []
    for model, loss in ((ours, outcome_nll), (textbook, clamped)):
        loss(model(cohort.visits), cohort.outcome, "sum").backward()
        slopes.append(torch.cat([parameter.grad.flatten() for parameter in model.parameters()]))
    torch.testing.assert_close(slopes[0], slopes[1], rtol=1e-9, atol=1e-9)


def test_soft_buckets_deal_everybody_once_and_like_to_like() -> None:
    cohort = TEACHING.draw(640, seed=0).cohort
    soft = SoftBuckets(cohort.visits, cohort.outcome)

    def spread(some: Cohort, window: int) -> float:
        dealt = list(some.deal(32, seed=1, epoch=2, window=window))
        assert sorted(torch.cat(dealt).tolist()) == list(range(640))
        return float(np.mean([cohort.visits.length[batch].double().std() for batch in dealt]))

    hard, changed, random = spread(cohort, 20), spread(soft, 20), spread(cohort, 1)
    assert hard < 0.5 * changed < 0.5 * random


def test_the_picture_has_a_curve_for_each_way_and_says_where_it_ends() -> None:
    facts = {"bench_fit_target": 0.077}
    for place, (name, *_) in enumerate(time_to_fit.LINES, start=1):
        for epoch in range(time_to_fit.EPOCHS):
            facts[f"bench_fit_{name}_epoch_{epoch + 1}_at"] = place * (epoch + 1.0)
            facts[f"bench_fit_{name}_epoch_{epoch + 1}_nll"] = 0.1 / (epoch + 1)
    (axes,) = time_to_fit.draw(facts).axes
    drawn = [line for line in axes.get_lines() if len(line.get_xdata()) == time_to_fit.EPOCHS]
    assert [line.get_xdata()[0] for line in drawn] == [1.0, 2.0, 3.0, 4.0]
    said = time_to_fit.words(facts)
    assert all(f"{name}, 0.100 after {place:.1f} s" in said for place, (_, name, *_) in enumerate(time_to_fit.LINES, 1))


def test_time_to_an_nll_lies_between_two_epochs_or_is_never() -> None:
    run = Run(seconds=np.array([2.0, 4.0, 8.0]), nll=np.array([0.5, 0.3, 0.1]))
    assert run.time_to(0.6) == 2.0
    assert run.time_to(0.2) == pytest.approx(6.0)
    assert math.isnan(run.time_to(0.05))


@pytest.mark.parametrize("path", ["padded", "staircase", "rows"])
def test_every_way_takes_as_many_patients_a_step_as_it_says(few: Cohort, path: str) -> None:
    steps = [
        training_speed.our_step(few, 16, path=path, window=2, padded_visits=32),
        training_speed.textbook_step(few, 16),
        training_speed.sum_pool_step(few, 16),
    ]
    assert [step() for step in steps] == [16] * len(steps)


def test_the_padded_sum_runs_over_codes_and_visits_that_exist(few: Cohort) -> None:
    model = training_speed.SumPoolPacked(20)
    logits = model(few.visits)
    for patient, record in enumerate(lists_of(few)):
        vectors = torch.stack([model.embedding(torch.tensor(codes)).sum(0) for codes in record])
        alone = model.head(model.lstm(vectors[None])[0])[0, :, 0]
        torch.testing.assert_close(logits[patient, : len(record)], alone, rtol=1e-4, atol=1e-5)


def test_the_dense_way_has_as_many_visits_and_codes(few: Cohort) -> None:
    even = even_cohort(10, 7, 3, seed=0)
    assert even.visits.length.unique().tolist() == [7]
    assert even.visits.code_offsets.diff().unique().tolist() == [3]
    like = training_speed.even_like(few, 9)
    assert like.visits.length.unique().tolist() == [9]
    assert abs(like.visits.n_visits - few.visits.n_visits) <= 4
    assert len(like.visits.codes) == pytest.approx(len(few.visits.codes), rel=0.2)


def test_steps_of_all_ways_take_as_many_visits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_speed, "PATIENTS", 60)
    shape = training_speed.Shape("small", "", 50, about(4, 0.5, 12), about(3, 0.5, 6))
    arms, steps, visits = training_speed.arms_of(shape, 30)
    assert arms.keys() == steps.keys() == visits.keys()
    taken = {name: step() * visits[name] for name, step in arms.items()}
    assert visits["dense"] < visits["longest"]
    for name, each in taken.items():
        assert each == pytest.approx(taken["default"], abs=visits[name]), name


def test_the_three_losses_that_are_timed_are_one() -> None:
    logits = torch.randn(30, 7, generator=torch.Generator().manual_seed(0))
    stop = torch.randint(1, 8, (30,), generator=torch.Generator().manual_seed(1))
    values = [loss().item() for loss in pieces.losses_of(logits, stop, stop % 2 == 0).values()]
    assert values == pytest.approx([values[0]] * 3, rel=1e-6)


def test_an_unknown_benchmark_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", "packing", "pakcing"])
    with pytest.raises(SystemExit):
        suite.main()
    assert "no benchmark 'pakcing'" in capsys.readouterr().err
