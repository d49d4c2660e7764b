"""The folder of a run: what lies in it, what its numbers are, what it refuses, and how its report reads."""

import errno
import json
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import SafetensorError

from tests.built import ROOT
from tests.cohorts import nll_by_hand, random_cohort
from visitwise.baselines import LifeTableHazard, LogisticHazard, history_features
from visitwise.cohort import Cohort, Outcome
from visitwise.definition import CohortDefinition
from visitwise.model import SurvivalRNN
from visitwise.run import (
    Choices,
    KnownHazard,
    Training,
    by_lot_at_most,
    evaluate,
    first_cause_only,
    fit_baselines,
    load_rnn,
    read_metrics,
    score,
    table_one,
    train,
    verdict,
    vocabulary,
    write_report,
)
from visitwise.run import scores as scores_module
from visitwise.run.sources import fingerprints, seen_by
from visitwise.simulate import TEACHING
from visitwise.study import Flow, Study
from visitwise.training import load_model, save_model
from visitwise.visits import Schema, Visits

QUICK = Training(epochs=2, hidden=8, embedding=8, batch_size=64)
AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa", "best-practice"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cohort with its truth, and a run on it."""
    place = tmp_path_factory.mktemp("run")
    TEACHING.draw_to(place / "cohort", 400, 1)
    train(Choices(str(place / "cohort"), training=QUICK), place / "first", progress=False)
    return place


# -------------------------------------------------------------------------------------------------------------- choices


def test_choices_survive_toml() -> None:
    definition = CohortDefinition(("a b//c",), "date:2024-12-31", competing=(("x", "y"), ("z",)), washout_days=3)
    choices = Choices("/data", definition, Training(cell="gru", learning_rate=0.1), baselines=False)
    assert Choices.from_toml(choices.to_toml()) == choices
    assert 'torch = "' in choices.to_toml().partition("[made_with]")[2]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('source = "x"\n[training]\nepocs = 3', "'epocs' is no choice of [training]"),
        ('source = "x"\nsede = 3', "'sede' is no choice of a file of choices"),
        ('source = "x"\ntraining = 3', "training is 3; expected a table"),
        ('source = "x"\n[training]\nepochs = "3"', "epochs is '3'; expected a whole number, 1 or more"),
        ('source = "x"\n[training]\nlearning_rate = 0', "learning_rate is 0; expected a number above 0"),
        ('source = "x"\n[training]\ncell = "rnn"', "cell is 'rnn'; expected one of lstm, gru"),
        ('source = "x"\n[definition]\noutcome = ["a"]', "has no 'end_of_follow_up'"),
        ("baselines = true", "name no source"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_a_wrong_choice_is_refused_by_name(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        Choices.from_toml(text)


def test_whether_baselines_are_trained_makes_no_other_run() -> None:
    assert list(Choices("x").differences(Choices("x", baselines=False))) == []


# --------------------------------------------------------------------------------------------------------------- folder


def test_the_folder_of_a_run_holds_what_it_says(place: Path) -> None:
    assert {path.name for path in (place / "first").iterdir() if path.suffix != ".safetensors"} == {
        "checkpoint", "choices.toml", "figures", "metrics.json", "model.json", "patients_seen.npy", "report.html",
        "vocabulary.csv",
    }  # fmt: skip
    assert {path.name for path in (place / "first" / "figures").iterdir()} == {
        "training.svg", "tuning-calibration.svg", "tuning-differences.svg", "tuning-hazards.svg",
    }  # fmt: skip
    assert Choices.load(place / "first") == Choices(str(place / "cohort"), training=QUICK)


def test_its_choices_give_the_same_run_again(place: Path) -> None:
    train(Choices.load(place / "first"), place / "again", progress=False)
    one, other = (load_model(place / name).state_dict() for name in ("first", "again"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    for name in ("choices.toml", "vocabulary.csv", "patients_seen.npy", "metrics.json", "figures/training.svg"):
        assert (place / "first" / name).read_bytes() == (place / "again" / name).read_bytes(), name


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"training": replace(QUICK, hidden=9)}, "hidden = 8, not 9"),
        ({"source": "small"}, "not small"),
        ({"definition": CohortDefinition(("a",), "last record")}, "outcome = None, not ['a']"),
    ],
)
def test_another_choice_in_the_same_folder_is_refused_by_name(place: Path, changed: dict[str, Any], said: str) -> None:
    before = {path: path.read_bytes() for path in (place / "first").rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match=re.escape(said)):
        train(replace(Choices.load(place / "first"), **changed), place / "first", progress=False)
    assert {path: path.read_bytes() for path in (place / "first").rglob("*") if path.is_file()} == before


