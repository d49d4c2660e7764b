"""Several processes with one model: the exact mean against a slow loop, and processes that fail or hang."""

import json
import operator
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from tests.cohorts import random_cohort
from visitwise._ragged import arrays_of
from visitwise.check.scale import own_mean
from visitwise.cohort import Cohort
from visitwise.losses import outcome_nll
from visitwise.model import SurvivalRNN
from visitwise.parallel import device_of, exact_mean, joined, place, run_processes, step_gradients
from visitwise.training import History, evaluate_nll, fit, load_model
from visitwise.visits import Visits


def a_model(cohort: Cohort) -> SurvivalRNN:
    return SurvivalRNN.for_cohort(cohort, embedding=4, hidden=5).double()


def fitted(
    train: Cohort, validation: Cohort, folder: Path | None = None, until: int = 3, batch_size: int = 13
) -> tuple[dict[str, Tensor], list[float]]:
    """What three epochs find, or what stands in the folder when the run is cut off after fewer."""

    def stop(_: object, history: History) -> None:
        if len(history.train_nll) == until < 3:
            raise InterruptedError("the power went out")

    model = a_model(train)
    if place()[0]:
        with torch.no_grad():
            model.head.bias.fill_(torch.nan)  # the weights of process 0 are the ones to begin with
    history = fit(
        model, train, validation, epochs=3, batch_size=batch_size, patience=9, checkpoint=folder, after_epoch=stop,
        progress=False,
    )  # fmt: skip
    return dict(model.state_dict()), history.train_nll + history.validation_nll


@pytest.fixture(scope="module")
def cohorts() -> tuple[Cohort, Cohort]:
    """Forty patients to learn from in batches of 13: the last has a single patient, and a process has none."""
    return random_cohort(60, seed=7).split([2 / 3, 1 / 3], seed=0)


def assert_same(one: tuple[dict[str, Tensor], list[float]], other: tuple[dict[str, Tensor], list[float]]) -> None:
    assert one[1] == pytest.approx(other[1], rel=1e-9)
    for name, values in one[0].items():
        torch.testing.assert_close(values, other[0][name], rtol=1e-7, atol=1e-9)  # Adam divides rounding by itself


def test_two_processes_find_the_weights_of_one_with_a_last_batch_of_one_patient(
    cohorts: tuple[Cohort, Cohort],
) -> None:
    assert len(cohorts[0]) % 13 == 1
    alone = fitted(*cohorts)
    zero, one = run_processes(fitted, 2, *cohorts)
    assert_same(zero, alone)
    assert zero[1] == one[1]
    assert all(torch.equal(values, one[0][name]) for name, values in zero[0].items())


def test_three_processes_find_the_weights_of_one_from_batches_of_four_with_one_patient_to_judge(
    cohorts: tuple[Cohort, Cohort],
) -> None:
    train, judge = cohorts[0].select(torch.arange(9)), cohorts[1].select(torch.arange(1))
    given = (train, judge, None, 3, 4)  # shares of 2, 1 and 1, and in the last batch of 1, 0 and 0
    assert_same(run_processes(fitted, 3, *given)[2], fitted(*given))


@pytest.mark.parametrize(("first", "then"), [(2, 1), (1, 2), (2, 3)])
def test_a_run_goes_on_with_another_number_of_processes(
    cohorts: tuple[Cohort, Cohort], tmp_path: Path, first: int, then: int
) -> None:
    with pytest.raises(RuntimeError, match="the power went out"):
        run_processes(fitted, first, *cohorts, tmp_path, 2)
    assert len(json.loads((tmp_path / "checkpoint.json").read_text())["history"]["train_nll"]) == 2
    assert_same(run_processes(fitted, then, *cohorts, tmp_path)[0], fitted(*cohorts))


