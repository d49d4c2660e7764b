"""The loop: it learns, it stops, it resumes to the same weights, and buckets do not bend its likelihood."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tests.cohorts import nll_by_hand, random_cohort
from visitwise.cohort import Cohort, Outcome
from visitwise.functional import Reduction, hazard_nll, logits_from_hazard
from visitwise.losses import outcome_competing_nll, outcome_horizon_nll, outcome_nll
from visitwise.model import CompetingRisksRNN, HorizonRNN, SurvivalRNN
from visitwise.training import History, Model, OutcomeLoss, evaluate_nll, fit, load_model, save_model
from visitwise.visits import Visits

SMALL = {"embedding": 4, "hidden": 5}
RUN = {"epochs": 6, "batch_size": 8, "patience": 6, "progress": False}


@pytest.fixture(scope="module")
def cohorts() -> tuple[Cohort, Cohort]:
    return random_cohort(60, seed=0), random_cohort(30, seed=1, first_id=1000)


def weights(model: SurvivalRNN) -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in model.state_dict().items()}


def test_training_comes_close_to_the_true_hazards_of_other_patients() -> None:
    """Half of the patients carry a code that raises their hazard from 0.05 to 0.6; other patients are the judges."""
    random = np.random.default_rng(0)
    ill = random.random(2_000) < 0.5
    hazard = np.where(ill, 0.6, 0.05)
    first_event = random.geometric(hazard)
    visits = Visits.from_lists([[["ill" if i else "well"]] * 5 for i in ill], day=[list(range(5))] * 2_000)
    outcome = Outcome.of(torch.from_numpy(first_event.clip(max=5)), torch.from_numpy(first_event <= 5))
    train, judges = Cohort(visits, outcome).split([0.8, 0.2], seed=0)
    model = SurvivalRNN.for_cohort(train, **SMALL)
    untrained = evaluate_nll(model, judges)
    fit(model, train, judges, epochs=20, batch_size=64, learning_rate=0.02, progress=False)

    true_hazard = torch.from_numpy(hazard)[judges.visits.patient_id]
    true_logits = logits_from_hazard(true_hazard)[:, None].expand(-1, 5)
    oracle = hazard_nll(true_logits, judges.outcome.stop, judges.outcome.observed, reduction="sum").item()
    oracle /= judges.outcome.n_rows
    assert oracle - 0.01 < evaluate_nll(model, judges) < oracle + 0.1 * (untrained - oracle)


def test_the_model_keeps_the_weights_of_its_best_epoch(cohorts: tuple[Cohort, Cohort]) -> None:
    train, validation = cohorts
    model = SurvivalRNN.for_cohort(train, **SMALL)
    history = fit(model, train, validation, **{**RUN, "epochs": 15, "learning_rate": 0.05, "patience": 15})
    assert history.best_epoch < 14
    assert evaluate_nll(model, validation) == pytest.approx(history.validation_nll[history.best_epoch], abs=1e-6)


def test_training_stops_when_the_validation_patients_have_had_enough(cohorts: tuple[Cohort, Cohort]) -> None:
    train, validation = cohorts
    history = fit(
        SurvivalRNN.for_cohort(train, **SMALL),
        train,
        validation,
        **{**RUN, "epochs": 60, "patience": 2, "learning_rate": 0.05},
    )
    assert len(history.train_nll) < 60
    assert len(history.train_nll) == history.best_epoch + 3


def test_same_seed_same_weights(cohorts: tuple[Cohort, Cohort]) -> None:
    train, validation = cohorts
    models = [SurvivalRNN.for_cohort(train, **SMALL) for _ in range(3)]
    for model, seed in zip(models, (0, 0, 1), strict=True):
        fit(model, train, validation, **RUN, seed=seed)
    assert weights(models[0]) == weights(models[1]) != weights(models[2])


def test_a_sum_over_a_constant_gives_bucketed_batches_the_gradient_of_the_whole_epoch() -> None:
    """Per-batch means would not: the sum of their gradients differs from the gradient of the sum."""
    cohort = random_cohort(64, seed=3)
    model = SurvivalRNN.for_cohort(cohort, **SMALL).double()

    def gradient(batches: list[Cohort], *, per_batch_mean: bool) -> torch.Tensor:
        model.zero_grad()
        for batch in batches:
            divisor = batch.outcome.n_rows / cohort.outcome.n_rows * len(batches) if per_batch_mean else 1.0
            (outcome_nll(model(batch.visits), batch.outcome, "sum") / divisor).backward()
        return torch.cat([value.grad.flatten() for value in model.parameters() if value.grad is not None])

    whole = gradient([cohort], per_batch_mean=False)
    buckets = list(cohort.batches(8, seed=0, window=8))
    torch.testing.assert_close(gradient(buckets, per_batch_mean=False), whole, rtol=0, atol=1e-10)
    assert (gradient(buckets, per_batch_mean=True) - whole).norm() > 0.05 * whole.norm()


def test_working_a_batch_off_in_parts_gives_the_gradient_of_the_batch() -> None:
    cohort = random_cohort(64, seed=4)
    model = SurvivalRNN.for_cohort(cohort, **SMALL).double()

    def gradient(parts: Iterable[Cohort]) -> torch.Tensor:
        model.zero_grad()
        for part in parts:
            outcome_nll(model(part.visits), part.outcome, "sum").backward()
        return torch.cat([value.grad.flatten() for value in model.parameters() if value.grad is not None])

    whole = gradient([cohort])
    for padded_visits in (1, 20, 100):
        torch.testing.assert_close(gradient(cohort.parts(padded_visits)), whole, rtol=0, atol=1e-10)
        torch.testing.assert_close(gradient(cohort.portions(padded_visits)), whole, rtol=0, atol=1e-10)


def test_resuming_gives_the_weights_of_a_run_that_was_never_stopped(
    cohorts: tuple[Cohort, Cohort], tmp_path: Path
) -> None:
    train, validation = cohorts
    whole = SurvivalRNN.for_cohort(train, **SMALL)
    history = fit(whole, train, validation, **RUN)

    stopped = SurvivalRNN.for_cohort(train, **SMALL)
    calls = iter(range(100))

    def stop_in_the_middle(*_: object) -> None:
        if next(calls) == 20:
            raise InterruptedError

    handle = stopped.register_forward_hook(stop_in_the_middle)
    with pytest.raises(InterruptedError):
        fit(stopped, train, validation, **RUN, checkpoint=tmp_path)
    handle.remove()
    resumed = SurvivalRNN.for_cohort(train, **SMALL, seed=0)
    assert fit(resumed, train, validation, **RUN, checkpoint=tmp_path) == history
    assert weights(resumed) == weights(whole)


KILLED = """
import sys, time, torch
torch.set_num_threads(1)
from tests.cohorts import random_cohort
from visitwise.model import CompetingRisksRNN, HorizonRNN, SurvivalRNN
from visitwise.training import fit, save_model
train, validation = random_cohort(60, seed=0), random_cohort(30, seed=1, first_id=1000)
model = SurvivalRNN.for_cohort(train, embedding=4, hidden=5)
model.register_forward_hook(lambda *_: time.sleep(0.01))
fit(model, train, validation, epochs=6, batch_size=8, patience=6, progress=False, checkpoint=sys.argv[1])
save_model(model, sys.argv[2])
"""


def test_a_run_killed_with_signal_9_resumes_to_the_same_weights_bit_for_bit(
    cohorts: tuple[Cohort, Cohort], tmp_path: Path
) -> None:
    train, validation = cohorts
    whole = SurvivalRNN.for_cohort(train, **SMALL)
    fit(whole, train, validation, **RUN)

    command = [sys.executable, "-c", KILLED, str(tmp_path / "run"), str(tmp_path / "model")]
    killed = 0
    for epochs_done in (1, 3):
        process = subprocess.Popen(command)
        while process.poll() is None and _epochs_done(tmp_path / "run") < epochs_done:
            time.sleep(0.005)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            killed += 1
        process.wait()
    assert killed == 2
    subprocess.run(command, check=True)
    assert weights(load_model(tmp_path / "model")) == weights(whole)
    assert len(list((tmp_path / "run").glob("*.safetensors"))) <= 3


def _epochs_done(folder: Path) -> int:
    file = folder / "checkpoint.json"
    return len(json.loads(file.read_text("utf-8"))["history"]["train_nll"]) if file.exists() else 0


def test_a_checkpoint_of_other_choices_is_refused(cohorts: tuple[Cohort, Cohort], tmp_path: Path) -> None:
    train, validation = cohorts
    fit(SurvivalRNN.for_cohort(train, **SMALL), train, validation, **{**RUN, "epochs": 1}, checkpoint=tmp_path)
    with pytest.raises(ValueError, match="epochs = 1, not 6"):
        fit(SurvivalRNN.for_cohort(train, **SMALL), train, validation, **RUN, checkpoint=tmp_path)


def test_a_patient_in_training_and_validation_is_refused(cohorts: tuple[Cohort, Cohort]) -> None:
    train, _ = cohorts
    with pytest.raises(ValueError, match="patient 5 is in two cohorts"):
        fit(SurvivalRNN.for_cohort(train, **SMALL), train, train.select(torch.tensor([5])), **RUN)


def test_a_saved_model_predicts_the_same_bit_for_bit(cohorts: tuple[Cohort, Cohort], tmp_path: Path) -> None:
    train, validation = cohorts
    model = SurvivalRNN.for_cohort(train, **SMALL, cell="gru")
    save_model(model, tmp_path)
    loaded = load_model(tmp_path)
    for mine, theirs in zip(model.predict(validation.visits), loaded.predict(validation.visits), strict=True):
        assert torch.equal(mine.nan_to_num(-1), theirs.nan_to_num(-1))
    assert loaded.schema == model.schema


@pytest.mark.parametrize(
    ("kind", "loss"), [(CompetingRisksRNN, outcome_competing_nll), (HorizonRNN, outcome_horizon_nll)]
)
def test_other_heads_are_trained_by_their_own_loss_saved_and_loaded(
    kind: type[CompetingRisksRNN | HorizonRNN], loss: OutcomeLoss, cohorts: tuple[Cohort, Cohort], tmp_path: Path
) -> None:
    train, validation = cohorts
    model = kind.for_cohort(train, **SMALL)
    untrained = evaluate_nll(model, train, loss=loss)
    history = fit(model, train, validation, loss=loss, learning_rate=0.02, **RUN)
    assert min(history.validation_nll) == pytest.approx(evaluate_nll(model, validation, loss=loss))
    assert evaluate_nll(model, train, loss=loss) < 0.99 * untrained
    save_model(model, tmp_path)
    loaded = load_model(tmp_path)
    assert type(loaded) is kind
    assert torch.equal(loaded(validation.visits).nan_to_num(-1), model(validation.visits).nan_to_num(-1))


def test_a_run_is_not_resumed_with_another_loss(cohorts: tuple[Cohort, Cohort], tmp_path: Path) -> None:
    train, validation = cohorts
    once = {**RUN, "epochs": 1}
    fit(SurvivalRNN.for_cohort(train, **SMALL), train, validation, **once, checkpoint=tmp_path)
    model = SurvivalRNN.for_cohort(train, **SMALL)
    with pytest.raises(ValueError, match="with loss = outcome_nll, not twice_the_loss"):
        fit(model, train, validation, loss=twice_the_loss, **once, checkpoint=tmp_path)


def twice_the_loss(hazard_logits: torch.Tensor, outcome: Outcome, reduction: Reduction) -> torch.Tensor:
    return 2 * outcome_nll(hazard_logits, outcome, reduction)


def test_a_loss_with_a_setting_has_a_name_without_an_address_so_that_another_process_can_go_on(
    cohorts: tuple[Cohort, Cohort], tmp_path: Path
) -> None:
    train, validation = cohorts
    once = {**RUN, "epochs": 1}
    loss = partial(scaled_loss, factor=2.0)
    fit(SurvivalRNN.for_cohort(train, **SMALL), train, validation, loss=loss, **once, checkpoint=tmp_path)
    written = json.loads((tmp_path / "checkpoint.json").read_text("utf-8"))["choices"]["loss"]
    assert written == "scaled_loss(factor=2.0)"
    other = partial(scaled_loss, factor=3.0)
    with pytest.raises(ValueError, match=r"with loss = scaled_loss\(factor=2.0\), not scaled_loss\(factor=3.0\)"):
        fit(SurvivalRNN.for_cohort(train, **SMALL), train, validation, loss=other, **once, checkpoint=tmp_path)


def scaled_loss(
    hazard_logits: torch.Tensor, outcome: Outcome, reduction: Reduction = "mean", factor: float = 1.0
) -> torch.Tensor:
    return factor * outcome_nll(hazard_logits, outcome, reduction)


@pytest.mark.parametrize(
    ("kind", "loss", "message"),
    [
        (HorizonRNN, outcome_competing_nll, "outcome_competing_nll for a HorizonRNN; expected outcome_horizon_nll"),
        (CompetingRisksRNN, outcome_horizon_nll, "outcome_horizon_nll for a CompetingRisksRNN; expected outcome_comp"),
        (CompetingRisksRNN, outcome_nll, "loss is outcome_nll for a CompetingRisksRNN; expected outcome_competing_nll"),
    ],
)
def test_causes_are_not_trained_as_intervals_nor_intervals_as_causes(
    kind: type[CompetingRisksRNN | HorizonRNN], loss: OutcomeLoss, message: str, cohorts: tuple[Cohort, Cohort]
) -> None:
    train, validation = cohorts
    with pytest.raises(ValueError, match=message):
        fit(kind.for_cohort(train, **SMALL), train, validation, loss=loss, **RUN)


def test_a_gradient_left_over_from_before_has_no_part_in_the_first_step(cohorts: tuple[Cohort, Cohort]) -> None:
    train, validation = cohorts
    fresh, used = (SurvivalRNN.for_cohort(train, **SMALL) for _ in range(2))
    used(train.visits).nan_to_num().sum().backward()
    for model in (fresh, used):
        fit(model, train, validation, **{**RUN, "epochs": 1})
    assert weights(fresh) == weights(used)


def test_a_model_in_float64_is_saved_and_loaded_in_float64(cohorts: tuple[Cohort, Cohort], tmp_path: Path) -> None:
    train, validation = cohorts
    model = HorizonRNN.for_cohort(train, **SMALL, cell="gru").double()
    save_model(model, tmp_path)
    loaded = load_model(tmp_path)
    assert torch.equal(loaded(validation.visits).nan_to_num(-1), model(validation.visits).nan_to_num(-1))
    assert all(parameter.requires_grad for parameter in loaded.parameters())


def test_nothing_on_disk_is_a_pickle(cohorts: tuple[Cohort, Cohort], tmp_path: Path) -> None:
    train, validation = cohorts
    model = SurvivalRNN.for_cohort(train, **SMALL)
    fit(model, train, validation, **{**RUN, "epochs": 1}, checkpoint=tmp_path / "run")
    save_model(model, tmp_path / "model")
    assert {file.suffix for file in tmp_path.rglob("*") if file.is_file()} == {".json", ".safetensors"}


def test_a_truncated_or_missing_model_is_refused_by_name(cohorts: tuple[Cohort, Cohort], tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no model\.json"):
        load_model(tmp_path)
    save_model(SurvivalRNN.for_cohort(cohorts[0], **SMALL), tmp_path)
    description = json.loads((tmp_path / "model.json").read_text("utf-8"))
    weights_file = tmp_path / description["weights"]
    weights_file.write_bytes(weights_file.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"model\.json or its weights cannot be read"):
        load_model(tmp_path)


def test_weights_that_do_not_fit_the_description_are_refused(cohorts: tuple[Cohort, Cohort], tmp_path: Path) -> None:
    save_model(SurvivalRNN.for_cohort(cohorts[0], **SMALL), tmp_path)
    description = json.loads((tmp_path / "model.json").read_text("utf-8"))
    description["settings"]["hidden"] = 6
    (tmp_path / "model.json").write_text(json.dumps(description), "utf-8")
    with pytest.raises(ValueError, match="do not fit its description"):
        load_model(tmp_path)


def described(path: Path) -> dict[str, Any]:
    """What a file of weights says of its model."""
    with safe_open(path, "pt") as file:
        words: dict[str, Any] = json.loads(file.metadata()["visitwise"])
        return words


@pytest.mark.parametrize("kind", [SurvivalRNN, CompetingRisksRNN, HorizonRNN])
@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_one_file_holds_a_model_bit_for_bit(
    kind: type[Model], precision: torch.dtype, cohorts: tuple[Cohort, Cohort], tmp_path: Path
) -> None:
    train, validation = cohorts
    model = kind.for_cohort(train, **SMALL, cell="gru", time_features=False).to(precision)
    path = tmp_path / "new folder" / "my.model.safetensors"
    save_model(model, path)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    loaded = load_model(path)
    assert type(loaded) is kind
    assert (loaded.schema, loaded.settings) == (model.schema, model.settings)
    assert not loaded.training
    said = loaded(validation.visits)
    assert said.dtype == precision
    assert torch.equal(said.nan_to_num(-1), model(validation.visits).nan_to_num(-1))


def test_a_file_takes_the_place_of_the_one_before_and_leaves_its_neighbours(
    cohorts: tuple[Cohort, Cohort], tmp_path: Path
) -> None:
    (tmp_path / "other.safetensors").write_text("mine")
    for seed in (1, 2):
        save_model(SurvivalRNN.for_cohort(cohorts[0], **SMALL, seed=seed), str(tmp_path / "model.safetensors"))
    assert load_model(str(tmp_path / "model.safetensors")).settings["seed"] == 2
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model.safetensors", "other.safetensors"]
    assert (tmp_path / "other.safetensors").read_text() == "mine"


def test_weights_beside_a_description_and_in_a_checkpoint_say_which_model_they_belong_to(
    cohorts: tuple[Cohort, Cohort], tmp_path: Path
) -> None:
    train, validation = cohorts
    model = SurvivalRNN.for_cohort(train, **SMALL)
    save_model(model, tmp_path / "model")
    fit(model, train, validation, **{**RUN, "epochs": 1}, checkpoint=tmp_path / "run")
    told = {"kind": "SurvivalRNN", "settings": model.settings, "schema": asdict(model.schema)}
    files = [*tmp_path.glob("model/*.safetensors"), *tmp_path.glob("run/*.safetensors")]
    assert len(files) == 2
    assert [described(path) for path in files] == [json.loads(json.dumps(told))] * 2


def test_the_weights_of_a_checkpoint_are_read_as_the_best_model_so_far(
    cohorts: tuple[Cohort, Cohort], tmp_path: Path
) -> None:
    train, validation = cohorts
    model = SurvivalRNN.for_cohort(train, **SMALL)
    history = fit(
        model, train, validation, **{**RUN, "epochs": 30, "patience": 4}, learning_rate=0.1, checkpoint=tmp_path
    )
    assert history.best_epoch < len(history.train_nll) - 1
    (path,) = tmp_path.glob("*.safetensors")
    loaded = load_model(path)
    assert isinstance(loaded, SurvivalRNN)
    assert weights(loaded) == weights(model)
    assert load_file(path)["model.head.bias"] != load_file(path)["best.head.bias"]


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (lambda path: path.unlink(), FileNotFoundError, "is not there; expected a file written by save_model"),
        (lambda path: (path.unlink(), path.mkdir()), FileNotFoundError, "is not there; expected a file written by"),
        (lambda path: path.write_bytes(path.read_bytes()[:-4]), ValueError, "cannot be read: "),
        (lambda path: path.write_bytes(path.read_bytes()[:50]), ValueError, "cannot be read: "),
        (lambda path: path.write_bytes(b""), ValueError, "cannot be read: "),
        (lambda path: path.write_bytes(b"PK\x03\x04" + bytes(100)), ValueError, "cannot be read: "),
        (
            lambda path: saying(path, None),
            ValueError,
            "does not say which model its weights belong to; expected a file",
        ),
        (
            lambda path: saying(path, {"format": "pt"}),
            ValueError,
            "does not say which model its weights belong to; exp",
        ),
        (lambda path: saying(path, {"visitwise": "{"}), ValueError, "cannot be read: "),
        (lambda path: saying(path, {"visitwise": "[]"}), ValueError, "cannot be read: its description is "),
        (lambda path: saying(path, {"visitwise": "{}"}), ValueError, "weights do not fit its description: "),
        (lambda path: saying(path, more={"extra": torch.ones(1)}), ValueError, "weights do not fit its description: "),
        (lambda path: saying(path, fewer=["head.bias"]), ValueError, "weights do not fit its description: "),
        (lambda path: saying(path, more={"head.bias": torch.ones(2)}), ValueError, "do not fit its description: "),
    ],
)
def test_a_file_that_holds_no_model_is_refused_by_name(
    spoil: Callable[[Path], object],
    error: type[Exception],
    message: str,
    cohorts: tuple[Cohort, Cohort],
    tmp_path: Path,
) -> None:
    path = tmp_path / "model.safetensors"
    save_model(SurvivalRNN.for_cohort(cohorts[0], **SMALL), path)
    spoil(path)
    with pytest.raises(error, match=rf"model\.safetensors .*{message}"):
        load_model(path)


def saying(
    path: Path, words: dict[str, str] | str | None = "same", more: Any = None, fewer: Iterable[str] = ()
) -> None:
    """The file again, with other metadata, more tensors or fewer."""
    with safe_open(path, "pt") as file:
        metadata = file.metadata() if words == "same" else words
    tensors = {name: value for name, value in load_file(path).items() if name not in fewer} | (more or {})
    save_file(tensors, path, metadata)


def test_what_is_called_after_each_epoch_sees_the_model_as_it_is_then(
    cohorts: tuple[Cohort, Cohort], tmp_path: Path
) -> None:
    train, validation = cohorts
    seen: list[tuple[dict[str, bytes], int, float]] = []

    def keep(model: SurvivalRNN, history: History) -> None:
        assert not model.training
        assert len(history.train_nll) == len(history.validation_nll) == len(seen) + 1
        seen.append((weights(model), history.best_epoch, evaluate_nll(model, validation)))

    model, alone = (SurvivalRNN.for_cohort(train, **SMALL) for _ in range(2))
    run = {**RUN, "learning_rate": 0.1}
    history = fit(model, train, validation, **run, after_epoch=keep)
    assert [nll for _, _, nll in seen] == pytest.approx(history.validation_nll)
    assert len({epoch["head.bias"] for epoch, _, _ in seen}) == len(seen) == RUN["epochs"]
    assert weights(model) == seen[history.best_epoch][0]
    fit(alone, train, validation, **run)
    assert weights(alone) == weights(model)  # looking on changes nothing


def test_a_run_stopped_by_what_is_called_after_an_epoch_goes_on_from_its_checkpoint(
    cohorts: tuple[Cohort, Cohort], tmp_path: Path
) -> None:
    train, validation = cohorts
    whole, model = (SurvivalRNN.for_cohort(train, **SMALL) for _ in range(2))
    fit(whole, train, validation, **RUN)

    def stop(model: SurvivalRNN, history: History) -> None:
        if len(history.train_nll) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(model, train, validation, **RUN, checkpoint=tmp_path, after_epoch=stop)
    model, epochs = SurvivalRNN.for_cohort(train, **SMALL), []
    fit(
        model, train, validation, **RUN, checkpoint=tmp_path,
        after_epoch=lambda _, history: epochs.append(len(history.train_nll)),
    )  # fmt: skip
    assert epochs == [4, 5, 6]
    assert weights(model) == weights(whole)


def test_evaluate_nll_is_per_row_and_independent_of_the_batch_size(cohorts: tuple[Cohort, Cohort]) -> None:
    """One hazard for everybody: rows survived in part cost their part, and are counted as rows."""
    train, _ = cohorts
    model = SurvivalRNN.for_cohort(train, **SMALL)
    torch.nn.init.zeros_(model.head.weight)
    hazard = torch.sigmoid(model.head.bias.detach())
    outcome = train.outcome
    events = int(outcome.observed.sum())
    survived = outcome.n_rows - len(train) + float(outcome.censored_exposure[~outcome.observed].sum())
    by_hand = -(events * hazard.log() + survived * (1 - hazard).log()) / outcome.n_rows
    assert evaluate_nll(model, train) == pytest.approx(by_hand.item(), rel=1e-5)
    assert evaluate_nll(model, train, batch_size=7) == pytest.approx(by_hand.item(), rel=1e-5)
    assert logits_from_hazard(hazard).item() == pytest.approx(model.head.bias.item(), rel=1e-5)


def test_evaluate_nll_is_the_likelihood_written_down_patient_by_patient(cohorts: tuple[Cohort, Cohort]) -> None:
    train, _ = cohorts
    model = SurvivalRNN.for_cohort(train, **SMALL).double()
    with torch.no_grad():
        by_hand = nll_by_hand(model(train.visits), train).item() / train.outcome.n_rows
    assert evaluate_nll(model, train) == pytest.approx(by_hand, rel=1e-9)


# ------------------------------------------------------------------------------------------------ each step of `fit`


class Spy:
    """Stands in for AdamW's step: writes down the gradients and the learning rate, and leaves the weights alone."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.gradients: list[torch.Tensor] = []
        self.learning_rates: list[float] = []

        def step(optimizer: torch.optim.Optimizer, *_: object) -> None:
            (group,) = optimizer.param_groups
            self.learning_rates.append(group["lr"])
            self.gradients.append(torch.cat([value.grad.flatten() for value in group["params"]]))

        monkeypatch.setattr(torch.optim.AdamW, "step", step)