def test_a_disk_that_is_full_leaves_the_files_that_were_there(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path: path.read_bytes() for path in (place / "first").rglob("*") if path.is_file()}

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("visitwise.run.whole.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_report(place / "first")
    assert {path: path.read_bytes() for path in (place / "first").rglob("*") if path.is_file()} == before


def test_weights_that_find_no_room_are_an_error_of_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise SafetensorError("No space left on device")

    monkeypatch.setattr("visitwise.training.save_file", full)
    model = SurvivalRNN(Schema.of(["a"]), hidden=4, embedding=4)
    with pytest.raises(OSError, match="cannot be written: No space left on device"):
        save_model(model, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("missing", ["metrics.json", "choices.toml"])
def test_a_report_needs_its_numbers_and_choices(place: Path, tmp_path: Path, missing: str) -> None:
    for name in {"metrics.json", "choices.toml"} - {missing}:
        (tmp_path / name).write_bytes((place / "first" / name).read_bytes())
    with pytest.raises(FileNotFoundError, match=missing):
        write_report(tmp_path)
    assert not (tmp_path / "report.html").exists()


# ------------------------------------------------------------------------------------------ what cannot be learned


def refused(study: Study, place: Path, said: str) -> None:
    study.save(place / "study")
    with pytest.raises(ValueError, match=said):
        train(Choices(str(place / "study"), training=QUICK), place / "run", progress=False)
    assert not (place / "run").exists()


def with_outcome(cohort: Cohort, cause: torch.Tensor) -> Cohort:
    outcome = cohort.outcome
    return Cohort(cohort.visits, Outcome.of(outcome.stop, cause > 0, cause=cause))


def test_an_outcome_that_no_training_patient_has_is_refused_before_training(tmp_path: Path) -> None:
    cohort = TEACHING.draw(60, seed=0).cohort
    split = Study.of(cohort).split
    study = Study(with_outcome(cohort, (split > 0).long()), split)
    refused(study, tmp_path, "none of the 42 training patients has the event, 18 of the others do")


def test_an_outcome_in_every_row_is_refused(tmp_path: Path) -> None:
    visits = Visits.from_lists([[["a"]]] * 20, day=[[0]] * 20)
    cohort = Cohort(visits, Outcome.of(torch.ones(20, dtype=torch.long), torch.ones(20)))
    refused(Study.of(cohort), tmp_path, "each of the 14 rows of the training patients holds the event")


def test_patients_none_of_whom_decides_when_to_stop_are_refused(tmp_path: Path) -> None:
    cohort = TEACHING.draw(60, seed=0).cohort
    split = torch.where(torch.arange(60) < 40, 0, 2).to(torch.int8)
    refused(Study(cohort, split), tmp_path, "none of the 60 patients is a tuning patient")


def test_one_patient_is_refused(tmp_path: Path) -> None:
    TEACHING.draw(60, seed=0).cohort.select(torch.tensor([3])).save(tmp_path / "one")
    with pytest.raises(ValueError, match="1 patients are too few"):
        train(Choices(str(tmp_path / "one")), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_an_outcome_that_every_patient_has_is_learned(tmp_path: Path) -> None:
    cohort = TEACHING.draw(60, seed=0).cohort
    Study.of(with_outcome(cohort, torch.ones(60, dtype=torch.long))).save(tmp_path / "study")
    done = train(Choices(str(tmp_path / "study"), training=QUICK), tmp_path / "run", progress=False)
    assert done is not None
    assert done[1]["scores"]["tuning"]["events"] == 9
    assert "with the event" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")


def test_a_choice_of_events_for_a_cohort_is_refused(place: Path, tmp_path: Path) -> None:
    choices = Choices(str(place / "cohort"), CohortDefinition(("a",), "last record"))
    with pytest.raises(ValueError, match="is a cohort already"):
        train(choices, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


# --------------------------------------------------------------------------------------------------------------- scores


def test_scores_on_the_tuning_patients_are_those_by_hand(place: Path) -> None:
    learn, judges, _ = Cohort.load(place / "cohort").split([0.70, 0.15, 0.15], seed=0)
    judges = judges.select(torch.arange(len(judges)))
    wanted = {
        "life table": LifeTableHazard.fit(learn)(judges.visits),
        "logistic, history by hand": LogisticHazard.fit(learn, history_features)(judges.visits),
        "LSTM": load_model(place / "first").predict(judges.visits).hazard_logits,
    }
    record = read_metrics(place / "first")["scores"]["tuning"]
    assert [*record["models"]] == [*wanted, "oracle (true hazard)"]
    each = {
        name: np.array([nll_by_hand(logits[[i]], judges.select(torch.tensor([i]))).item() for i in range(len(judges))])
        for name, logits in wanted.items()
    }
    rows = judges.outcome.n_rows
    for name, costs in each.items():
        found = record["models"][name]
        more = costs - each["LSTM"]
        assert found["nll"] == pytest.approx(costs.sum() / rows, abs=1e-7)
        assert found["more_nll"] == pytest.approx(more.sum() / rows, abs=1e-7)
        own_rows = judges.outcome.stop.numpy()
        assert own_rows.sum() == rows
        away = more - more.sum() / rows * own_rows
        n = len(judges)
        assert found["error"] == pytest.approx(np.sqrt(n / (n - 1) * (away**2).sum()) / rows, abs=1e-7)


def random_lengths(n: int, seed: int) -> Cohort:
    """Records of 1 to 40 visits, most of them short, in a world where the long ones have no event."""
    random = np.random.default_rng(seed)
    length = np.minimum(1 + random.geometric(0.25, n) ** 2, 40)
    lists = [[["a"] if random.random() < 0.5 else ["b"] for _ in range(size)] for size in length]
    visits = Visits.from_lists(lists, day=[range(size) for size in length], schema=Schema.of(["a", "b"]))
    return Cohort(visits, Outcome.of(torch.from_numpy(length), torch.from_numpy(length < 6)))


def test_the_error_of_a_difference_is_that_of_drawing_patients_anew() -> None:
    """The number of rows is drawn with the patients; taken as fixed, the error is far too large here."""
    cohort = random_lengths(400, 0)
    low, high = (lambda visits, h=h: visits.pad(torch.full((visits.n_visits,), h), torch.nan) for h in (-2.2, -1.2))
    record = score({"low": low, "high": high}, cohort, "low", progress=False).record["models"]["high"]
    costs = [
        [nll_by_hand(model(part.visits), part).item() for model in (low, high)]
        for part in (cohort.select(torch.tensor([i])) for i in range(len(cohort)))
    ]
    more, rows = np.diff(costs, axis=1)[:, 0], cohort.outcome.stop.numpy()
    drawn = np.random.default_rng(1).integers(0, 400, (4_000, 400))
    by_bootstrap = (more[drawn].sum(1) / rows[drawn].sum(1)).std()
    assert record["more_nll"] == pytest.approx(more.sum() / rows.sum(), abs=1e-6)
    assert record["error"] == pytest.approx(by_bootstrap, rel=0.05)
    rows_as_fixed = more.std() * len(more) ** 0.5 / rows.sum()
    assert not 0.8 < rows_as_fixed / by_bootstrap < 1.25


def test_one_patient_has_no_error_and_no_verdict(place: Path, tmp_path: Path) -> None:
    for path in (place / "first").iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    one = Cohort.load(place / "cohort").select(torch.tensor([7]))
    past = Cohort.load(place / "cohort").select(torch.arange(100, 200))
    scores, _ = evaluate(tmp_path, load_rnn(tmp_path), one, past, name="held out", progress=False)
    assert {numbers["error"] for numbers in scores.record["models"].values()} == {None}
    said = verdict(scores.record)
    assert said.startswith("Nothing says whether the LSTM is better than the ")
    assert "no error from one patient" in said
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert ", no error" in page
    assert "nan" not in Tags(page).text.lower().split()


def test_a_model_is_trained_and_judged_on_patients_lost_inside_an_interval(tmp_path: Path) -> None:
    cohort = TEACHING.draw(300, seed=0).cohort
    half = replace(cohort.outcome, censored_exposure=torch.where(cohort.outcome.observed, 1.0, 0.5))
    Study.of(Cohort(cohort.visits, half)).save(tmp_path / "study")
    done = train(Choices(str(tmp_path / "study"), training=QUICK), tmp_path / "run", progress=False)
    assert done is not None
    learn, judges = (getattr(Study.load(tmp_path / "study"), part) for part in ("train", "tuning"))
    judges = judges.select(torch.arange(len(judges)))
    record = done[1]["scores"]["tuning"]["models"]
    for name, model in (
        ("life table", LifeTableHazard.fit(learn)),
        ("logistic, history by hand", LogisticHazard.fit(learn, history_features)),
    ):
        nll = nll_by_hand(model(judges.visits), judges).item() / judges.outcome.n_rows
        assert record[name]["nll"] == pytest.approx(nll, abs=1e-6)


def models(more: float, error: float) -> dict[str, Any]:
    others = {"life table": {"nll": 0.5, "more_nll": 0.2, "error": 0.01}}
    others["logistic, history by hand"] = {"nll": 0.3 + more, "more_nll": more, "error": error}
    others["oracle (true hazard)"] = {"nll": 0.1, "more_nll": -0.2, "error": 0.01}
    return {"yours": "GRU", "models": {**others, "GRU": {"nll": 0.3}}}


@pytest.mark.parametrize(
    ("more", "begins"),
    [
        (0.021, "The GRU is better than the logistic regression, the best of its baselines"),
        (0.019, "A tie: the GRU and the logistic regression cannot be told apart"),
        (-0.019, "A tie: the GRU and the logistic regression cannot be told apart"),
        (-0.021, "The GRU is worse than the logistic regression"),
    ],
)
def test_a_tie_is_said_in_words(more: float, begins: str) -> None:
    assert verdict(models(more, 0.01)).startswith(begins)


def test_a_model_without_baselines_is_not_said_to_be_better_than_one() -> None:
    assert verdict({"yours": "LSTM", "models": {"LSTM": {"nll": 0.3}}}).startswith("No baseline was trained")


def test_the_regression_looks_at_the_most_common_codes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    past, judges = TEACHING.draw(300, seed=0).cohort.split([0.7, 0.3], seed=0)
    counts = torch.bincount(past.visits.codes.long())
    kept = set(counts.argsort(descending=True)[:4].tolist())

    def fewer(visits: Visits) -> Visits:
        names = [name for place, name in enumerate(visits.schema.codes) if place in kept]
        lists = [
            [[visits.schema.codes[code] for code in visits.codes[a:b].tolist() if code in kept]
             for a, b in zip(visits.code_offsets[i:j], visits.code_offsets[i + 1 : j + 1], strict=True)]
            for i, j in zip(visits.visit_offsets[:-1], visits.visit_offsets[1:], strict=True)
        ]  # fmt: skip
        days = [
            visits.day[i:j].tolist() for i, j in zip(visits.visit_offsets[:-1], visits.visit_offsets[1:], strict=True)
        ]
        return Visits.from_lists(
            lists, day=days, patient_id=visits.patient_id.tolist(), static=visits.static.tolist(),
            schema=Schema.of(names, visits.schema.static),
        )  # fmt: skip

    monkeypatch.setattr(scores_module, "RIVAL_CODES", 4)
    fitted, notes = fit_baselines(past)
    assert notes == ["The logistic regression looks at the 4 most common of 29 codes."]
    by_hand = LogisticHazard.fit(Cohort(fewer(past.visits), past.outcome), history_features)
    wanted = by_hand(fewer(judges.visits))
    torch.testing.assert_close(fitted[scores_module.RIVAL](judges.visits), wanted, equal_nan=True, rtol=1e-4, atol=1e-4)


def test_the_table_of_the_regression_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    cohort = TEACHING.draw(300, seed=0).cohort
    features = history_features(cohort.visits)
    monkeypatch.setattr(scores_module, "RIVAL_BYTES", features.nbytes // 3)
    _, (note,) = fit_baselines(cohort)
    fitted_to = int(re.findall(r"fitted to (\d+) of 300", note)[0])
    assert fitted_to == pytest.approx(100, rel=0.05)


def test_patients_are_scored_alike_however_many_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    learn, judges = (random_cohort(80, seed=seed) for seed in (0, 1))
    fitted, _ = fit_baselines(learn)
    whole = score(fitted, judges, "life table", progress=False).record
    monkeypatch.setattr(scores_module, "AT_ONCE", 7)
    parts = score(fitted, judges, "life table", progress=False).record
    for name, numbers in whole["models"].items():
        assert parts["models"][name] == pytest.approx(numbers, rel=1e-6)


def test_known_hazards_find_their_patient_in_any_order() -> None:
    simulation = TEACHING.draw(30, seed=0)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(0))
    shuffled = simulation.cohort.visits.select(order)
    known = KnownHazard(simulation.cohort, simulation.hazard)(shuffled)
    for row, who in enumerate(order.tolist()):
        own = simulation.hazard[simulation.cohort.visits.patient == who].float()
        torch.testing.assert_close(known[row, : len(own)].sigmoid(), own)


def test_patients_drawn_by_lot_are_always_the_same() -> None:
    cohort = TEACHING.draw(50, seed=0).cohort
    assert by_lot_at_most(cohort, 50) is cohort
    drawn = [by_lot_at_most(cohort, 20).visits.patient_id.tolist() for _ in range(2)]
    assert drawn[0] == drawn[1] == sorted(set(drawn[0]))
    assert len(drawn[0]) == 20


def test_an_event_of_a_competing_cause_ends_follow_up_without_the_event() -> None:
    cohort = TEACHING.draw(90, seed=0).cohort
    cause = torch.arange(90) % 3
    study = replace(Study.of(with_outcome(cohort, cause)), definition=CohortDefinition(("a",), "last record"))
    assert first_cause_only(study) is study
    competing = replace(study, definition=CohortDefinition(("a",), "last record", competing=(("b",),)))
    alone = first_cause_only(competing)
    assert alone.cohort.outcome.cause.tolist() == [int(one == 1) for one in cause.tolist()]
    assert torch.equal(alone.cohort.outcome.stop, cohort.outcome.stop)
    assert int(study.cohort.outcome.cause.max()) == 2  # the study given is as it was


# ------------------------------------------------------------------------------------------------ table one, vocabulary


def long_table(cohort: Cohort) -> pd.DataFrame:
    """Patient and code of every record up to the last row at risk, by loops."""
    visits, lines = cohort.visits, []
    for patient in range(len(cohort)):
        first = int(visits.visit_offsets[patient])
        for visit in range(first, first + int(cohort.outcome.stop[patient])):
            begin, end = visits.code_offsets[visit : visit + 2].tolist()
            lines += [(patient, visit, visits.schema.codes[code]) for code in visits.codes[begin:end].tolist()]
    return pd.DataFrame(lines, columns=["patient", "visit", "code"])


def test_patients_are_known_again_in_a_later_extract_and_others_with_their_ids_are_not(tmp_path: Path) -> None:
    later = TEACHING.draw(60, seed=7).cohort
    first = torch.arange(30)
    earlier = later.visits.select(first, (later.visits.length[:30] - 1).clamp(min=1))
    known = Cohort(earlier, Outcome.of(earlier.length, torch.zeros(30)))
    np.save(tmp_path / "patients_seen.npy", fingerprints(known))
    assert seen_by(tmp_path, later).tolist() == [True] * 30 + [False] * 30
    others = TEACHING.draw(60, seed=8).cohort
    ids = replace(others.visits, patient_id=later.visits.patient_id)
    strangers = seen_by(tmp_path, Cohort(ids, others.outcome))
    assert int(strangers.sum()) < 6  # some first visits hold the same few codes


def three_digits(values: np.ndarray) -> str:
    """Mean and standard deviation, both to the third digit of the second."""
    deviation = f"{values.std():.3g}"
    return f"{values.mean():.{len(deviation.partition('.')[2])}f} ({deviation})"


def test_table_one_is_what_loops_count() -> None:
    cohort = random_cohort(70, seed=5)
    table = table_one(cohort).set_index("name")
    records, event = long_table(cohort), cohort.outcome.observed.numpy()
    for code in cohort.visits.schema.codes[1:]:
        who = records[records.code == code].patient.unique()
        counts = [len(who), int(event[who].sum()), int((~event[who]).sum())]
        sizes = [70, int(event.sum()), int((~event).sum())]
        told = [f"{count:,} ({100 * count / size:.1f} %)" for count, size in zip(counts, sizes, strict=True)]
        assert table.loc[code].tolist()[1:] == told
    age = cohort.visits.static[:, 0].double().numpy()
    assert table.loc["age", "with the event"] == three_digits(age[event])
    read = cohort.outcome.stop.numpy()[~event]
    low, middle, high = np.quantile(read, [0.05, 0.5, 0.95])
    assert table.loc["visits up to the last one at risk", "without"] == f"{middle:.0f} ({low:.0f} to {high:.0f})"
    values = cohort.visits.measurements[:, 0].double().numpy()
    index, stop = cohort.visits.index.numpy(), cohort.outcome.stop.numpy()[cohort.visits.patient.numpy()]
    used = values[index < stop]
    known = used[~np.isnan(used)]
    share = 100 * len(known) / len(used)
    assert table.loc["weight", "all"] == f"{three_digits(known)}, at {share:.1f} % of visits"


def test_a_group_without_patients_has_dashes() -> None:
    cohort = random_cohort(20, seed=5)
    table = table_one(with_outcome(cohort, torch.zeros(20, dtype=torch.long)))
    assert set(table["with the event"][1:]) == {"–"}
    assert table["with the event"][0] == "0 (0.0 %)"


def test_the_vocabulary_has_the_counts_of_loops() -> None:
    cohort = random_cohort(70, seed=5)
    table, records = vocabulary(cohort), long_table(cohort)
    for line in table[table.kind == "code"].itertuples():
        own = records[records.code == line.name]
        assert (line.patients, line.visits) == (own.patient.nunique(), own.visit.nunique())
        assert cohort.visits.schema.codes[line.index] == line.name
    assert table[table.kind != "code"][["kind", "name"]].values.tolist() == [
        ["static", "age"],
        ["measurement", "weight"],
    ]


# --------------------------------------------------------------------------------------------------------------- report


class Tags(HTMLParser):
    """Tags with their attributes, and the text outside of style."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text, self.open = "", [""]
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self.open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self.open[-1] != "style":
            self.text += data


def test_the_report_is_one_page_that_asks_for_nothing(place: Path) -> None:
    page = (place / "first" / "report.html").read_text(encoding="utf-8")
    tags = Tags(page).tags
    assert {"script", "link", "img", "iframe"}.isdisjoint(tag for tag, _ in tags)
    addresses = [value for _, given in tags for name, value in given.items() if name in ("href", "src", "xlink:href")]
    assert [address for address in addresses if not (address or "").startswith("#")] == []
    assert "url(http" not in page
    assert "@import" not in page


def test_every_figure_of_the_report_has_words_for_who_cannot_see_it(place: Path) -> None:
    tags = Tags((place / "first" / "report.html").read_text(encoding="utf-8")).tags
    labels = [given.get("aria-label") or "" for tag, given in tags if tag == "svg"]
    assert len(labels) == 4
    assert min(len(label.split()) for label in labels) > 15
    assert len(set(labels)) == 4


def test_the_report_holds_the_numbers_of_its_metrics(place: Path) -> None:
    text = Tags((place / "first" / "report.html").read_text(encoding="utf-8")).text.replace("−", "-")
    metrics = read_metrics(place / "first")
    record = metrics["scores"]["tuning"]
    assert verdict(record) in text
    for one in record["models"].values():
        assert f"{one['nll']:.5f}" in text
    for line in metrics["table_one"]:
        assert line["name"] in text
        assert line["with the event"] in text
    assert (place / "first" / "choices.toml").read_text(encoding="utf-8") in text
    assert "decided when training stopped" in text


def test_a_report_shows_the_flow_and_says_its_warnings(place: Path, tmp_path: Path) -> None:
    for path in (place / "first").iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    metrics = read_metrics(tmp_path)
    flow = Flow({"patients": 1_205}, {"born <late>": 5}, {"after the event": 4_321}, {"patients": 1_200}, ("odd & so",))
    metrics["flow"] = json.loads(flow.to_json())
    (tmp_path / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    write_report(tmp_path)
    text = Tags((tmp_path / "report.html").read_text(encoding="utf-8")).text
    for words in ("1,205 patients", "5 born <late>", "4,321 after the event", "1,200 patients", "Warning. Odd & so."):
        assert words in text, words


def test_names_with_markup_are_text_in_a_report(tmp_path: Path) -> None:
    schema = Schema.of(["<script>alert(1)</script>", "ß & ß"], ["<b>age</b>"])
    random = np.random.default_rng(0)
    lists = [[[schema.codes[1 + int(random.integers(2))]] for _ in range(3)] for _ in range(60)]
    visits = Visits.from_lists(lists, day=[[0, 1, 2]] * 60, static=[[1.5]] * 60, schema=schema)
    observed = torch.from_numpy(random.random(60) < 0.5)
    Cohort(visits, Outcome.of(torch.full((60,), 3), observed)).save(tmp_path / "cohort")
    train(Choices(str(tmp_path / "cohort"), training=QUICK), tmp_path / "run", progress=False)
    page = Tags((tmp_path / "run" / "report.html").read_text(encoding="utf-8"))
    assert "script" not in {tag for tag, _ in page.tags}
    assert "<script>alert(1)</script>" in page.text


@pytest.fixture(scope="module")
def report(place: Path, browser: Any) -> tuple[Any, str]:
    return browser, (place / "first" / "report.html").as_uri()


@pytest.mark.parametrize(("scheme", "width"), [("light", 360), ("dark", 1280)])
def test_axe_finds_nothing_in_a_report_and_it_fits_the_screen(report: tuple[Any, str], scheme: str, width: int) -> None:
    browser, address = report
    look = {"viewport": {"width": width, "height": 900}, "color_scheme": scheme}
    page = browser.new_page(**look, bypass_csp=True)  # for axe, which is a script
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    assert asked == [address]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.add_script_tag(path=str(AXE))
    found = page.evaluate("(tags) => axe.run({ runOnly: tags, resultTypes: ['violations'] })", RULES)
    page.close()
    assert [(one["id"], one["nodes"][0]["html"]) for one in found["violations"]] == []


# The command line on a machine without polars.
WITHOUT_POLARS = """
from importlib.machinery import PathFinder
find = PathFinder.find_spec
def find_others(name, path=None, target=None):
    return None if name.partition(".")[0] == "polars" else find(name, path, target)
PathFinder.find_spec = find_others
from visitwise.cli import main
main()
"""


def test_a_run_needs_no_polars(place: Path) -> None:
    words = ["train", "cohort", "--run", "without", "--epochs", "1", "--hidden", "4", "--embedding", "4"]
    command = [sys.executable, "-c", WITHOUT_POLARS, *words]
    done = subprocess.run(command, cwd=place, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (place / "without" / "report.html").is_file()