def torchrun(
    folder: Path, *arguments: str, program: Sequence[str] = ("-m", "--", "visitwise")
) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", *program, "train", *arguments]
    settings = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, cwd=folder, env=settings, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def workers_after_an_epoch(started: subprocess.Popen[str], checkpoint: Path) -> list[str]:
    until = time.monotonic() + 120
    while not checkpoint.exists():
        assert started.poll() is None, started.communicate()
        assert time.monotonic() < until
        time.sleep(0.01)
    return Path(f"/proc/{started.pid}/task/{started.pid}/children").read_text().split()


def test_the_command_runs_under_torchrun_and_when_one_process_dies_the_others_stop_and_the_run_goes_on(
    tmp_path: Path,
) -> None:
    random_cohort(60, seed=7).save(tmp_path / "cohort")
    choices = ["cohort", "--hidden", "8", "--embedding", "4", "--epochs", "15", "--batch-size", "2", "--patience", "15"]
    started = torchrun(tmp_path, *choices, "--run", "cut-off")
    checkpoint = tmp_path / "cut-off" / "checkpoint" / "checkpoint.json"
    workers = workers_after_an_epoch(started, checkpoint)
    os.kill(int(workers[-1]), signal.SIGKILL)
    said, _ = started.communicate(timeout=120)
    assert started.returncode != 0, said
    assert not any(Path(f"/proc/{worker}").exists() for worker in workers)
    assert 1 <= len(json.loads(checkpoint.read_text())["history"]["train_nll"]) < 15
    assert not (tmp_path / "cut-off" / "model.json").exists()

    resumed = torchrun(tmp_path, *choices, "--run", "cut-off")
    said, _ = resumed.communicate(timeout=120)
    assert resumed.returncode == 0, said
    assert said.count("model written to cut-off") == 1  # once, not by each process
    alone = subprocess.run(
        [sys.executable, "-m", "visitwise", "train", *choices, "--run", "alone"],
        cwd=tmp_path, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert alone.returncode == 0, alone.stderr
    two, one = (load_model(tmp_path / name).state_dict() for name in ("cut-off", "alone"))
    for name, values in two.items():
        torch.testing.assert_close(values, one[name], rtol=1e-3, atol=1e-4)  # float32, over a thousand steps


def test_ctrl_c_leaves_a_checkpoint_and_no_process(tmp_path: Path) -> None:
    random_cohort(60, seed=7).save(tmp_path / "cohort")
    started = torchrun(
        tmp_path, "cohort", "--run", "mine", "--epochs", "5000", "--batch-size", "2", "--patience", "5000"
    )
    checkpoint = tmp_path / "mine" / "checkpoint" / "checkpoint.json"
    workers = workers_after_an_epoch(started, checkpoint)
    started.send_signal(signal.SIGINT)
    said, _ = started.communicate(timeout=120)
    assert started.returncode != 0
    assert "Interrupted. What was finished is kept." in said
    assert not any(Path(f"/proc/{worker}").exists() for worker in workers)
    (weights,) = checkpoint.parent.glob("*.safetensors")
    assert json.loads(checkpoint.read_text())["weights"] == weights.name
    load_model(weights)


FAILS_IN_PROCESS_1 = """
import os
from visitwise.cli import main
from visitwise.cohort import Cohort

deal = Cohort.deal

def spoiled(*given, **choices):
    for number, batch in enumerate(deal(*given, **choices)):
        if number == 3 and os.environ["RANK"] == "1":
            raise ValueError("patient 17 has the code 99; expected 1 to 5")
        yield batch

Cohort.deal = spoiled
main()
"""


def test_a_process_that_fails_under_torchrun_says_why_and_torchrun_repeats_it_at_the_end(tmp_path: Path) -> None:
    random_cohort(60, seed=7).save(tmp_path / "cohort")
    (tmp_path / "spoiled.py").write_text(FAILS_IN_PROCESS_1)
    started = torchrun(tmp_path, "cohort", "--run", "mine", "--batch-size", "2", program=("--", "spoiled.py"))
    said, _ = started.communicate(timeout=120)
    assert started.returncode != 0
    assert "Error: patient 17 has the code 99; expected 1 to 5\n" in said
    last = [line.strip() for line in said.splitlines() if line.strip(" =")][-1]
    assert last == "ValueError: patient 17 has the code 99; expected 1 to 5"
    assert "gloo" not in said  # what the other process's sockets met is no news


# ----------------------------------------------------------------------------------------------------------- devices


def machine_with(monkeypatch: pytest.MonkeyPatch, gpus: int, processes: int = 1, rank: int = 0) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
    monkeypatch.setenv("LOCAL_RANK", str(rank))


def test_a_process_has_a_gpu_of_its_own_or_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for gpus, processes, rank, expected in [
        (0, 1, 0, "cpu"),
        (1, 1, 0, "cuda:0"),
        (2, 2, 1, "cuda:1"),
        (1, 2, 1, "cpu"),
    ]:
        machine_with(monkeypatch, gpus, processes, rank)
        assert device_of() == torch.device(expected)
        assert device_of("cpu") == torch.device("cpu")
    with pytest.raises(ValueError, match="1 GPUs for 2 processes on this machine; expected one for each, or the CPU"):
        device_of("cuda")
    machine_with(monkeypatch, 4, processes=2, rank=1)
    assert device_of("cuda") == torch.device("cuda:1")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What `torch.distributed` is asked for by a process that believes `torchrun` started it."""
    calls: list[object] = []
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setattr(torch.cuda, "set_device", calls.append)
    monkeypatch.setattr(dist, "init_process_group", calls.append)
    monkeypatch.setattr(dist, "get_rank", lambda: 1)
    monkeypatch.setattr(dist, "destroy_process_group", lambda: calls.append("left"))
    return calls


def test_processes_talk_through_nccl_about_what_is_on_a_gpu(asked: list[object]) -> None:
    with joined(torch.device("cuda:1")) as rank:
        assert rank == 1
    assert asked == [torch.device("cuda:1"), "cpu:gloo,cuda:nccl", "left"]


def test_on_the_cpu_they_talk_through_gloo_and_who_loses_another_says_so(asked: list[object]) -> None:
    with pytest.raises(ConnectionError, match="process 1 lost another one; torchrun's report says why"), joined():
        raise RuntimeError("[gloo/transport/tcp/pair.cc:538] Connection closed by peer [127.0.0.1]:17")
    assert asked == ["gloo", "left"]
    with pytest.raises(RuntimeError, match="not enough memory"), joined():
        raise RuntimeError("not enough memory")


def test_patients_go_where_the_model_is(cohorts: tuple[Cohort, Cohort], monkeypatch: pytest.MonkeyPatch) -> None:
    """On the device of no memory, which every machine has: the model is asked there, and cannot answer."""

    def nowhere(visits: Visits) -> Tensor:
        assert all(values.device.type == "meta" for values in arrays_of(visits).values())
        raise LookupError("asked on meta")

    elsewhere = a_model(cohorts[0]).to("meta")
    monkeypatch.setattr(elsewhere, "_outputs", nowhere)
    monkeypatch.setattr(torch.optim, "AdamW", lambda parameters, **_: torch.optim.SGD(parameters))
    for ask in (
        lambda: fit(elsewhere, *cohorts, progress=False),
        lambda: evaluate_nll(elsewhere, cohorts[1]),
        lambda: elsewhere.predict(cohorts[1].visits),
    ):
        with pytest.raises(LookupError, match="asked on meta"):
            ask()


# ------------------------------------------------------------------------------------------------------------- means


def one_patient_at_a_time(model: SurvivalRNN, cohort: Cohort) -> Tensor:
    """The gradient of the mean over patients, a patient at a time, in one process."""
    total = torch.zeros(sum(parameter.numel() for parameter in model.parameters()), dtype=torch.float64)
    for patient in torch.arange(len(cohort)):
        alone = cohort.select(patient[None])
        loss = outcome_nll(model(alone.visits), alone.outcome, reduction="sum")
        total += torch.cat([part.flatten() for part in torch.autograd.grad(loss, list(model.parameters()))])
    return total / len(cohort)


def what_processes_are_for(model: SurvivalRNN, shares: list[Cohort]) -> dict[str, object]:
    """All that is tested of connected processes, in one go: starting them takes seconds."""
    rank = dist.get_rank()
    # One process has no patient, and takes part with nothing.
    head = DistributedDataParallel(nn.Linear(1, 1, bias=False).double())
    outputs = head(torch.full((3, 1), float(rank + 1), dtype=torch.float64))
    exact_mean(outputs.sum() * (rank == 0), count=3 * (rank == 0)).backward()
    try:
        exact_mean(torch.tensor(0.0), count=0)
    except ValueError as error:
        refused = str(error)
    try:
        step_gradients(model, [*shares, shares[0]], [exact_mean], "patient")
    except ValueError as error:
        too_many = str(error)
    return {
        "rank": rank,
        "too_many": too_many,
        "threads": torch.get_num_threads(),
        "scaled": exact_mean(torch.tensor(6.0), count=4 if rank else 2).item(),
        "per_patient": step_gradients(model, shares, [own_mean, exact_mean], "patient"),
        "per_row": step_gradients(model, shares, [exact_mean], "row"),
        "nothing": head.module.weight.grad.item(),
        "refused": refused,
        "untouched": all(parameter.grad is None for parameter in model.parameters()),
    }


def test_two_processes_with_exact_means_have_the_gradient_of_a_loop_over_patients():
    cohort = random_cohort(40, seed=5)
    order = cohort.visits.length.argsort(stable=True)
    model, shares = a_model(cohort), [cohort.select(order[:30]), cohort.select(order[30:])]
    zero, one = run_processes(what_processes_are_for, 2, model, shares)
    assert (zero["rank"], one["rank"], zero["threads"]) == (0, 1, 1)
    assert torch.equal(zero["per_patient"], one["per_patient"])
    slow = one_patient_at_a_time(model, cohort)
    own, exact = zero["per_patient"]
    torch.testing.assert_close(exact, slow, rtol=0, atol=1e-12)
    torch.testing.assert_close(zero["per_row"][0], slow * len(cohort) / cohort.outcome.n_rows, rtol=0, atol=1e-12)
    by_hand = sum(one_patient_at_a_time(model, share) for share in shares) / 2
    torch.testing.assert_close(own, by_hand, rtol=0, atol=1e-12)
    assert (own - exact).norm() > 0.1 * exact.norm()
    assert zero["scaled"] == one["scaled"] == 6.0 * 2 / 6
    assert zero["nothing"] == one["nothing"] == pytest.approx(1.0)  # the mean of three ones; the twos have no say
    assert zero["refused"] == "2 processes count 0 together; expected at least 1"
    assert zero["untouched"]
    assert zero["too_many"] == "3 shares for 2 processes; expected one for each"


def test_without_processes_it_is_the_mean():
    assert exact_mean(torch.tensor(6.0), count=4) == 1.5


def test_counts_that_are_none_are_refused():
    with pytest.raises(ValueError, match=r"count is -1; expected 0 or more"):
        exact_mean(torch.tensor(6.0), count=-1)
    with pytest.raises(ValueError, match=r"1 processes count 0 together; expected at least 1"):
        exact_mean(torch.tensor(6.0), count=0)
    with pytest.raises(ValueError, match=r"n_processes is 0; expected at least 1"):
        run_processes(operator.truediv, 0, 1, 0)


def test_a_process_that_fails_is_named_with_what_it_said():
    with pytest.raises(RuntimeError, match=r"process 0 of 1 failed: .*ZeroDivisionError: division by zero"):
        run_processes(operator.truediv, 1, 1, 0)


def test_a_process_that_hangs_is_ended():
    begin = time.monotonic()
    with pytest.raises(TimeoutError, match=r"process 0 of 1 was still running after 0.2 s"):
        run_processes(time.sleep, 1, 1_000, timeout_seconds=0.2)
    assert time.monotonic() - begin < 60
