"""Several processes that train one model: the mean that is right, and a way to run them on one machine."""

import copy
import os
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import torch
import torch.distributed as dist
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.distributed.elastic.multiprocessing.errors import get_error_handler
from torch.nn.parallel import DistributedDataParallel

from visitwise._checks import check_whole
from visitwise._explain import explained
from visitwise.cohort import Cohort
from visitwise.losses import outcome_nll
from visitwise.model import SurvivalRNN

Mean = Callable[[Tensor, int], Tensor]
Unit = Literal["patient", "row"]
Device = Literal["auto", "cpu", "cuda"]

CPU = torch.device("cpu")
# What gloo says of a process that has ended.
LOST = ("closed by peer", "reset by peer", "Broken pipe", "Connection refused")


@explained
def exact_mean(loss_sum: Float[Tensor, ""], count: int) -> Float[Tensor, ""]:
    """The loss of this process, scaled so that the average of all processes' gradients is that of one mean over all.

    `loss_sum * world / total`, where `world` is the number of processes and `total` is what they count together.
    `DistributedDataParallel` adds the gradients up and divides by `world`, which cancels. The value is no mean of this
    process's own patients; only the average over the processes is a mean. Without processes it is `loss_sum / count`.

    Every process has to call it, also one without patients: its sum is then 0 times something the model computed,
    since the others wait for its gradient.

    Args:
        loss_sum: Sum of the losses of this process.
        count: How many patients, or how many rows, the sum is over; 0 or more.

    Raises:
        ValueError: The count is negative, or all processes count 0.

    Source:
        Goyal et al. (2017), "Accurate, large minibatch SGD", which divides each worker's loss by the size of the whole
        batch.

    Examples:
        >>> exact_mean(torch.tensor(6.0), count=4)
        tensor(1.5000)
    """
    check_whole(count, "count", least=0)
    if loss_sum.dim() or loss_sum.is_complex():
        raise ValueError(f"loss_sum is {loss_sum.dtype} of shape {list(loss_sum.shape)}; expected one real number")
    total, world = torch.tensor(count, device=loss_sum.device), 1
    if dist.is_initialized():
        world = dist.get_world_size()
        dist.all_reduce(total)
    if int(total) == 0:
        raise ValueError(f"{world} processes count 0 together; expected at least 1")
    return loss_sum * world / total


def place() -> tuple[int, int]:
    """The number of this process, from 0, and of how many there are.

    Examples:
        >>> place()
        (0, 1)
    """
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


@explained
def sum_over_processes(values: Shaped[Tensor, "*shape"]) -> Shaped[Tensor, "*shape"]:
    """The sum of what all processes hold, in every one of them; alone, the values themselves.

    Examples:
        >>> sum_over_processes(torch.tensor([2.0, 3.0]))
        tensor([2., 3.])
    """
    if dist.is_initialized():
        dist.all_reduce(values)
    return values


@torch.no_grad()
@explained
def begin_alike(model: nn.Module) -> None:
    """Every process gets the weights and buffers of process 0.

    Examples:
        >>> begin_alike(nn.Linear(2, 1))  # alone, it begins as it is
    """
    if dist.is_initialized():
        for values in model.state_dict().values():
            dist.broadcast(values, 0)


@explained
def sum_gradients(model: nn.Module) -> None:
    """Every process gets the sum of all processes' gradients, in one message; alone, nothing happens.

    A sum needs no care for shares of unequal size: divide the loss by what is the same for all, as `fit` does, and it
    is the gradient of one process. Who had no patient adds zeros. `DistributedDataParallel` sends its message during a
    backward pass: it has to be told which part of a batch is the last, and who has no part has to make one up.

    Examples:
        >>> model = nn.Linear(2, 1, bias=False)
        >>> model(torch.tensor([[1.0, 2.0], [3.0, 4.0]])).sum().backward()
        >>> sum_gradients(model)
        >>> model.weight.grad
        tensor([[4., 6.]])
    """
    if not dist.is_initialized():
        return
    parameters = list(model.parameters())
    own = [torch.zeros_like(each) if each.grad is None else each.grad for each in parameters]
    together = sum_over_processes(torch.cat([gradient.flatten() for gradient in own]))
    for each, summed in zip(parameters, together.split([each.numel() for each in parameters]), strict=True):
        each.grad = summed.view_as(each)


@explained
def device_of(choice: Device = "auto") -> torch.device:
    """Where this process computes: on a GPU of its own if there is one for each process of this machine, or the CPU.

    Args:
        choice: `"cpu"` or `"cuda"` to be sure of it.

    Raises:
        ValueError: It has to be a GPU, and there are fewer than processes.

    Examples:
        >>> device_of("cpu")
        device(type='cpu')
    """
    rank, processes = (int(os.environ.get(name, least)) for name, least in (("LOCAL_RANK", 0), ("LOCAL_WORLD_SIZE", 1)))
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if choice == "cuda" and gpus < processes:
        raise ValueError(f"{gpus} GPUs for {processes} processes on this machine; expected one for each, or the CPU")
    return torch.device("cuda", rank) if choice != "cpu" and gpus >= processes else torch.device("cpu")


