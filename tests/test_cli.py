"""The command line, used as a person would use it, and misused."""

import json
import math
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner, Result

from tests.cohorts import nll_by_hand
from tests.test_run import WITHOUT_POLARS
from visitwise import cli
from visitwise.baselines import LifeTableHazard, LogisticHazard, history_features
from visitwise.cli import main
from visitwise.cohort import Cohort, Outcome
from visitwise.run import Choices, scores
from visitwise.training import load_model
from visitwise.visits import Schema, Visits

QUICK = ["--epochs", "2", "--hidden", "8", "--embedding", "8", "--batch-size", "64"]


def run(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def unwrapped(said: str) -> str:
    """What was said, with one space between words."""
    return " ".join(said.split())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated cohort and a model trained on it, by the commands of the help text."""
    folder = tmp_path_factory.mktemp("cli")
    assert run("simulate", folder / "cohort", "--patients", 400, "--seed", 1).exit_code == 0
    assert run("train", folder / "cohort", "--run", folder / "first", *QUICK).exit_code == 0
    return folder


def test_help_teaches_the_order_of_the_commands_without_importing_torch() -> None:
    script = "import sys; from visitwise.cli import main; main(['--help'], standalone_mode=False); "
    script += "print('torch' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    order = [said.index(f"visitwise {name} ") for name in ("simulate", "describe", "train", "evaluate", "predict")]
    assert order == sorted(order)
    assert said.strip().endswith("False")


@pytest.mark.parametrize("command", ["simulate", "describe", "train", "evaluate", "predict", "export"])
def test_every_command_has_help(command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert len(result.output.split("Options:")[0]) > 80


def test_a_simulated_cohort_is_the_one_the_package_draws(folder: Path) -> None:
    from visitwise.simulate import TEACHING

    simulation = TEACHING.draw(400, 1)
    cohort = Cohort.load(folder / "cohort")
    assert torch.equal(cohort.visits.codes, simulation.cohort.visits.codes)
    assert torch.equal(cohort.outcome.stop, simulation.cohort.outcome.stop)
    np.testing.assert_array_equal(np.load(folder / "cohort" / "true_hazard.npy"), simulation.hazard.numpy())


# The command line, killed as soon as the third shard is drawn: nothing is told, nothing is tidied up.
KILLED = """
import os, signal
from visitwise import simulate
from visitwise.cli import main

simulate._PATIENTS_AT_ONCE, simulate._SHARDS_KEPT_AT_ONCE = 32, 1
draw_from = simulate.Simulator._draw_from
def draw_from_or_die(self, begin, *rest):
    if begin == 96:
        os.kill(os.getpid(), signal.SIGKILL)
    return draw_from(self, begin, *rest)
simulate.Simulator._draw_from = draw_from_or_die
main()
"""


def test_a_simulation_that_was_killed_goes_on_to_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from visitwise import simulate

    def words(name: str) -> list[str]:
        return ["simulate", str(tmp_path / name), "--patients", "150", "--seed", "4"]

    process = subprocess.run([sys.executable, "-c", KILLED, *words("killed")], check=False, capture_output=True)
    assert process.returncode == -signal.SIGKILL
    assert [path.name for path in tmp_path.iterdir()] == [".killed.unfinished"]
    monkeypatch.setattr(simulate, "_PATIENTS_AT_ONCE", 32)
    begun, draw_from = list[int](), simulate.Simulator._draw_from

    def counting(self: simulate.Simulator, begin: int, n_patients: int, seed: int) -> simulate.Simulation:
        begun.append(begin)
        return draw_from(self, begin, n_patients, seed)

    with monkeypatch.context() as patched:
        patched.setattr(simulate.Simulator, "_draw_from", counting)
        assert run(*words("killed")).exit_code == 0
    assert begun == [96, 128]
    assert run(*words("whole")).exit_code == 0
    files = [{path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("killed", "whole")]
    assert files[0] == files[1]


def test_describe_counts_what_is_there(folder: Path) -> None:
    cohort = Cohort.load(folder / "cohort")
    said = run("describe", folder / "cohort").output
    assert f"{cohort.visits.n_visits:,} (median" in said
    assert f"{int(cohort.outcome.observed.sum()):,} (" in said
    assert "29 of 29 known" in said


def test_evaluate_scores_only_patients_the_model_has_not_seen(folder: Path) -> None:
    result = run("evaluate", folder / "cohort", "--run", folder / "first")
    assert result.exit_code == 0, result.output
    assert "60 patients the model has not seen; 340 it has are left out" in result.output
    for name in ("life table", "logistic, history by hand", "LSTM", "oracle (true hazard)"):
        assert f"\n{name}" in result.output


def test_evaluate_says_what_the_split_the_baselines_and_the_true_hazard_give_by_hand(folder: Path) -> None:
    cohort = Cohort.load(folder / "cohort")
    judges_ids = cohort.split([0.70, 0.15, 0.15], seed=0)[2].visits.patient_id
    judge = torch.isin(cohort.visits.patient_id, judges_ids)
    past, judges = (cohort.select(chosen.nonzero()[:, 0]) for chosen in (~judge, judge))
    true_hazard = torch.from_numpy(np.load(folder / "cohort" / "true_hazard.npy"))[judge[cohort.visits.patient]]
    wanted = {
        "life table": LifeTableHazard.fit(past)(judges.visits),
        "logistic, history by hand": LogisticHazard.fit(past, history_features)(judges.visits),
        "LSTM": load_model(folder / "first").predict(judges.visits).hazard_logits,
        "oracle (true hazard)": judges.visits.pad(torch.logit(true_hazard.double()), torch.nan),
    }
    said = run("evaluate", folder / "cohort", "--run", folder / "first").output
    each = {
        name: np.array([nll_by_hand(logits[[i]], judges.select(torch.tensor([i]))).item() for i in range(len(judges))])
        for name, logits in wanted.items()
    }
    rows, events = judges.outcome.n_rows, int(judges.outcome.observed.sum())
    nll = {name: costs.sum() / rows for name, costs in each.items()}
    at_risk = [(i, k) for i, stop in enumerate(judges.outcome.stop.tolist()) for k in range(stop)]
    assert len(at_risk) == rows
    for name, logits in wanted.items():
        (line,) = re.findall(rf"^{re.escape(name)} +([0-9.].*)$", said, re.MULTILINE)
        cells = [float(number) for number in re.findall(r"[+-]?[0-9.]+", line)]
        expected = sum(float(logits[place].sigmoid()) for place in at_risk)
        assert cells[0] == pytest.approx(nll[name], abs=1.1e-5), name
        assert cells[2] == pytest.approx(expected / events, abs=6e-4), name
        more = each[name] - each["LSTM"]
        away = more - more.sum() / rows * judges.outcome.stop.numpy()
        error = math.sqrt(len(more) / (len(more) - 1) * (away**2).sum()) / rows
        assert cells[3:] == pytest.approx([] if name == "LSTM" else [more.sum() / rows, error], abs=1.1e-5), name
    (share,) = re.findall(r"^(-?[0-9.]+) % of what can be known beyond the life table", said, re.MULTILINE)
    by_hand = (nll["life table"] - nll["LSTM"]) / (nll["life table"] - nll["oracle (true hazard)"])
    assert float(share) == pytest.approx(100 * by_hand, abs=0.06)


def test_evaluate_fits_the_rival_to_some_of_very_many_patients_and_says_so(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted_to = []
    fit = LogisticHazard.fit

    def spied(cohort: Cohort, *rest: object) -> LogisticHazard:
        fitted_to.append(len(cohort))
        return fit(cohort, *rest)

    monkeypatch.setattr(LogisticHazard, "fit", spied)
    whole = run("evaluate", folder / "cohort", "--run", folder / "first").output
    monkeypatch.setattr(scores, "RIVAL_PATIENTS", 40)
    some = run("evaluate", folder / "cohort", "--run", folder / "first").output
    assert fitted_to == [fitted_to[0], 40]
    assert f"fitted to 40 of {fitted_to[0]} patients, by lot" in some
    assert "by lot" not in whole
    assert [line for line in whole.splitlines() if "life table" in line][:1] == [
        line for line in some.splitlines() if "life table" in line
    ][:1]


def test_evaluate_on_other_patients_scores_all_of_them(folder: Path) -> None:
    assert run("simulate", folder / "others", "--patients", 100, "--seed", 2).exit_code == 0
    result = run("evaluate", folder / "others", "--run", folder / "first")
    assert "100 patients the model has not seen; 0 it has are left out" in result.output


def test_patients_of_another_cohort_are_new_even_if_they_have_the_same_ids(folder: Path) -> None:
    cohort = Cohort.load(folder / "cohort")
    later = Visits(**{**vars(cohort.visits), "day": cohort.visits.day + 1})
    Cohort(later, cohort.outcome).save(folder / "namesakes")
    result = run("evaluate", folder / "namesakes", "--run", folder / "first")
    assert "400 patients the model has not seen; 0 it has are left out" in result.output
    assert "No baselines" in result.output


def test_predictions_are_those_of_the_model(folder: Path) -> None:
    out = folder / "predictions.csv"
    assert run("predict", folder / "cohort", "--run", folder / "first", "--out", out).exit_code == 0
    table, visits = pd.read_csv(out), Cohort.load(folder / "cohort").visits
    prediction = load_model(folder / "first").predict(visits)
    assert table.patient_id.tolist() == visits.patient_id[visits.patient].tolist()
    assert table.visit.tolist() == visits.index.tolist()
    np.testing.assert_allclose(table.day, visits.day.numpy(), rtol=1e-8)
    judges = Cohort.load(folder / "cohort").split([0.70, 0.15, 0.15], seed=0)[2].visits.patient_id.tolist()
    assert set(table.patient_id[table.seen == 0]) == set(judges)
    assert table.groupby("patient_id")["seen"].first().sum() == 340
    for name in ("hazard", "survival", "event_probability"):
        wanted = visits.unpad(getattr(prediction, name)).numpy()
        np.testing.assert_allclose(table[name], wanted, rtol=2e-6, atol=1e-12)
    assert [file.name for file in folder.glob(".*")] == []


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (
            ["describe", "nowhere"],
            1,
            "there is no nowhere; expected a folder written by",
        ),
        (["simulate", "{folder}/cohort"], 1, "exists; choose another folder"),
        (["simulate", "{folder}/x", "--patients", "0"], 2, "--patients"),
        (["simulate", "{folder}/x", "--world", "flat"], 2, "--world"),
        (["train", "{folder}/cohort"], 2, "--run"),
        (["train", "{folder}/cohort", "--run", "{folder}/first", "--epochs", "3"], 1, "epochs = 2, not 3"),
        (["evaluate", "{folder}/cohort", "--run", "{folder}/cohort"], 1, "holds no model.json"),
        (["evaluate", "pbc", "--run", "{folder}/first"], 1, "other codes or features than the model"),
        (["predict", "pbc", "--run", "{folder}/first", "--out", "{folder}/p.csv"], 1, "another schema"),
        (
            ["predict", "{folder}/cohort", "--run", "{folder}/first", "--out", "{folder}/no/p.csv"],
            1,
            "no does not exist; expected one to write p.csv",
        ),
        (["train", "--run", "{folder}/x"], 2, "Missing argument 'SOURCE'"),
        (["train", "{folder}", "--run", "{folder}/x"], 1, "holds neither cohort.json nor a folder data of events"),
        (["train", "{folder}/cohort/day.npy", "--run", "{folder}/x"], 1, "day.npy is a file; expected a folder"),
        (["train", "{folder}/cohort", "--run", "{folder}/x", "--outcome", "a"], 1, "has no 'end_of_follow_up'"),
        (["train", "--config", "{folder}/no.toml", "--run", "{folder}/x"], 1, "there is no file"),
        (["train", "--config", "{folder}/cohort/day.npy", "--run", "{folder}/x"], 1, "day.npy: "),
        (["evaluate", "--run", "{folder}/cohort"], 1, "holds no model.json"),
        (["predict", "--run", "{folder}/first", "--out", "{folder}/p.parquet"], 1, "the patients have no dates"),
        (["predict", "--run", "{folder}/first", "--out", "{folder}/p.txt"], 1, "ends in .csv or .parquet"),
        (["export", "--run", "{folder}/first", "--out", "{folder}/m.pt"], 1, "ends in .safetensors"),
        (["export", "--run", "{folder}/first", "--out", "{folder}/no/m.safetensors"], 1, "no does not exist"),
        (["resuscitate"], 2, "No such command"),
    ],
    ids=lambda words: " ".join(words[:2]) if isinstance(words, list) else "",
)
def test_a_mistake_gets_a_message_and_no_traceback(folder: Path, words: list[str], code: int, said: str) -> None:
    result = run(*(word.format(folder=folder) for word in words))
    assert result.exit_code == code
    assert said in result.output
    assert "Traceback" not in result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)


def test_without_a_source_evaluate_scores_the_runs_own_held_out_patients_and_adds_them_to_its_report(
    folder: Path,
) -> None:
    with_source = run("evaluate", folder / "cohort", "--run", folder / "first")
    without = run("evaluate", "--run", folder / "first")
    assert without.stdout == with_source.stdout
    assert "\nadded to " in without.output
    scores = json.loads((folder / "first" / "metrics.json").read_text(encoding="utf-8"))["scores"]
    assert scores["held out"]["patients"] == 60
    assert f"{scores['held out']['models']['LSTM']['nll']:.5f}" in without.output
    page = (folder / "first" / "report.html").read_text(encoding="utf-8")
    assert page.index("Scores on held-out patients") < page.index("Scores on tuning patients")


def test_training_again_keeps_what_evaluate_added(folder: Path) -> None:
    assert run("evaluate", "--run", folder / "first").exit_code == 0
    before = (folder / "first" / "report.html").read_bytes()
    assert run("train", folder / "cohort", "--run", folder / "first", *QUICK).exit_code == 0
    assert (folder / "first" / "report.html").read_bytes() == before


def test_other_patients_stand_in_the_report_under_their_own_name(folder: Path) -> None:
    assert run("simulate", folder / "elsewhere", "--patients", 100, "--seed", 3).exit_code == 0
    assert run("evaluate", folder / "elsewhere", "--run", folder / "first").exit_code == 0
    assert "Scores on elsewhere patients" in (folder / "first" / "report.html").read_text(encoding="utf-8")


def test_a_run_without_baselines_says_so(folder: Path) -> None:
    said = run("train", folder / "cohort", "--run", folder / "alone", *QUICK, "--no-baselines").output
    assert "No baseline was trained, so nothing says whether the LSTM is better than one." in unwrapped(said)
    assert "No baselines: the run has none" in run("evaluate", "--run", folder / "alone").output


def test_options_beside_a_file_of_choices_override_it(folder: Path) -> None:
    config = folder / "first" / "choices.toml"
    result = run("train", "--config", config, "--hidden", 9, "--run", folder / "wider")
    assert result.exit_code == 0, result.output
    before, after = (Choices.load(folder / name) for name in ("first", "wider"))
    assert list(before.differences(after)) == [("hidden", 8, 9)]


def test_the_exported_file_is_the_model(folder: Path) -> None:
    out = folder / "model.safetensors"
    assert run("export", "--run", folder / "first", "--out", out).exit_code == 0
    one, other = load_model(folder / "first"), load_model(out)
    assert one.schema == other.schema
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


def test_describe_warns_of_a_column_that_knows_the_future(folder: Path, tmp_path: Path) -> None:
    cohort = Cohort.load(folder / "cohort")
    visits, outcome = cohort.visits, cohort.outcome
    last = (visits.index == outcome.stop[visits.patient] - 1) & outcome.observed[visits.patient]
    schema = replace(visits.schema, measurements=("fate",))
    leaky = replace(visits, measurements=last[:, None].float(), schema=schema)
    Cohort(leaky, outcome).save(tmp_path / "leaky")
    assert "! the last value of 'fate' alone ranks the rows" in unwrapped(run("describe", tmp_path / "leaky").output)


def test_one_patient_can_be_described(folder: Path, tmp_path: Path) -> None:
    Cohort.load(folder / "cohort").select(torch.tensor([5])).save(tmp_path / "one")
    result = run("describe", tmp_path / "one")
    assert result.exit_code == 0, result.output
    assert "1 (100 %)" in result.output


# ---------------------------------------------------------------------------------------------------------------- width


@pytest.fixture
def wide(tmp_path: Path) -> Path:
    """A cohort whose names are longer than a line, with every kind of column, causes and patients lost inside a row."""
    random = np.random.default_rng(0)
    codes = [f"ICD10CM//{n} type {n} of a disorder whose name is longer than any line of 80 columns has" for n in "xyz"]
    codes.append("W" * 100)
    schema = Schema.of(codes, ["an age that is told in words at length"], ["SERUM//CREATININE//mg/dL, " * 3 + "again"])
    lists = [[[str(random.choice(codes))] for _ in range(4)] for _ in range(200)]
    values = [[[float(random.normal(1e5, 3e4))] for _ in range(4)] for _ in range(200)]
    statics = random.normal(50_000, 9_000, (200, 1)).tolist()
    visits = Visits.from_lists(lists, day=[range(4)] * 200, static=statics, measurements=values, schema=schema)
    cause = torch.from_numpy(random.integers(0, 3, 200))
    exposure = torch.full((200,), 0.5)
    outcome = Outcome.of(torch.full((200,), 4), cause > 0, cause=cause, censored_exposure=exposure)
    Cohort(visits, outcome).save(tmp_path / "wide")
    return tmp_path


@pytest.mark.parametrize("columns", [80, 50, 200])
def test_tables_fit_the_terminal_and_lose_nothing(wide: Path, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    assert run("train", wide / "wide", "--run", wide / "run", *QUICK).exit_code == 0
    for words in (["describe", wide / "wide"], ["evaluate", wide / "wide", "--run", wide / "run"]):
        said = run(*words).stdout
        long = [line for line in said.splitlines() if len(line) > columns and not line.startswith("added to ")]
        assert long == []
    monkeypatch.setenv("COLUMNS", "10000")
    whole = [run(*words).stdout for words in (["describe", wide / "wide"], ["evaluate", "--run", wide / "run"])]
    monkeypatch.setenv("COLUMNS", str(columns))
    narrow = [run(*words).stdout for words in (["describe", wide / "wide"], ["evaluate", "--run", wide / "run"])]
    for one, other in zip(whole, narrow, strict=True):
        assert sorted("".join(one.split())) == sorted("".join(other.split()))


def test_a_table_without_a_terminal_has_80_columns(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    said = run("evaluate", folder / "cohort", "--run", folder / "first").stdout
    (line,) = re.findall("^logistic, history by hand .*$", said, re.MULTILINE)
    assert re.fullmatch(r"logistic, history by hand( +[+-]?[0-9.]+){4} ± [0-9.]+", line)
    assert len(line) <= 80


def test_patients_lost_inside_a_row_are_described_with_the_share_that_counts(wide: Path) -> None:
    outcome = Cohort.load(wide / "wide").outcome
    n_cut, events = int((~outcome.observed).sum()), int(outcome.observed.sum())
    said = run("describe", wide / "wide").stdout
    assert f"{n_cut} patients, whose last rows count as {n_cut / 2:g}\n" in said
    assert re.search(rf"event rate +{100 * events / (800 - n_cut / 2):.2f} % of rows", said)


# --------------------------------------------------------------------------------------------------------------- events


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The simulator's patients as event records, and a run on them, by the commands of the help text."""
    pytest.importorskip("polars")
    folder = tmp_path_factory.mktemp("events")
    assert run("simulate", folder / "data", "--meds", "--patients", 400, "--seed", 1).exit_code == 0
    chosen = ["--config", folder / "data" / "definition.toml", "--run", folder / "first"]
    result = run("train", folder / "data", *chosen, *QUICK)
    assert result.exit_code == 0, result.output
    return folder


def test_a_run_on_events_learns_what_a_run_on_the_same_cohort_learns(events: Path) -> None:
    study = events / "first" / "study"
    assert run("train", study, "--run", events / "cohort", *QUICK).exit_code == 0
    one, other = (load_model(events / name).state_dict() for name in ("first", "cohort"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_describe_begins_with_the_flow(events: Path) -> None:
    said = run("describe", events / "data", "--config", events / "data" / "definition.toml").stdout
    assert said.startswith("read: 3 files, ")
    assert re.search(r"\nkept: 400 patients, ", said)
    assert "no code of the vocabulary is EVENT or goes on from there" in unwrapped(said)


def test_choices_of_events_can_be_given_one_by_one(events: Path) -> None:
    codes = ["--outcome", "EVENT", "--end-of-follow-up", "code:END_OF_FOLLOWUP", "--visit", "column:encounter_id"]
    codes += ["--censored-exposure", 1]
    said = [
        run("describe", events / "data", *choice, "--min-patients", 1).stdout.replace("\n", " ")
        for choice in (codes, ["--config", events / "data" / "definition.toml"])
    ]
    assert said[0] == said[1]
    washed = run("describe", events / "data", *codes, "--washout-days", 30, "--competing", "ICD10CM//N17.9").output
    assert "the event at the start, or before it" in washed


def test_several_codes_may_be_one_competing_cause(events: Path) -> None:
    names = [name for name in load_model(events / "first").schema.codes if name.startswith("ICD10CM//")][:3]
    data = ["train", events / "data", "--run", events / "causes", *QUICK, "--epochs", 1, "--no-baselines"]
    chosen = ["--outcome", "EVENT", "--end-of-follow-up", "code:END_OF_FOLLOWUP"]
    codes = [name.split(" ")[0] for name in names]
    result = run(*data, *chosen, "--competing", f'{codes[0]}, "{codes[1]}"', "--competing", codes[2])
    assert result.exit_code == 0, result.output
    definition = Choices.load(events / "causes").definition
    assert definition is not None
    assert definition.competing == ((codes[0], codes[1]), (codes[2],))
    assert f"recorded as {codes[0]} or {codes[1]} or {codes[2]} ends follow-up" in unwrapped(result.output)


def test_a_competing_code_with_a_comma_stands_in_quotes() -> None:
    assert cli._codes('DEATH,"moved, abroad", a b') == ["DEATH", "moved, abroad", "a b"]
    assert cli._codes("DEATH//in hospital") == ["DEATH//in hospital"]


@pytest.mark.parametrize("given", ["", "DEATH,", "DEATH,,MOVED"])
def test_a_competing_cause_without_a_code_is_refused(events: Path, given: str) -> None:
    chosen = ["--outcome", "EVENT", "--end-of-follow-up", "code:END_OF_FOLLOWUP", "--competing", given]
    result = run("describe", events / "data", *chosen)
    assert result.exit_code == 1
    assert "competing" in result.output


def test_evaluate_scores_the_held_out_patients_of_the_data(events: Path) -> None:
    result = run("evaluate", "--run", events / "first")
    assert result.exit_code == 0, result.output
    assert "60 patients the model has not seen; 340 it has are left out" in result.output
    assert run("evaluate", events / "data", "--run", events / "first").stdout == result.stdout


def test_predictions_of_events_have_dates_and_are_the_label_table(events: Path) -> None:
    import polars as pl

    for name in ("p.csv", "p.parquet"):
        assert run("predict", "--run", events / "first", "--out", events / name).exit_code == 0
    table, labels = pd.read_csv(events / "p.csv"), pl.read_parquet(events / "p.parquet")
    assert labels["subject_id"].to_list() == table.patient_id.tolist()
    assert labels["prediction_time"].to_list() == [datetime.fromisoformat(moment) for moment in table.time]
    np.testing.assert_allclose(labels["float_value"], table.hazard, rtol=1e-6)


def test_a_run_is_judged_and_predicts_without_the_events_it_came_from(events: Path) -> None:
    before = run("evaluate", "--run", events / "first").stdout
    (events / "data").rename(events / "gone")
    try:
        assert run("evaluate", "--run", events / "first").stdout == before
        assert run("predict", "--run", events / "first", "--out", events / "later.csv").exit_code == 0
    finally:
        (events / "gone").rename(events / "data")


def test_new_events_are_read_with_the_vocabulary_of_the_run(events: Path) -> None:
    assert run("simulate", events / "new", "--meds", "--patients", 50, "--seed", 9).exit_code == 0
    result = run("predict", events / "new", "--run", events / "first", "--out", events / "new.csv")
    assert result.exit_code == 0, result.output
    table = pd.read_csv(events / "new.csv")
    assert table.patient_id.nunique() == 50
    assert int(table.seen.sum()) == 0
    judged = run("evaluate", events / "new", "--run", events / "first")
    assert "50 patients the model has not seen; 0 it has are left out" in judged.output


def test_a_misspelt_choice_in_a_file_is_named(events: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('outcomes = ["EVENT"]\nend_of_follow_up = "last record"\n', encoding="utf-8")
    result = run("describe", events / "data", "--config", tmp_path / "mine.toml")
    assert result.exit_code == 1
    assert "the definition has the key 'outcomes'" in result.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train", "{events}/data", "--run", "{events}/x"], "holds events; expected --outcome and --end-of-follow-up"),
        (["describe", "{events}/data", "--outcome", "EVENT"], "has no 'end_of_follow_up'"),
        (
            ["train", "{events}/data", "--run", "{events}/x", "--outcome", "XYZ", "--end-of-follow-up", "last record"],
            "no record bears the outcome's code 'XYZ'",
        ),
        (
            ["train", "--run", "{events}/first", "--config", "{events}/first/choices.toml", "--blanking-days", "3"],
            "blanking_days = 0.0, not 3.0",
        ),
    ],
)  # fmt: skip
def test_a_mistake_with_events_gets_a_message_and_leaves_nothing(events: Path, words: list[str], said: str) -> None:
    result = run(*(word.format(events=events) for word in words))
    assert result.exit_code == 1
    assert said in result.output
    assert not (events / "x").exists()
    assert [path.name for path in events.glob(".*")] == []


def test_events_without_polars_name_what_is_missing(events: Path) -> None:
    words = ["describe", "data", "--config", "data/definition.toml"]
    command = [sys.executable, "-c", WITHOUT_POLARS, *words]
    done = subprocess.run(command, cwd=events, check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert "pip install 'visitwise[meds]'" in done.stderr
    assert "Traceback" not in done.stderr


# ----------------------------------------------------------------------------------------------- no permission to write

# The same command twice: where everybody may write, so that all is imported, then as somebody who may not write there.
AS_NOBODY = """
import json, os, sys
from click.testing import CliRunner
from visitwise import meds
from visitwise.cli import main
from visitwise.definition import CohortDefinition

def run(words):
    if words[0] == "prepare":
        try:
            meds.prepare(words[1], CohortDefinition.load(words[2]), words[3], progress=False)
        except OSError as error:
            return 1, str(error), True
        return 0, "", True
    result = CliRunner().invoke(main, words)
    return result.exit_code, result.output, result.exception is None or isinstance(result.exception, SystemExit)

for word in ("free", "locked"):
    if word == "locked" and os.geteuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    print(json.dumps(run([one.format(place=word) for one in sys.argv[1:]])))
"""


@pytest.fixture(scope="module")
def shared(folder: Path, events: Path) -> Iterator[Path]:
    """What everybody may read, beside a folder where anybody and one where nobody may write."""
    with TemporaryDirectory() as place:
        shared = Path(place)
        shared.chmod(0o755)
        if any(not parent.stat().st_mode & 0o001 for parent in shared.parents):
            pytest.skip("others may not come into the folder of temporary files")
        for name in ("cohort", "first"):
            shutil.copytree(folder / name, shared / name)
        shutil.copytree(events / "data", shared / "data")
        shutil.copytree(events / "first", shared / "events")
        (shared / "free").mkdir()
        (shared / "locked").mkdir(mode=0o555)
        yield shared
        (shared / "locked").chmod(0o755)


QUICKEST = ["--epochs", "1", "--hidden", "4", "--embedding", "4", "--no-baselines"]


@pytest.mark.parametrize(
    "words",
    [
        ["simulate", "{place}/c", "--patients", "50"],
        ["simulate", "{place}/m", "--patients", "50", "--meds"],
        ["train", "cohort", "--run", "{place}/run", *QUICKEST],
        ["train", "data", "--config", "data/definition.toml", "--run", "{place}/events", *QUICKEST],
        ["prepare", "data", "data/definition.toml", "{place}/study"],
        ["predict", "--run", "events", "--out", "{place}/p.csv"],
        ["predict", "--run", "events", "--out", "{place}/p.parquet"],
        ["export", "--run", "first", "--out", "{place}/m.safetensors"],
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_where_nobody_may_write_a_command_says_so_and_leaves_nothing(shared: Path, words: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, *words], cwd=shared, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    (freely, said, _), (refused, why, told) = map(json.loads, done.stdout.splitlines())
    assert freely == 0, said
    assert refused == 1
    assert told
    assert re.search("permission", why, re.IGNORECASE), why
    assert "locked" in why
    assert "Errno" not in why
    assert list((shared / "locked").iterdir()) == []


@pytest.mark.parametrize(
    "words", [["describe", "cohort"], ["describe", "data", "--config", "data/definition.toml"]], ids=" ".join
)
def test_describe_needs_no_place_to_write_of_its_own(shared: Path, words: list[str]) -> None:
    command = [sys.executable, "-c", AS_NOBODY, *words]
    done = subprocess.run(command, cwd=shared, check=False, capture_output=True, text=True)
    assert [json.loads(line)[0] for line in done.stdout.splitlines()] == [0, 0], done.stdout


# The command line, with Ctrl-C pressed as soon as the third epoch is kept: no clock decides when.
INTERRUPTED = """
import os, signal
from visitwise import training
from visitwise.cli import main

# A shell that starts the tests in the background has its children ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)
write = training._Run.write
def write_and_interrupt(self, *arguments):
    write(self, *arguments)
    if len(self.history.train_nll) == 3:
        os.kill(os.getpid(), signal.SIGINT)
training._Run.write = write_and_interrupt
main()
"""


def test_an_interrupted_training_exits_with_130_and_goes_on_to_the_same_weights(folder: Path) -> None:
    slow = ["--epochs", "12", "--patience", "12", "--hidden", "8", "--embedding", "8", "--batch-size", "16"]
    choices = ["train", str(folder / "cohort"), *slow, "--run"]
    command = [sys.executable, "-m", "visitwise.cli", *choices]
    interrupted = [sys.executable, "-c", INTERRUPTED, *choices, str(folder / "stopped")]
    process = subprocess.Popen(interrupted, stderr=subprocess.PIPE, text=True)
    _, said = process.communicate()
    assert process.returncode == 130
    assert "Interrupted" in said
    assert "Traceback" not in said
    assert not (folder / "stopped" / "model.json").exists()
    for name in ("stopped", "whole"):
        subprocess.run([*command, str(folder / name)], check=True, capture_output=True)
    models = [load_model(folder / name).state_dict() for name in ("stopped", "whole")]
    assert all(torch.equal(models[0][name], models[1][name]) for name in models[0])
