"""What the browser computes with trained models: torch's hazards and the simulator's, to 1e-12."""

import base64
import json
import math
import shutil
import struct
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save

from tests import figures
from tests.figures import Mutant
from tests.records import (
    Record,
    random_codes,
    random_measurements,
    random_record,
    random_records,
    records_of,
    visits_of,
)
from visitwise import functional as F
from visitwise import trained
from visitwise.model import CompetingRisksRNN, HorizonRNN, SurvivalRNN
from visitwise.simulate import SCHEMA, Effects, Simulator
from visitwise.trained.__main__ import log_odds_of_nothing
from visitwise.training import Model, fit, save_model
from visitwise.visits import Schema
from visitwise.widgets import _trained

ASKING = Path(__file__).with_name("trained_models.mjs")
PATIENTS = 500
AHEAD: dict[str, Any] = {"path": "packed", "bidirectional": True, "demonstration": True}
WORLD = Simulator(effects=Effects(0.2, 0.7, 0.3, 0.9, 1.7, -0.6, 1.2, 0.03), scale=0.6, event_rate=0.4, n_causes=2)

# Schemas of other data than the simulator's: codes of a hospital, and those of the simulator in an order of their own.
HOSPITAL = Schema.of(
    [*(f"LAB//{number}//µmol/l" for number in range(40)), "__proto__", "a code \U0001f600", "<unknown>"],
    ["age", "GENDER//F", "GENDER//F known"],
    ["weight", "HbA1c"],
)
REGISTRY = Schema.of(["flu", "<unknown>"], measurements=["temperature"])
BARE = Schema.of(["flu"], ["score"])
EXPORTED = Schema.of(
    [*sorted(SCHEMA.codes[1:], key=str.lower, reverse=True), "<unknown>"],
    ["female", "age", "female known", "age_decades_over_60"],
)
RARE = Schema.of([*SCHEMA.codes[1:9], *SCHEMA.codes[10:], "<unknown>"], SCHEMA.static)

Cases = list[list[Any]]


