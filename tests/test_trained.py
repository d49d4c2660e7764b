"""The models that come with the package: they are what `train` makes, and near the truth they were drawn from."""

import gzip
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor

from visitwise import trained
from visitwise.baselines import LifeTableHazard
from visitwise.losses import outcome_nll
from visitwise.metrics import share_explained
from visitwise.model import CompetingRisksRNN, SurvivalRNN
from visitwise.simulate import SCHEMA, TEACHING, Simulation
from visitwise.trained import EPOCHS, FOLDER, Name, __main__, curve, file_of, intercepts, load, train, world
from visitwise.training import LOSSES, Model, evaluate_nll, load_model
from visitwise.widgets import _trained

KEPT = [(name, epoch) for name, epochs in EPOCHS.items() for epoch in epochs]
every_kept = pytest.mark.parametrize(("name", "epoch"), KEPT)


@cache
def judges(name: Name) -> Simulation:
    """Patients whom nobody was trained on or stopped by."""
    return world(name).draw(4_000, seed=13)


def all_causes(model: Model) -> Tensor:
    """A model's hazard at each visit of the judges."""
    visits = judges("competing" if isinstance(model, CompetingRisksRNN) else "causal").cohort.visits
    if isinstance(model, CompetingRisksRNN):
        return visits.unpad(model.predict(visits).cause_hazard.sum(-1))
    assert isinstance(model, SurvivalRNN)
    return visits.unpad(model.predict(visits).hazard)


def test_the_folder_holds_the_kept_epochs_and_nothing_else() -> None:
    weights = sorted(path.name for path in FOLDER.glob("*.safetensors"))
    assert weights == sorted(file_of(name, epoch).name for name, epoch in KEPT)
    assert all(path.stat().st_mode & 0o777 == 0o644 for path in FOLDER.glob("*.*"))


@every_kept
def test_a_kept_model_is_one_small_file_and_of_the_kind_its_name_says(name: Name, epoch: int) -> None:
    model = load(name, epoch)
    assert file_of(name, epoch).stat().st_size < 14_000
    assert type(model) is (CompetingRisksRNN if name == "competing" else SurvivalRNN)
    assert model.settings["bidirectional"] == (name == "bidirectional")
    assert model.schema == SCHEMA
    assert {weight.dtype for weight in model.state_dict().values()} == {torch.float32}
    assert not model.training
    again = load_model(file_of(name, epoch)).state_dict()
    assert all(torch.equal(weight, again[part]) for part, weight in model.state_dict().items())


@every_kept
def test_a_kept_model_costs_the_validation_patients_what_the_curve_says(name: Name, epoch: int) -> None:
    model = load(name, epoch)
    cohort = validation(name).cohort
    nll = evaluate_nll(model, cohort, loss=LOSSES[type(model)])
    assert nll == pytest.approx(curve(name)["validation"][epoch], rel=1e-5)


@cache
def validation(name: Name) -> Simulation:
    return world(name).draw(trained.N_VALIDATION, seed=12)


@pytest.mark.parametrize("name", EPOCHS)
def test_a_curve_has_each_epoch_and_what_the_truth_costs(name: Name) -> None:
    loss = curve(name)
    assert (len(loss["train"]), len(loss["validation"])) == (16, 17)
    assert min(EPOCHS[name]) >= 0
    assert max(EPOCHS[name]) == 16
    cohort, truth = validation(name).cohort, validation(name).cause_hazard
    odds = cohort.visits.pad((truth / (1 - truth.sum(-1, keepdim=True))).log())
    several = name == "competing"
    nll = LOSSES[CompetingRisksRNN if several else SurvivalRNN](
        odds if several else odds[..., 0], cohort.outcome, "sum"
    )
    assert nll.item() / cohort.outcome.n_rows == pytest.approx(loss["oracle"], rel=1e-9)


def test_learned_hazards_end_nearer_to_the_truth_than_to_what_is_known_without_the_record() -> None:
    drawn = judges("causal")
    true_logits = drawn.cohort.visits.pad(torch.logit(drawn.hazard), torch.nan)
    oracle = outcome_nll(true_logits, drawn.cohort.outcome, "sum").item() / drawn.cohort.outcome.n_rows
    baseline = evaluate_nll(LifeTableHazard.fit(validation("causal").cohort), drawn.cohort)
    models = [load("causal", epoch) for epoch in EPOCHS["causal"]]
    explained = [share_explained(evaluate_nll(model, drawn.cohort), baseline, oracle) for model in models]
    assert explained == sorted(explained)
    assert explained[0] < 0 < 0.8 < explained[1] < 0.9
    assert 0.93 < explained[-1] < 1


def test_the_distance_to_the_true_hazard_falls_from_epoch_to_epoch() -> None:
    models = [load("causal", epoch) for epoch in EPOCHS["causal"]]
    apart = [(all_causes(model) - judges("causal").hazard).abs().mean().item() for model in models]
    assert apart == sorted(apart, reverse=True)
    assert apart[0] > 0.03
    assert apart[-1] < 0.008