@pytest.mark.parametrize("window", [1, 4])
def test_each_step_takes_the_gradient_of_the_summed_loss_over_one_constant(
    cohorts: tuple[Cohort, Cohort], window: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the order that the seed, the epoch and the window decide, whatever the parts, with nothing left over."""
    train, validation = cohorts
    model = SurvivalRNN.for_cohort(train, **SMALL).double()
    wanted = []
    for epoch in range(2):
        for batch in train.batches(8, seed=5, epoch=epoch, window=window):
            loss = nll_by_hand(model(batch.visits), batch) / (train.outcome.n_rows / 8)  # 60 patients are 8 batches
            gradient = torch.autograd.grad(loss, list(model.parameters()))
            wanted.append(torch.cat([value.flatten() for value in gradient]))
    spy = Spy(monkeypatch)
    fit(model, train, validation, **{**RUN, "epochs": 2}, seed=5, window=window, padded_visits=12)
    assert len(spy.gradients) == 16
    torch.testing.assert_close(torch.stack(spy.gradients), torch.stack(wanted), rtol=0, atol=1e-10)


def test_the_parts_a_batch_is_worked_off_in_do_not_change_the_weights(cohorts: tuple[Cohort, Cohort]) -> None:
    train, validation = cohorts
    models = [SurvivalRNN.for_cohort(train, **SMALL).double() for _ in range(2)]
    one_batch = {**RUN, "epochs": 3, "batch_size": len(train)}
    for model, padded_visits in zip(models, (1, 10**9), strict=True):
        fit(model, train, validation, **one_batch, padded_visits=padded_visits)
    for mine, theirs in zip(models[0].parameters(), models[1].parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-8)


def test_the_learning_rate_falls_to_zero_along_a_cosine(
    cohorts: tuple[Cohort, Cohort], monkeypatch: pytest.MonkeyPatch
) -> None:
    train, validation = cohorts
    spy = Spy(monkeypatch)
    settings = {**RUN, "epochs": 3, "learning_rate": 0.01}
    fit(SurvivalRNN.for_cohort(train, **SMALL), train, validation, **settings)
    wanted = [0.01 * (0.5 + 0.5 * math.cos(math.pi * step / 24)) for step in range(24)]
    assert spy.learning_rates == pytest.approx(wanted)


def test_weight_decay_pulls_each_weight_towards_zero_by_its_share(cohorts: tuple[Cohort, Cohort]) -> None:
    """AdamW's decay stands apart from the gradient, so that after one step it is all that differs."""
    train, validation = cohorts
    first = SurvivalRNN.for_cohort(train, **SMALL).double()
    free, pulled = (SurvivalRNN.for_cohort(train, **SMALL).double() for _ in range(2))
    one_step = {**RUN, "epochs": 1, "batch_size": len(train), "learning_rate": 0.01}
    fit(free, train, validation, **one_step)
    fit(pulled, train, validation, **one_step, weight_decay=0.5)
    for before, without, decayed in zip(first.parameters(), free.parameters(), pulled.parameters(), strict=True):
        torch.testing.assert_close(without - decayed, 0.01 * 0.5 * before, rtol=0, atol=1e-12)


# ------------------------------------------------------------------------------------------- what a checkpoint holds


def test_a_checkpoint_is_refused_if_anything_the_weights_depend_on_is_other(
    cohorts: tuple[Cohort, Cohort], tmp_path: Path
) -> None:
    train, validation = cohorts
    settings = {**RUN, "epochs": 1}
    fit(SurvivalRNN.for_cohort(train, **SMALL), train, validation, **settings, checkpoint=tmp_path)
    other = {
        "batch_size": 9, "learning_rate": 0.1, "weight_decay": 0.1, "patience": 7, "window": 2, "padded_visits": 99,
        "seed": 1,
    }  # fmt: skip
    for name, value in other.items():
        changed = {**settings, name: value}
        with pytest.raises(ValueError, match=f"holds a run with {name} ="):
            fit(SurvivalRNN.for_cohort(train, **SMALL), train, validation, **changed, checkpoint=tmp_path)

    packed = SurvivalRNN.for_cohort(train, **SMALL, path="packed")
    assert weights(packed) == weights(SurvivalRNN.for_cohort(train, **SMALL))
    with pytest.raises(ValueError, match="holds a run with model ="):
        fit(packed, train, validation, **settings, checkpoint=tmp_path)

    moved = SurvivalRNN.for_cohort(train, **SMALL)
    torch.nn.init.zeros_(moved.head.bias)
    with pytest.raises(ValueError, match="holds a run with first weights ="):
        fit(moved, train, validation, **settings, checkpoint=tmp_path)

    for place, name in enumerate(("train", "validation")):
        parts = list(cohorts)
        exposure = torch.zeros_like(parts[place].outcome.censored_exposure)
        parts[place] = Cohort(parts[place].visits, replace(parts[place].outcome, censored_exposure=exposure))
        with pytest.raises(ValueError, match=f"holds a run with {name} ="):
            fit(SurvivalRNN.for_cohort(train, **SMALL), *parts, **settings, checkpoint=tmp_path)


@pytest.mark.parametrize(
    "broken", ["visitwise.training.save_file", "pathlib.Path.write_text", "os.fsync", "pathlib.Path.replace"]
)
def test_a_checkpoint_whose_writing_failed_leaves_the_one_before_it_to_resume_from(
    cohorts: tuple[Cohort, Cohort], tmp_path: Path, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, validation = cohorts
    whole = SurvivalRNN.for_cohort(train, **SMALL)
    history = fit(whole, train, validation, **RUN)

    def fail_in_a_later_epoch(*args: object) -> object:
        if _epochs_done(tmp_path) < 2:
            return works(*args)
        if broken.endswith("save_file"):
            Path(str(args[1])).write_bytes(b"half of it")
        if broken.endswith("write_text"):
            Path(str(args[0])).write_bytes(b"half of it")
        raise OSError(f"no space left for {broken}")

    with monkeypatch.context() as patch:
        works = {
            "save_file": save_file, "write_text": Path.write_text, "fsync": os.fsync, "replace": Path.replace,
        }[broken.rpartition(".")[2]]  # fmt: skip
        patch.setattr(broken, fail_in_a_later_epoch)
        with pytest.raises(OSError, match="no space left"):
            fit(SurvivalRNN.for_cohort(train, **SMALL), train, validation, **RUN, checkpoint=tmp_path)
    assert _epochs_done(tmp_path) == 2

    resumed, forwards = SurvivalRNN.for_cohort(train, **SMALL), []
    resumed.register_forward_hook(lambda *_: forwards.append(1))
    assert fit(resumed, train, validation, **RUN, checkpoint=tmp_path) == history
    assert weights(resumed) == weights(whole)
    assert len(forwards) == 4 * (8 + 1)  # batches of four epochs, and their validation
    (left,) = tmp_path.glob("*.safetensors")
    assert {file.name for file in tmp_path.iterdir()} == {"checkpoint.json", left.name}


@pytest.mark.parametrize("change", ["measurements", "static", "validation", "codes", "weights", "double"])
def test_a_checkpoint_does_not_go_on_with_other_patients_or_other_first_weights(
    cohorts: tuple[Cohort, Cohort], tmp_path: Path, change: str
) -> None:
    train, validation = cohorts
    run = {**RUN, "epochs": 1}
    fit(SurvivalRNN.for_cohort(train, **SMALL), train, validation, **run, checkpoint=tmp_path)
    model, visits = SurvivalRNN.for_cohort(train, **SMALL), train.visits
    if change in ("measurements", "static"):
        train = Cohort(Visits(**{**vars(visits), change: getattr(visits, change) * 2}), train.outcome)
    elif change == "codes":
        train = Cohort(Visits(**{**vars(visits), "codes": visits.codes.flip(0)}), train.outcome)
    elif change == "validation":
        validation = random_cohort(30, seed=7, first_id=5000)
    elif change == "weights":
        torch.nn.init.ones_(model.head.weight)
    else:
        model = model.double()
    with pytest.raises(ValueError, match="holds a run with"):
        fit(model, train, validation, **run, checkpoint=tmp_path)


def test_saving_a_model_leaves_other_files_of_like_name_alone(cohorts: tuple[Cohort, Cohort], tmp_path: Path) -> None:
    (tmp_path / "model_from_last_year.safetensors").write_bytes(b"precious")
    for _ in range(2):
        save_model(SurvivalRNN.for_cohort(cohorts[0], **SMALL), tmp_path)
    assert (tmp_path / "model_from_last_year.safetensors").read_bytes() == b"precious"
    assert len(list(tmp_path.glob("*.safetensors"))) == 2


@pytest.mark.parametrize("content", ["[]", '{"weights": 1}', '{"weights": "x", "schema": []}', "not json"])
def test_a_description_that_is_none_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "model.json").write_text(content, "utf-8")
    with pytest.raises(ValueError, match=r"cannot be read|do not fit"):
        load_model(tmp_path)


@pytest.mark.parametrize("setting", ["epochs", "batch_size", "patience"])
def test_a_setting_below_one_is_refused(cohorts: tuple[Cohort, Cohort], setting: str) -> None:
    with pytest.raises(ValueError, match=f"{setting} is 0; expected at least 1"):
        fit(SurvivalRNN.for_cohort(cohorts[0], **SMALL), *cohorts, **{**RUN, setting: 0})