@contextmanager
def joined(device: torch.device = CPU) -> Iterator[int]:
    """Joins the processes that `torchrun` started, if it started this one, and leaves them at the end; gives the rank.

    They talk through `gloo`, about what lies on a GPU through `nccl`. If a process dies, `torchrun` ends the others.

    Args:
        device: Where this process computes, see `device_of`.

    Raises:
        ConnectionError: Another process is gone.

    Examples:
        >>> with joined() as rank:
        ...     rank
        0
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ or dist.is_initialized():
        yield place()[0]
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    try:
        yield dist.get_rank()
    except Exception as error:
        if isinstance(error, RuntimeError) and any(sign in str(error) for sign in LOST):
            raise ConnectionError(f"process {dist.get_rank()} lost another one; torchrun's report says why") from error
        get_error_handler().record_exception(error)  # for the report with which `torchrun` ends
        raise
    finally:
        dist.destroy_process_group()


@explained
def step_gradients(
    model: SurvivalRNN, shares: Sequence[Cohort], means: Sequence[Mean], per: Unit
) -> Float[Tensor, "mean parameter"]:
    """The gradient of one training step that every process holds, for each way to take the mean.

    Run it in as many processes as there are shares: `run_processes(step_gradients, 2, model, shares, means, "row")`.

    Args:
        model: The model; left as it is.
        shares: The patients of each process.
        means: Functions of a process's sum of losses and its count, such as `exact_mean`.
        per: What is counted, patients or rows at risk.

    Raises:
        ValueError: There are not as many shares as processes.
    """
    if len(shares) != dist.get_world_size():
        raise ValueError(f"{len(shares)} shares for {dist.get_world_size()} processes; expected one for each")
    share = shares[dist.get_rank()]
    count = len(share) if per == "patient" else share.outcome.n_rows
    gradients = []
    for mean in means:
        replica = DistributedDataParallel(copy.deepcopy(model))
        loss_sum = outcome_nll(replica(share.visits), share.outcome, reduction="sum")
        mean(loss_sum, count).backward()
        found = [parameter.grad for parameter in replica.parameters()]
        gradients.append(torch.cat([gradient.flatten() for gradient in found if gradient is not None]))
    return torch.stack(gradients)


# ----------------------------------------------------------------------------------------------------- processes


@explained
def run_processes(
    work: Callable[..., Any], n_processes: int, *arguments: Any, timeout_seconds: float = 300
) -> list[Any]:
    """What `work(*arguments)` returns in each of several processes on this machine.

    In each, `torch.distributed` is ready (on the CPU, with `gloo`) and PyTorch uses one thread. For trying out and for
    tests; across machines, `torchrun` starts the processes.

    Args:
        work: A function that can be imported: of a module, not of a notebook.
        n_processes: How many processes, 1 or more.
        arguments: What it is given, the same in each process; has to be picklable, as its result has.
        timeout_seconds: After so long, all processes are ended.

    Raises:
        ValueError: There is to be no process.
        TimeoutError: A process was still running after `timeout_seconds`, for instance because it waited for another.
        RuntimeError: A process failed; holds the last line of what it said.
    """
    if n_processes < 1:
        raise ValueError(f"n_processes is {n_processes}; expected at least 1")
    with tempfile.TemporaryDirectory(prefix="visitwise-") as name:
        folder = Path(name)
        (folder / "work").write_bytes(pickle.dumps((work, arguments)))
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", "from visitwise.parallel import _child; _child()", name]
        command += [f"{n_processes}", f"{timeout_seconds}"]
        said = [(folder / f"{rank}.said").open("w+", encoding="utf-8") for rank in range(n_processes)]
        children = [
            subprocess.Popen([*command, f"{rank}"], env=environment, stdout=output, stderr=output)
            for rank, output in enumerate(said)
        ]
        try:
            _wait(children, said, timeout_seconds)
        finally:
            for child, output in zip(children, said, strict=True):
                child.kill()
                child.wait()
                output.close()
        return [pickle.loads((folder / f"{rank}.result").read_bytes()) for rank in range(n_processes)]


def _wait(children: Sequence[subprocess.Popen[bytes]], said: Sequence[Any], timeout_seconds: float) -> None:
    """Return when all have ended well; raise as soon as one has not, or when time is up."""
    until = time.monotonic() + timeout_seconds
    while any(child.poll() is None for child in children):
        _raise_first_failure(children, said)
        if time.monotonic() > until:
            running = [rank for rank, child in enumerate(children) if child.poll() is None]
            raise TimeoutError(f"process {running[0]} of {len(children)} was still running after {timeout_seconds:g} s")
        time.sleep(0.02)
    _raise_first_failure(children, said)


def _raise_first_failure(children: Sequence[subprocess.Popen[bytes]], said: Sequence[Any]) -> None:
    for rank, (child, output) in enumerate(zip(children, said, strict=True)):
        if child.poll():
            output.seek(0)
            lines = output.read().strip().splitlines() or [f"exit status {child.returncode}"]
            raise RuntimeError(f"process {rank} of {len(children)} failed: {lines[-1]}")


def _child() -> None:
    """What one process does: join the others, work, leave its result in the folder."""
    folder, n_processes, timeout_seconds, rank = (
        Path(sys.argv[1]),
        int(sys.argv[2]),
        float(sys.argv[3]),
        int(sys.argv[4]),
    )
    torch.set_num_threads(1)
    meet, timeout = (folder / "store").as_uri(), timedelta(seconds=timeout_seconds)
    dist.init_process_group("gloo", init_method=meet, rank=rank, world_size=n_processes, timeout=timeout)
    try:
        work, arguments = pickle.loads((folder / "work").read_bytes())
        (folder / f"{rank}.result").write_bytes(pickle.dumps(work(*arguments)))
    finally:
        dist.destroy_process_group()