def test_each_cause_is_learned_for_itself() -> None:
    drawn, model = judges("competing"), load("competing")
    assert isinstance(model, CompetingRisksRNN)
    learned = drawn.cohort.visits.unpad(model.predict(drawn.cohort.visits).cause_hazard)
    for cause in range(2):
        true, mine, other = drawn.cause_hazard[:, cause], learned[:, cause], learned[:, 1 - cause]
        assert torch.corrcoef(torch.stack([true, mine.double()]))[0, 1] > 0.9
        assert (true - mine).abs().mean() < (true - other).abs().mean() / 3


def test_the_model_that_reads_ahead_beats_the_truth_which_nothing_honest_can() -> None:
    assert curve("bidirectional")["validation"][16] < 0.5 * curve("bidirectional")["oracle"]
    for name in ("causal", "competing"):
        assert min(curve(name)["validation"]) > curve(name)["oracle"]


class Enough(Exception):  # noqa: N818 - nothing went wrong
    """Stops a training."""


def test_training_again_gives_the_kept_weights() -> None:
    """The first weights to the last bit; after 313 steps to 1e-4: machines differ in rounding, by 1e-6 so far."""
    tolerance = {0: 0.0, 1: 1e-4}
    seen = []

    def keep(epoch: int, model: Model) -> None:
        kept, now = load("causal", epoch).state_dict(), model.state_dict()
        assert kept.keys() == now.keys()
        for part, weight in kept.items():
            torch.testing.assert_close(now[part], weight, rtol=0, atol=tolerance[epoch])
        seen.append(epoch)
        if epoch == 1:
            raise Enough

    with pytest.raises(Enough):
        train("causal", keep, progress=False)
    assert seen == [0, 1]


def test_intercepts_are_those_of_the_simulators() -> None:
    for name in EPOCHS:
        assert intercepts(name) == pytest.approx(__main__.log_odds_of_nothing(world(name)), abs=1e-9)


def test_worlds_differ_in_the_second_cause_alone() -> None:
    assert world() == world("bidirectional") == TEACHING
    assert world("competing").n_causes == 2
    assert world("competing").effects == TEACHING.effects


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("ask", [load, file_of, curve, world, intercepts, lambda name: train(name, print)])
def test_a_name_that_no_model_has_is_refused(ask: Callable[[str], object]) -> None:
    with pytest.raises(ValueError, match=r"^name is 'casual'; expected one of causal, bidirectional, competing$"):
        ask("casual")


@pytest.mark.parametrize(("name", "epoch"), [("causal", 4), ("causal", -1), ("bidirectional", 0), ("competing", 17)])
def test_an_epoch_that_was_not_kept_is_refused(name: Name, epoch: int) -> None:
    kept = ", ".join(map(str, EPOCHS[name]))
    with pytest.raises(ValueError, match=rf"^epoch is {epoch}; {name} was kept after {kept}$"):
        load(name, epoch)


def test_the_command_writes_what_is_kept_and_leaves_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fallen = {"train": [2.0], "validation": [3.0, 2.0], "oracle": 1.0}

    def short(name: Name, keep: Callable[[int, Model], None]) -> dict[str, object]:
        for epoch in range(17):
            keep(epoch, load(name))
        return fallen

    monkeypatch.setattr(__main__, "train", short)
    (tmp_path / "curves.json").write_text('{"competing": 5}')
    __main__.main(["causal"], tmp_path)
    written = sorted(path.name for path in tmp_path.iterdir())
    assert written == sorted(["curves.json", "intercepts.json", *(file_of("causal", n).name for n in EPOCHS["causal"])])
    assert json.loads((tmp_path / "curves.json").read_text()) == {"competing": 5, "causal": fallen}
    assert json.loads((tmp_path / "intercepts.json").read_text())["causal"] == pytest.approx(intercepts(), abs=1e-9)
    assert all(path.stat().st_mode & 0o777 == 0o644 for path in tmp_path.glob("*.safetensors"))
    assert capsys.readouterr().out.splitlines()[:2] == ["causal, epoch 0", "causal, epoch 1"]
    __main__.main([], tmp_path)
    assert sorted(path.name for path in tmp_path.glob("*.safetensors")) == sorted(file_of(*one).name for one in KEPT)


def test_what_the_figures_are_told_is_small_and_only_what_was_asked_for() -> None:
    given = _trained.given()
    assert len(gzip.compress(json.dumps(given).encode(), 9)) < 70_000
    assert given["codes"] == list(SCHEMA.codes)
    assert given["epochs"] == list(EPOCHS["causal"])
    assert {name: [int(epoch) for epoch in files] for name, files in given["files"].items()} == {
        name: list(epochs) for name, epochs in EPOCHS.items()
    }
    assert given["curves"] == {name: curve(name) for name in EPOCHS}
    causal = _trained.given("causal")
    assert list(causal["files"]) == list(causal["worlds"]) == list(causal["curves"]) == ["causal"]
    assert causal["files"]["causal"] == given["files"]["causal"]


def test_worlds_name_codes_by_their_place_in_the_schema() -> None:
    told = _trained.world_of("competing")
    names = {short: SCHEMA.codes[place] for short, place in told["code"].items()}
    assert all(short.replace("_", " ").split()[0] in name for short, name in names.items()), names
    assert told["chronic"] == list(range(1, 11))
    assert told["acute"] == list(range(11, 17))
    assert told["intercepts"] == intercepts("competing")