def text_of(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def kept() -> Iterator[tuple[str, Model, Path]]:
    """The models that come with the package."""
    for name, epochs in trained.EPOCHS.items():
        for epoch in epochs:
            yield f"{name}-{epoch}", trained.load(name, epoch), trained.file_of(name, epoch)


def others(folder: Path) -> Iterator[tuple[str, Model, Path]]:
    """Models of other kinds and sizes, with weights that only float64 holds, and a checkpoint of `fit`."""
    causes = CompetingRisksRNN
    models: dict[str, Model] = {
        "default": SurvivalRNN(SCHEMA, seed=1),
        "no times": SurvivalRNN(SCHEMA, embedding=3, hidden=5, time_features=False, seed=2),
        "gru": SurvivalRNN(SCHEMA, embedding=4, hidden=7, cell="gru", seed=3),
        "gru ahead": SurvivalRNN(SCHEMA, embedding=4, hidden=3, cell="gru", seed=4, **AHEAD),
        "one cause": causes(SCHEMA, base_rates=[0.1], embedding=2, hidden=4, cell="gru", seed=5),
        "two causes ahead": causes(SCHEMA, base_rates=[0.1, 0.3], embedding=5, hidden=1, seed=6, **AHEAD),
        "hospital": SurvivalRNN(HOSPITAL, embedding=4, hidden=5, seed=7),
        "hospital ahead": SurvivalRNN(HOSPITAL, embedding=3, hidden=2, cell="gru", seed=8, **AHEAD),
        "registry": causes(REGISTRY, base_rates=[0.1, 0.2], embedding=2, hidden=3, time_features=False, seed=9),
        "bare": SurvivalRNN(BARE, embedding=2, hidden=2, seed=10),
        "exported": SurvivalRNN(EXPORTED, embedding=3, hidden=4, seed=11),
        "rare": SurvivalRNN(RARE, embedding=3, hidden=4, seed=12),
    }
    random = np.random.default_rng(5)
    for name, model in models.items():
        model = model if name == "default" else model.double()
        with torch.no_grad():
            for weight in model.parameters():
                weight += torch.from_numpy(random.normal(0, 0.3, weight.shape))
            numbers = len(model.encoder.centre)
            model.encoder.centre.copy_(torch.tensor([0.3, 0.6, 50.0, 2.5, 70.0][:numbers]))
            model.encoder.scale.copy_(torch.tensor([1.3, 0.4, 20.0, 0.5, 15.0][:numbers]))
        path = folder / f"{name}.safetensors"
        save_model(model, path)
        yield name, model, path
    for name, schema in (
        ("taken", Schema.of(SCHEMA.codes[1:], SCHEMA.static, ["weight"])),
        ("known", Schema.of(SCHEMA.codes[1:], [*SCHEMA.static, "income"])),
        ("two rare", Schema.of([*SCHEMA.codes[1:3], *SCHEMA.codes[5:], "<unknown>"], SCHEMA.static)),
        ("no unknown", Schema.of([*SCHEMA.codes[1:3], *SCHEMA.codes[4:]], SCHEMA.static)),
    ):
        save_model(odd := SurvivalRNN(schema, embedding=2, hidden=2), folder / f"{name}.safetensors")
        yield name, odd, folder / f"{name}.safetensors"
    yield checkpoint(folder / "run")


def checkpoint(folder: Path) -> tuple[str, Model, Path]:
    """A run whose last weights are not its best."""
    train, validation = (WORLD.draw(n, seed=seed).cohort for n, seed in ((20, 1), (100, 2)))
    model = SurvivalRNN.for_cohort(train, embedding=4, hidden=5)
    history = fit(
        model,
        train,
        validation,
        epochs=20,
        batch_size=5,
        learning_rate=0.05,
        patience=20,
        checkpoint=folder,
        progress=False,
    )
    assert history.best_epoch < len(history.train_nll) - 1
    (path,) = folder.glob("checkpoint-*.safetensors")
    return "checkpoint", model, path


def answers(model: Model, records: Sequence[Record]) -> list[dict[str, Any]]:
    """What torch says in float64."""
    model, visits = model.double(), visits_of(records, model.schema)
    with torch.no_grad():
        logits = model(visits)
    prediction: Any = model.predict(visits)
    several = isinstance(model, CompetingRisksRNN)
    hazard = prediction.cause_hazard if several else prediction.hazard[..., None]
    logits = logits if several else logits[..., None]
    assert hazard.dtype == logits.dtype == torch.float64
    ends = visits.length.tolist()
    return [{"logits": logits[i, :end].tolist(), "hazard": hazard[i, :end].tolist()} for i, end in enumerate(ends)]


def run_cases(models: dict[str, Model], random: np.random.Generator) -> Cases:
    names = list(models)
    cases: Cases = []
    for name in names:
        mine = random_records(random, math.ceil(PATIENTS / len(names)), schema=models[name].schema)
        states = [{"ask": "run", "model": name, "patient": record} for record in mine]
        cases += map(list, zip(states, answers(models[name], mine), strict=True))
    return cases


def truth_cases(random: np.random.Generator) -> Cases:
    """The oracle's hazards for random records, and for those drawn by each world, as they came with the draw."""
    worlds = {name: trained.world(name) for name in trained.EPOCHS} | {"other": WORLD}
    cases: Cases = []
    for name, world in worlds.items():
        some, drawn = random_records(random, PATIENTS // 2), world.draw(PATIENTS, seed=31)
        lives = records_of(drawn.cohort.visits)
        hazard = torch.cat([world.cause_hazard(visits_of(some)), drawn.cause_hazard])
        ends = np.cumsum([0] + [len(record["day"]) for record in (*some, *lives)])
        for record, begin, end in zip((*some, *lives), ends, ends[1:], strict=False):
            state = {"ask": "truth", "world": name, "patient": record}
            cases.append([state, {"hazard": hazard[begin:end].tolist()}])
    return cases


def edited(record: Record, random: np.random.Generator, schema: Schema = SCHEMA) -> tuple[Record, int]:
    """A record with one change, and the first visit that it touches."""
    codes, day = list(record["codes"]), list(record["day"])
    taken = list(record.get("measurements", []))
    visit = int(random.integers(len(day)))
    change = random.choice(["codes", "day", "insert", "delete", "append", "static", *["measurements"] * bool(taken)])
    if change == "codes":
        codes[visit] = random_codes(random, schema)
    elif change == "measurements":
        taken[visit] = random_measurements(random, schema)
    elif change == "day":
        day[visit:] = [when + 3.5 for when in day[visit:]]
    elif change == "insert" and visit and day[visit] - day[visit - 1] > 1:
        codes.insert(visit, random_codes(random, schema))
        day.insert(visit, (day[visit] + day[visit - 1]) / 2)
        taken[visit:visit] = [random_measurements(random, schema)] * bool(taken)
    elif change == "delete" and len(day) > 1:
        del codes[visit], day[visit], taken[visit : visit + 1]
    elif change == "append":
        visit = len(day)
        codes.append(random_codes(random, schema))
        day.append(day[-1] + 12)
        taken += [random_measurements(random, schema)] * bool(taken)
    else:
        other = random_record(random, 1, schema)["static"]
        return {**record, "static": other}, 0
    return {**record, "codes": codes, "day": day} | ({"measurements": taken} if taken else {}), visit


def again_cases(models: dict[str, Model], random: np.random.Generator) -> Cases:
    cases: Cases = []
    for name, model in models.items():
        for _ in range(4):
            record = random_record(random, int(random.integers(1, 30)), model.schema)
            edits: list[dict[str, Any]] = [{"patient": record}]
            expected = []
            for _ in range(12):
                before = edits[-1]["patient"]
                patient, first = edited(before, random, model.schema)
                edits.append({"patient": patient, "first": first})
                kept = min(first, len(before["day"]), len(patient["day"]))
                expected.append({"same": True, "kept": 0 if model.settings["bidirectional"] else kept})
            cases.append([{"ask": "again", "model": name, "edits": edits}, {"edits": expected}])
    return cases


def own_cases(models: dict[str, Model], random: np.random.Generator) -> Cases:
    """What the figure of a model of other codes shows, while one record is changed step after step."""
    cases: Cases = []
    for name in ("hospital", "hospital ahead", "registry", "bare"):
        model = models[name].double()
        for turn in range(36):
            begins = turn % 12 == 0
            longest = 2 if name == "bare" else 30
            record = (
                random_record(random, int(random.integers(1, longest)), model.schema)
                if begins
                else edited(record, random, model.schema)[0]
            )
            state = {
                "codes": record["codes"],
                "day": record["day"],
                "static": record["static"],
                "measured": record.get("measurements", [[] for _ in record["day"]]),
                "observed": bool(random.integers(2)),
                "visit": int(random.integers(len(record["day"]))),
            }
            cases.append([{"ask": "own", "model": name, "state": state}, shown(model, record, state)])
    return cases


@torch.no_grad()
def shown(model: Model, record: Record, state: dict[str, Any]) -> dict[str, Any]:
    """The numbers of the figure by torch."""
    n_visits, chosen = len(record["day"]), state["visit"]

    def up_to(k: int, codes: list[int]) -> Record:
        cut = {**record, "codes": [*record["codes"][:k], codes], "day": record["day"][: k + 1]}
        return cut | ({"measurements": record["measurements"][: k + 1]} if "measurements" in record else {})

    def logits_of(one: Record) -> torch.Tensor:
        logits = model(visits_of([one], model.schema))
        return logits if isinstance(model, CompetingRisksRNN) else logits[..., None]

    def left_out(code: int) -> Record:
        codes = [[one for one in here if (one, k) != (code, chosen)] for k, here in enumerate(record["codes"])]
        return {**record, "codes": codes}

    def nll(of: torch.Tensor) -> torch.Tensor:
        stop, cause = torch.tensor([n_visits]), torch.tensor([int(state["observed"])])
        if of.shape[-1] == 1:
            return F.hazard_nll(of[..., 0], stop, cause > 0)
        return F.competing_risks_nll(of, stop, cause)

    logits = logits_of(record)
    hazard = F.cause_hazard(logits)[0]
    then = torch.stack([F.cause_hazard(logits_of(up_to(k, record["codes"][k])))[0, k].sum() for k in range(n_visits)])
    moved = (hazard.sum(-1) - then).abs()
    ahead = bool(model.settings["bidirectional"])
    with torch.enable_grad():
        push = torch.autograd.functional.jacobian(nll, logits)[0, :, 0]
    without = [
        [code, F.cause_hazard(logits_of(left_out(code)))[0, chosen].sum().item()] for code in record["codes"][chosen]
    ]
    return {
        "hazard": hazard.sum(-1).tolist(),
        "cause_hazard": hazard.tolist(),
        "survival": F.survival(F.all_cause_logits(logits))[0].tolist(),
        "incidence": F.cumulative_incidence(logits)[0].tolist(),
        "nll": nll(logits).item(),
        "push": push.tolist(),
        "without": without,
        "known_then": then.tolist(),
        "most_moved": moved.max().item() if ahead else 0,
        "moved_visit": int(moved.argmax()) if ahead else 0,
    }


def among_cases(models: dict[str, Model], random: np.random.Generator) -> Cases:
    """Simulated patients read by a model with their codes in an order of its own, and by models that cannot."""
    cases: Cases = []
    for turn in range(40):
        name = ("exported", "rare")[turn % 2]
        model = models[name].double()
        schema = model.schema
        record = random_record(random, int(random.integers(1, 30)))
        age, female = int(random.integers(35, 86)), bool(random.integers(2))
        known = {"female": float(female), "age": age, "female known": 1.0, "age_decades_over_60": (age - 60) / 10}
        last = len(schema.codes) - 1
        places = {one: schema.codes.index(one) if one in schema.codes else last for one in SCHEMA.codes}
        same = {
            "codes": [[places[SCHEMA.codes[code]] for code in codes] for codes in record["codes"]],
            "day": record["day"],
            "static": [known[feature] for feature in schema.static],
        }
        hazard = answers(model, [same])[0]["hazard"]
        state = {"ask": "among", "model": name, "patient": record, "age": age, "female": female}
        cases.append([state, {"hazard": hazard}])
    refused = {
        "hospital": f"it does not know {SCHEMA.codes[1]}",
        "two rare": f"it does not know {SCHEMA.codes[3]}",
        "no unknown": f"it does not know {SCHEMA.codes[3]}",
        "taken": "it reads the measurement weight",
        "known": "it reads income from the start",
    }
    nobody = {"ask": "among", "patient": random_record(random, 1), "age": 50, "female": True}
    cases += [[nobody | {"model": name}, {"why": why}] for name, why in refused.items()]
    return cases


NAMES = ["<padding>", "ICD10CM//E11.9 type 2 diabetes", "LAB//HbA1c", "ICD10CM//E10.9 type 1 diabetes", "<unknown>"]
NAMES += [f"drug {number}" for number in range(20)]
MATCHING: Cases = [
    [{"ask": "matching", "names": NAMES, "sought": sought}, {"first": first[:8], "many": len(first)}]
    for sought, first in {
        "": [],
        "   ": [],
        "diabetes": [1, 3],
        " 1 DIABETES": [1, 3],
        "type 2 e11": [1],
        "hba1c": [2],
        "padding": [],
        "<": [4],
        "(": [],
        "drug": list(range(5, 25)),
    }.items()
]


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The modules, and beside them the one that asks them."""
    return copied(tmp_path_factory.mktemp("modules"))


def copied(folder: Path) -> Path:
    for path in (*figures.WIDGETS.glob("*.js"), ASKING):
        shutil.copy(path, folder)
    (folder / "package.json").write_text('{"type": "module"}', encoding="utf-8")
    return folder


def ask(folder: Path, fixture: Path) -> list[str]:
    (found,) = figures.compare([{"module": str(folder / ASKING.name), "fixture": str(fixture)}])
    return found


@pytest.fixture(scope="module")
def fixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the package says of 500 patients by each model and of as many by the simulators, and of edited records."""
    folder = tmp_path_factory.mktemp("models")
    listed = [*kept(), *others(folder)]
    models, random = {name: model for name, model, _ in listed}, np.random.default_rng(6)
    other = _trained.world_of("causal") | {
        "effects": asdict(WORLD.effects), "scale": WORLD.scale, "intercepts": log_odds_of_nothing(WORLD)
    }  # fmt: skip
    bad_files, refused = refusals(folder)
    given = {
        "codes": list(SCHEMA.codes),
        "files": {name: text_of(path) for name, _, path in listed} | bad_files,
        "worlds": {name: _trained.world_of(name) for name in trained.EPOCHS} | {"other": other},
    }
    cases = [*run_cases(models, random), *truth_cases(random), *again_cases(models, random), *refused]
    cases += [*own_cases(models, random), *among_cases(models, random), *MATCHING]
    path = folder / "fixture.json"
    path.write_text(json.dumps({"given": given, "cases": cases}, allow_nan=False), encoding="utf-8")
    return path


def test_hazards_are_torchs_and_the_simulators_to_twelve_digits_and_bad_files_are_refused(
    modules: Path, fixture: Path
) -> None:
    assert ask(modules, fixture) == []


WRONG_NUMBERS = [
    Mutant("gates in the order i, f, o, g", "const [i, f, g, o] = gates", "const [i, f, o, g] = gates", "lstm"),
    Mutant("a bias dropped", " + stateBias[k]", "", "lstm"),
    Mutant("no tanh on the way out", "o[k] * Math.tanh(c)", "o[k] * c", "lstm"),
    Mutant("the sum of the codes for their mean", "embedding[code][j] / codes.length", "embedding[code][j]"),
    Mutant("codes counted with the padding", "embedding[code][j] / codes.length", "embedding[code][j] / 6"),
    Mutant("each code one place too early", "embedding[code][j] /", "embedding[code - 1][j] /"),
    Mutant("the gap in weeks", "gap / 30", "gap / 7"),
    Mutant("years of 365 days", "/ 365.25", "/ 365"),
    Mutant("days since the visit before for days since the first", "(day[k] - day[0]) /", "gap /"),
    Mutant("the day for days since the first", "(day[k] - day[0]) /", "day[k] /"),
    Mutant("days since the first for the gap", "day[k] - day[k - 1]", "day[k] - day[0]"),
    Mutant("the gap to the next visit", "k ? day[k] - day[k - 1] : 0", "day[k + 1] ? day[k + 1] - day[k] : 0"),
    Mutant("visits counted from 1", "365.25, k]", "365.25, k + 1]"),
    Mutant(
        "the number of codes without a logarithm",
        "[codes.length, ...times].map(Math.log1p)",
        "[codes.length, ...times.map(Math.log1p)]",
    ),
    Mutant("log for log1p", "map(Math.log1p)", "map((one) => Math.log(one + 1e-9))"),
    Mutant("times although the model has none", "model.timeFeatures ?", "model ?"),
    Mutant("static features as they are", "(value - centre[j]) / scale[j]", "value"),
    Mutant("static features by the scale of measurements", "last.length + j", "j"),
    Mutant("measurements of this visit alone", "taken.find((row) => row[j] !== null)?.[j]", "taken[0][j]"),
    Mutant("the first measurement for the last", "slice(0, k + 1).reverse()", "slice(0, k + 1)"),
    Mutant("measurements of later visits", "measurements?.slice(0, k + 1)", "measurements?.slice(0, k + 2)"),
    Mutant("a measurement never taken as 0", "value === null ? 0 : scaled(value, j)", "scaled(value ?? 0, j)"),
    Mutant("which measurements are known left out", "Number(value !== null)", "1"),
    Mutant("flags before the measurements", "...measured, ...known,", "...known, ...measured,"),
    Mutant(
        "static features before the measurements", "...measured, ...known, ...fixed", "...fixed, ...measured, ...known"
    ),
    Mutant(
        "codes in the model's own order",
        "names.map((name) => embedding[",
        "names.map((name, k) => embedding[k] ?? embedding[",
        "own_model",
    ),
    Mutant("age for decades over 60", "(age - 60) / 10]", "age]", "own_model"),
    Mutant("what is known said to be unknown", "() => 1]", "() => 0]", "own_model"),
    Mutant("a missing code overlooked", "missing.length > Number(place.has(UNKNOWN))", "missing === null", "own_model"),
    Mutant("two rare codes for one", "Number(place.has(UNKNOWN))", "2 * Number(place.has(UNKNOWN))", "own_model"),
    Mutant("a rare code without one for it", "Number(place.has(UNKNOWN))", "1", "own_model"),
    Mutant("a measurement overlooked", "if (schema.measurements.length) return", "if (!schema) return", "own_model"),
    Mutant("another static feature overlooked", "other !== undefined", "other === null", "own_model"),
    Mutant(
        "changed measurements not read again",
        "`${last.patient.measurements?.[k]}` === `${patient.measurements?.[k]}`",
        "true",
        "playground",
    ),
    Mutant(
        "measurements in double precision", "value && Math.fround(value)", "value && value * (1 + 1e-9)", "own_model"
    ),
    Mutant(
        "static features in double precision",
        "state.static.map(Math.fround)",
        "state.static.map((one) => one * (1 + 1e-9))",
        "own_model",
    ),
    Mutant("the padding found", "filter((code) => code &&", "filter((code) =>", "own_model"),
    Mutant("any of the words", "words.every((one)", "words.some((one)", "own_model"),
    Mutant("words as they are written", "sought.toLowerCase()", "sought", "own_model"),
    Mutant("scaled before it is centred", "(value - centre[j]) / scale[j]", "value / scale[j] - centre[j]"),
    Mutant(
        "reset and update gate swapped",
        "return { state: state.map((old, k) => (1 - z[k]) * n[k] + z[k] * old)",
        "return { state: state.map((old, k) => (1 - r[k]) * n[k] + r[k] * old)",
    ),
    Mutant(
        "the old state let in where the new should be",
        "(1 - z[k]) * n[k] + z[k] * old",
        "z[k] * n[k] + (1 - z[k]) * old",
    ),
    Mutant(
        "the reset gate on the state before its weights",
        "+ r[k] * fromState[2 * size + k]",
        "+ fromState[2 * size + k]",
    ),
    Mutant("an LSTM for a GRU", 'cell === "gru" ? gruStep : lstmStep', "lstmStep"),
    Mutant("backwards, left in that order", "vectors.reverse()).reverse()", "vectors.reverse())"),
    Mutant(
        "forwards twice", "recur(model, backwards, vectors.reverse()).reverse()", "recur(model, backwards, vectors)"
    ),
    Mutant("the forward weights backwards, too", "recur(model, backwards,", "recur(model, forwards,"),
    Mutant("backward states first", "[...one.state, ...ahead[k].state]", "[...ahead[k].state, ...one.state]"),
    Mutant("the cell for the state", "states.map(({ state }) => weight", "states.map(({ cell: state }) => weight"),
    Mutant("the head's bias dropped", "dot(row, state) + bias[j]", "dot(row, state)"),
    Mutant("a sigmoid for each cause", "logits.map(causeHazard)", "logits.map((one) => one.map(sigmoid))"),
    Mutant("causes without nothing", "Math.exp(-top) + sum(odds)", "sum(odds)", "functional"),
    Mutant(
        "rows for columns",
        "values.subarray(k * size, (k + 1) * size)",
        "Float64Array.from({ length: size }, (_, j) => values[j * n + k])",
    ),
    Mutant("the weights as they are now for the best", 'name.startsWith("best.")', 'name.startsWith("model.")'),
    Mutant("the memory of the visit that changed", "old.states[kept - 1]", "old.states[kept]"),
    Mutant("nothing remembered at the visit that changed", "vectors, old.states[kept - 1])", "vectors)"),
    Mutant("one visit too many kept", "Math.min(first, old", "Math.min(first + 1, old"),
    Mutant("one visit too few kept", "Math.min(first, old", "Math.min(first - 1, old"),
    Mutant("what a model that reads ahead said kept", "backwards ? 0 : Math.min", "Math.min"),
    Mutant("nothing kept", "backwards ? 0 : Math.min", "before ? 0 : Math.min"),
    Mutant(
        "as many visits as before",
        "[...old.hazard.slice(0, kept), ...hazard]",
        "[...old.hazard.slice(0, kept), ...hazard, ...old.hazard.slice(kept + hazard.length)]",
    ),
    Mutant(
        "another number of days until acute codes fade", "-gap / decay_days", "-gap / (decay_days + 30)", "teaching"
    ),
    Mutant("today's acute codes as earlier ones", "decay,\n", "decay: decay + acuteNow,\n", "teaching"),
    Mutant("earlier acute codes forgotten", "earlierAcute = decay + acuteNow", "earlierAcute = acuteNow", "teaching"),
    Mutant("acute codes that do not fade", "earlierAcute = decay + acuteNow", "earlierAcute += acuteNow", "teaching"),
    Mutant(
        "acute codes once for all",
        "acute.filter(now).length",
        "Number(acute.some(now))",
        "teaching",
    ),
    Mutant(
        "order in the same visit",
        "(onRecord.has(code.diabetes) ||",
        "(now(code.diabetes) || onRecord.has(code.diabetes) ||",
        "teaching",
    ),
    Mutant("order without kidney disease", " || onRecord.has(code.kidney_disease)", "", "teaching"),
    Mutant("order only while the injury is told", "inOrder ||= now", "inOrder = now", "teaching"),
    Mutant(
        "the order the other way round",
        "inOrder ||= now(code.kidney_injury) && (onRecord.has(code.diabetes) || onRecord.has(code.kidney_disease))",
        "inOrder ||= onRecord.has(code.kidney_injury) && (now(code.diabetes) || now(code.kidney_disease))",
        "teaching",
    ),
    Mutant("cancer told again begins again", " && !onRecord.has(code.lung_cancer)", "", "teaching"),
    Mutant(
        "cancer that fades by days", "Math.exp(-1 / fading_visits)", "Math.exp(-gap / 60 / fading_visits)", "teaching"
    ),
    Mutant("cancer that fades at once", "firstTold ? 1 :", "firstTold ? Math.exp(-1 / fading_visits) :", "teaching"),
    Mutant(
        "furosemide at this visit alone",
        "now(code.furosemide) || before(code.furosemide)",
        "now(code.furosemide)",
        "teaching",
    ),
    Mutant("furosemide ever", "before(code.furosemide)", "onRecord.has(code.furosemide)", "teaching"),
    Mutant(
        "furosemide without heart failure", "furosemide && onRecord.has(code.heart_failure)", "furosemide", "teaching"
    ),
    Mutant(
        "chronic conditions of this visit alone",
        "burden += today.filter((one) => !onRecord.has(one) && chronic",
        "burden = today.filter((one) => chronic",
        "teaching",
    ),
    Mutant("visits counted from 1 by the truth", "trend: k,", "trend: k + 1,", "teaching"),
    Mutant("a statin at this visit alone", "Number(onRecord.has(code.statin))", "Number(now(code.statin))", "teaching"),
    Mutant("effects without their scale", "scale * first", "first", "teaching"),
    Mutant("the second cause scaled, too", "const other = second", "const other = scale * second", "teaching"),
    Mutant("the statin forgotten", " + second.statin * reads.statin", "", "teaching"),
]
WRONGLY_READ = [
    Mutant("a header of any length", "claimed <= left", "true", "safetensors"),
    Mutant("a file of no length", "bytes >= 8", "true", "safetensors"),
    Mutant("text that is no UTF-8", "fatal: true", "fatal: false", "safetensors"),
    Mutant(
        "any metadata", 'Object.values(metadata).every((value) => typeof value === "string")', "true", "safetensors"
    ),
    Mutant("any kind of number", "Object.hasOwn(KINDS, dtype)", "dtype in KINDS", "safetensors"),
    Mutant("any shape", "expect(areCounts(shape),", "expect(true,", "safetensors"),
    Mutant(
        "any offsets",
        "areCounts(data_offsets) && data_offsets.length === 2",
        "Array.isArray(data_offsets)",
        "safetensors",
    ),
    Mutant("three offsets", " && data_offsets.length === 2", "", "safetensors"),
    Mutant("any number of bytes", "end - begin === bytes", "true", "safetensors"),
    Mutant("overlapping tensors and holes", "begin === next", "true", "safetensors"),
    Mutant("overlapping tensors", "begin === next", "begin >= next", "safetensors"),
    Mutant("holes", "begin === next", "begin <= next", "safetensors"),
    Mutant("numbers that end elsewhere", "next === left - size", "true", "safetensors"),
    Mutant("numbers after the last tensor", "next === left - size", "next <= left - size", "safetensors"),
    Mutant("a tensor of any name", "Object.hasOwn(shapes, name)", "shapes[name]"),
    Mutant("a tensor of any shape", "shape.every((n, k) => n === shapes[name][k])", "true"),
    Mutant("a shape begun right", "shape.length === shapes[name].length && ", ""),
    Mutant("NaN and infinity", "expect(learned,", "expect(true,"),
    Mutant("infinity", "Math.abs(value) < LARGEST", "value === value"),
    Mutant("a missing tensor", "!missing,", "true,"),
    Mutant("division by 0", "expect(positive,", "expect(true,"),
    Mutant("any kind of model", "known.includes(kind)", "true"),
    Mutant("any setting", "fits(settings[name])", "true"),
    Mutant("any number of causes", "rates.length === 1 || rates.length === 2", "true"),
    Mutant("names that are no list", "Array.isArray(names)", "true"),
    Mutant("any number of names", "names.length <= most", "true"),
    Mutant("more codes than there may be", "codes: 20001", "codes: 20002"),
    Mutant("names that are no words", "odd < 0", "true"),
    Mutant("names of spaces", "!name.trim()", "!name"),
    Mutant("a name twice", "twice === undefined", "true"),
    Mutant("codes without their padding", 'first === "<padding>"', "true"),
    Mutant("no description", 'Object.hasOwn(metadata, "visitwise")', "true"),
]


@pytest.mark.parametrize(
    ("mutants", "part"),
    [
        (WRONG_NUMBERS, {"run": 4, "truth": 20, "again": 3, "own": 2, "among": 1, "matching": 1}),
        (WRONGLY_READ, {"refused": 1}),
    ],
    ids=["numbers", "reading"],
)
def test_every_planted_mistake_is_noticed(
    mutants: list[Mutant], part: dict[str, int], fixture: Path, tmp_path: Path
) -> None:
    """In a part of the cases: of `run`, for example, every fourth."""
    told = json.loads(fixture.read_text(encoding="utf-8"))
    few = [case for k, case in enumerate(told["cases"]) if (ask := case[0]["ask"]) in part and k % part[ask] == 0]
    names = {state.get("model", state.get("file")) for state, _ in few}
    files = {name: text for name, text in told["given"]["files"].items() if name in names}
    (short := tmp_path / "few.json").write_text(
        json.dumps({"given": told["given"] | {"files": files}, "cases": few}), encoding="utf-8"
    )
    jobs = []
    for number, mutant in enumerate(mutants):
        (folder := tmp_path / str(number)).mkdir()
        mutant.plant(copied(folder), "survival_rnn")
        jobs.append({"module": str(folder / ASKING.name), "fixture": str(short)})
    found = dict(zip((mutant.mistake for mutant in mutants), figures.compare(jobs), strict=True))
    assert len(found) == len(mutants)
    assert [mistake for mistake, places in found.items() if not places or "cannot be loaded" in str(places)] == []


# ------------------------------------------------------------------------------------------------ files to be refused

Header = dict[str, Any]


def taken_apart(file: bytes) -> tuple[Header, bytes]:
    size = struct.unpack("<Q", file[:8])[0]
    return json.loads(file[8 : 8 + size]), file[8 + size :]


def put_together(header: Header | bytes, numbers: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + numbers


def tensor(shape: Any = (1,), offsets: Any = (0, 4), dtype: Any = "F32") -> Header:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def one(numbers: int = 1, **claims: Any) -> bytes:
    """A file with one tensor `a`."""
    return put_together({"a": tensor(**claims)}, bytes(4 * numbers))


def files_that_are_none() -> Iterator[tuple[bytes, str]]:
    """Refused before a number is read."""
    good = trained.file_of().read_bytes()
    _, numbers = taken_apart(good)
    yield b"", "the file has 0 bytes; expected a safetensors file"
    yield good[:7], "the file has 7 bytes"
    yield good[:50], "this is no safetensors file, or one cut short: it has 42 bytes for a header of"
    yield good[:-4], f"has {len(numbers) - 4} bytes of numbers; expected {len(numbers)}"
    yield good + bytes(4), f"has {len(numbers) + 4} bytes of numbers; expected {len(numbers)}"
    yield b"\xff" * 8 + good[8:], "for a header of 18446744073709551615"
    yield struct.pack("<Q", len(good) - 7) + good[8:], f"for a header of {len(good) - 7}"
    yield b"PK\x03\x04" + good, "for a header of"  # a pickle of torch is a zip archive
    yield b"\x89PNG\r\n\x1a\n" + bytes(64), "this is no safetensors file"
    yield b"hello, there\n" * 2, "this is no safetensors file"
    for text in (b"", b"{", b"[]", b"null", b"7", b'{"a": "\xff"}', b"[" * 100_000):
        yield put_together(text), "header is not an object in JSON"
    for metadata in ([], None, 3, {"visitwise": 3}, {"visitwise": {}}, "text"):
        yield put_together({"__metadata__": metadata}), "__metadata__ holds something other than text"
    for claim in (None, 3, "F32", [], {}):
        yield put_together({"a": claim}, bytes(4)), "the tensor a holds undefined; expected F32 or F64"
    for dtype in ("F16", "BF16", "I64", "U8", "BOOL", "f32", "__proto__", "constructor"):
        yield one(dtype=dtype), f"the tensor a holds {dtype}; expected F32 or F64"
    for shape in (None, 1, "1", {}, [-1], [0.5], ["1"], [None], [[1]], [1e300], [2**53]):
        yield one(shape=shape), "the tensor a has the shape"
    yield put_together(b'{"a": {"dtype": "F32", "shape": ' + b"[" * 5000 + b"]" * 5000 + b"}}"), 'has the shape ["..."]'
    for offsets in (None, 4, "04", [], [0], [0, 2, 4], [0, 4.5], [-4, 0], ["0", "4"], [0, None], [0, 2**53]):
        yield one(offsets=offsets), "the tensor a lies at"
    yield one(offsets=[4, 0]), "the tensor a has -4 bytes; expected 4"
    yield one(shape=[2]), "has 4 bytes; expected 8 for F32 of the shape [2]"
    yield one(dtype="F64"), "has 4 bytes; expected 8 for F64"
    yield one(shape=[]), "does not say which model"  # a single number, which is fine; the file is not
    yield one(shape=[0], offsets=[0, 0]), "has 4 bytes of numbers; expected 0"
    yield one(shape=[2**52, 2**52]), "has 4 bytes; expected"
    yield one(shape=[25_000_000], offsets=[0, 100_000_000]), "has 4 bytes of numbers; expected 100000000"
    yield one(offsets=[4, 8]), "begins at byte 4; expected 0"
    yield one(2, offsets=[4, 8]), "begins at byte 4; expected 0"
    yield put_together({"a": tensor(), "b": tensor()}, bytes(4)), "begins at byte 0; expected 4"
    overlapping = {"a": tensor([2], [0, 8]), "b": tensor([2], [4, 12])}
    yield put_together(overlapping, bytes(12)), "the tensor b begins at byte 4; expected 8"
    yield put_together({"a": tensor(), "b": tensor(offsets=[8, 12])}, bytes(12)), "begins at byte 8; expected 4"
    yield put_together({"a" * 1000: tensor(dtype="F16")}), "the tensor aaaaa"


def other_files(folder: Path) -> Iterator[tuple[bytes, str]]:
    """Files in order, of something else."""
    header, numbers = taken_apart(trained.file_of().read_bytes())
    described = json.loads(header["__metadata__"]["visitwise"])

    def saying(text: Any) -> bytes:
        words = text if isinstance(text, str) else json.dumps(text)
        return put_together(header | {"__metadata__": {"visitwise": words}}, numbers)

    def with_settings(**changed: Any) -> bytes:
        return saying(described | {"settings": described["settings"] | changed})

    def with_schema(**changed: Any) -> bytes:
        return saying(described | {"schema": described["schema"] | changed})

    bare = {name: claim for name, claim in header.items() if name != "__metadata__"}
    yield put_together(bare, numbers), "does not say which model it holds"
    yield put_together(bare | {"__metadata__": {"format": "pt"}}, numbers), "does not say which model it holds"
    for text in ("", "{", "[]", "3", "null", {}, described | {"settings": []}, described | {"schema": None}):
        yield saying(text), "what the file says of its model cannot be read"
    for kind in ("LSTM", "constructor", "__proto__", None, ["SurvivalRNN"]):
        yield saying(described | {"kind": kind}), "the file holds a model of the kind"
    save_model(HorizonRNN(SCHEMA, embedding=2, hidden=2), folder / "horizon.safetensors")
    horizon = "the kind HorizonRNN; expected SurvivalRNN or CompetingRisksRNN"
    yield (folder / "horizon.safetensors").read_bytes(), horizon
    for size in (0, -6, 6.5, "6", None, True, 1e300):
        yield with_settings(embedding=size), "the model's embedding is"
        yield with_settings(hidden=size), "the model's hidden is"
    for cell in ("rnn", "LSTM", None, ["lstm"], "constructor"):
        yield with_settings(cell=cell), "the model's cell is"
    for switch in ("yes", 1, None):
        yield with_settings(bidirectional=switch), "the model's bidirectional is"
        yield with_settings(time_features=switch), "the model's time_features is"
    for rates in (None, [], [0.1, 0.1, 0.1], "ab", {"length": 2}, 2):
        competing = described | {"kind": "CompetingRisksRNN", "settings": described["settings"] | {"base_rates": rates}}
        yield saying(competing), "the model's base_rates are"

    for wrong, words in ((None, "null"), ("x", "x"), ({}, "{}"), (7, "7")):
        for part in ("codes", "static", "measurements"):
            yield with_schema(**{part: wrong}), f"the model's {part} are {words}; expected a list of names"
    codes = list(SCHEMA.codes)
    for odd, words in ((3, "3"), (None, "null"), ("", ""), (" ", " "), (["a"], '["a"]')):
        yield with_schema(codes=[*codes, odd]), f"the model has {words} among its codes; expected names"
        yield with_schema(static=[odd]), f"the model has {words} among its static; expected names"
    yield with_schema(codes=[*codes, codes[3]]), f"has {codes[3]} twice among its codes"
    yield with_schema(static=["female", "female"]), "has female twice among its static"
    yield with_schema(codes=codes[1:]), f"the model's codes begin with {codes[1]}; expected <padding>"
    yield with_schema(codes=[]), "the model's codes begin with undefined; expected <padding>"
    many = [f"code {number}" for number in range(20_001)]
    yield with_schema(codes=["<padding>", *many]), "the model has 20002 codes; expected at most 20001"
    yield with_schema(measurements=many[:501]), "the model has 501 measurements; expected at most 500"
    yield with_schema(static=many[:501]), "the model has 501 static; expected at most 500"
    # Names in order, of which there are not as many as there are weights.
    yield with_schema(codes=[*codes, "ICD10CM//Z99"]), "weight has the shape [30,6]; expected [31,6]"
    yield with_schema(codes=codes[:-1]), "weight has the shape [30,6]; expected [29,6]"
    yield with_schema(static=["__proto__"]), "has the shape [2]; expected [1]"
    yield with_schema(measurements=["weight"]), "has the shape [2]; expected [3]"


def other_weights() -> Iterator[tuple[bytes, str]]:
    """Descriptions in order, beside weights that are not such a model's."""
    header, _ = taken_apart(trained.file_of().read_bytes())
    metadata = header["__metadata__"]
    weights = {name: value.numpy() for name, value in trained.load().state_dict().items()}

    def having(**changed: Any) -> bytes:
        return save({name.replace("__", "."): value for name, value in (weights | changed).items()}, metadata)

    def holding(name: str, value: float) -> bytes:
        spoilt = weights[name].copy()
        spoilt.flat[-1] = value
        return save(weights | {name: spoilt}, metadata)

    for name in weights:
        rest = {other: value for other, value in weights.items() if other != name}
        yield save(rest, metadata), f"the file has no tensor {name}; expected {len(weights)} tensors"
    for name in ("extra", "__proto__", "constructor", "toString", "model.head.bias", "recurrence.weight_ih_l1"):
        file = save(weights | {name: weights["head.bias"]}, metadata)
        yield file, f"the file has a tensor {name}; such a model has none of that name"
    weight = weights["recurrence.weight_ih_l0"]
    for other in (weight.T.copy(), weight.reshape(-1), weight[None], weight[:-1].copy(), weight[:, 0].copy()):
        file = save(weights | {"recurrence.weight_ih_l0": other}, metadata)
        yield file, f"weight_ih_l0 has the shape {json.dumps(other.shape, separators=(',', ':'))}; expected [48,12]"
    for spoilt in (np.nan, np.inf, -np.inf, 1e30, -3e38):
        for name in ("recurrence.weight_hh_l0", "encoder.embedding.weight", "head.bias", "encoder.centre"):
            yield holding(name, spoilt), f"the tensor {name} holds NaN, or a number of 1e+30 or more"
    for scale in (0.0, -1.0, 1e-31):
        yield holding("encoder.scale", scale), "the tensor encoder.scale holds ["
    best = {f"best.{name}": value for name, value in weights.items()}
    del best["best.head.bias"]
    yield save(best | {"head.bias": weights["head.bias"]}, metadata), "the file has no tensor head.bias"
    ahead = trained.file_of("bidirectional").read_bytes()
    causal = json.loads(metadata["visitwise"])
    mixed, numbers = taken_apart(ahead)
    yield put_together(mixed | {"__metadata__": metadata}, numbers), "head.weight has the shape [1,24]; expected [1,12]"
    larger = json.dumps(causal | {"settings": causal["settings"] | {"hidden": 13}})
    yield save(weights, {"visitwise": larger}), "expected [1,13] for these settings"
    timeless = json.dumps(causal | {"settings": causal["settings"] | {"time_features": False}})
    yield save(weights, {"visitwise": timeless}), "expected [48,9] for these settings"


def refusals(folder: Path) -> tuple[dict[str, str], Cases]:
    """Files by a number, and what must be said of each."""
    files: dict[str, str] = {}
    cases: Cases = []
    for took_numbers, rows in ((False, files_that_are_none()), (True, other_files(folder)), (True, other_weights())):
        for file, says in rows:
            name = f"bad {len(files)}"
            files[name] = base64.b64encode(file).decode()
            took = took_numbers or says.startswith("does not say")
            state = {"ask": "refused", "file": name, "says": says}
            cases.append([state, {"refused": {"says": says, "took_numbers": took}}])
    return files, cases
