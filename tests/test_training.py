"""The loop: it learns, it stops, it resumes to the same weights, and buckets do not bend its likelihood."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.cohorts import random_cohort
from visitwise.cohort import Cohort, Outcome
from visitwise.functional import hazard_nll, logits_from_hazard
from visitwise.model import SurvivalRNN
from visitwise.training import _sum_nll, evaluate_nll, fit, load_model, save_model
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
            (_sum_nll(model, batch) / divisor).backward()
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
            _sum_nll(model, part).backward()
        return torch.cat([value.grad.flatten() for value in model.parameters() if value.grad is not None])

    whole = gradient([cohort])
    for padded_visits in (1, 20, 100):
        torch.testing.assert_close(gradient(cohort.parts(padded_visits)), whole, rtol=0, atol=1e-10)


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
from visitwise.model import SurvivalRNN
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


def test_evaluate_nll_is_per_row_and_independent_of_the_batch_size(cohorts: tuple[Cohort, Cohort]) -> None:
    train, _ = cohorts
    model = SurvivalRNN.for_cohort(train, **SMALL)
    torch.nn.init.zeros_(model.head.weight)
    hazard = torch.sigmoid(model.head.bias.detach())
    outcome = train.outcome
    events = int(outcome.observed.sum())
    by_hand = -(events * hazard.log() + (outcome.n_rows - events) * (1 - hazard).log()) / outcome.n_rows
    assert evaluate_nll(model, train) == pytest.approx(by_hand.item(), rel=1e-5)
    assert evaluate_nll(model, train, batch_size=7) == pytest.approx(by_hand.item(), rel=1e-5)
    assert logits_from_hazard(hazard).item() == pytest.approx(model.head.bias.item(), rel=1e-5)
