"""Several processes with one model: the exact mean against a slow loop, and processes that fail or hang."""

import operator
import time

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from tests.cohorts import random_cohort
from visitwise.check.scale import own_mean
from visitwise.cohort import Cohort
from visitwise.losses import outcome_nll
from visitwise.model import SurvivalRNN
from visitwise.parallel import exact_mean, run_processes, step_gradients


def a_model(cohort: Cohort) -> SurvivalRNN:
    return SurvivalRNN.for_cohort(cohort, embedding=4, hidden=5).double()


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
