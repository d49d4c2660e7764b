"""The training loop on one screen, and the checkpoint that lets it go on where it was killed."""

import json
import math
import os
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, get_args

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from visitwise._checks import check_whole
from visitwise._explain import explained
from visitwise._ragged import arrays_of
from visitwise.cohort import Cohort, Outcome, require_disjoint
from visitwise.functional import Reduction
from visitwise.losses import outcome_competing_nll, outcome_horizon_nll, outcome_nll
from visitwise.model import CompetingRisksRNN, HorizonRNN, SurvivalRNN
from visitwise.parallel import begin_alike, place, sum_gradients, sum_over_processes
from visitwise.visits import CHUNK, Schema, Visits

SINGLE_FILE = ".safetensors"

# Numbers of state in one part of a batch. An LSTM's work space then stays below 32 MB, the most that glibc keeps for
# the next call; beyond, each call asks the system for fresh pages and takes a third longer.
STATES = 2**19

Model = SurvivalRNN | CompetingRisksRNN | HorizonRNN
OutcomeLoss = Callable[[Tensor, Outcome, Reduction], Tensor]

LOSSES: dict[type, OutcomeLoss] = {
    SurvivalRNN: outcome_nll,
    CompetingRisksRNN: outcome_competing_nll,
    HorizonRNN: outcome_horizon_nll,
}


@dataclass
class History:
    """Negative log-likelihood per row (patient and interval at risk), epoch by epoch; training values are taken while
    the weights move."""

    train_nll: list[float] = field(default_factory=list)
    validation_nll: list[float] = field(default_factory=list)

    @property
    def best_epoch(self) -> int:
        """Epoch with the lowest validation value, from 0; the last one where nobody was asked."""
        if not self.validation_nll:
            return len(self.train_nll) - 1
        return min(range(len(self.validation_nll)), key=self.validation_nll.__getitem__)


@explained
def fit(
    model: Model,
    train: Cohort,
    validation: Cohort | None,
    *,
    loss: OutcomeLoss = outcome_nll,
    epochs: int = 20,
    batch_size: int = 256,
    learning_rate: float = 3e-3,
    weight_decay: float = 0.0,
    patience: int = 5,
    window: int = 1,
    padded_visits: int | None = None,
    seed: int = 0,
    checkpoint: str | os.PathLike[str] | None = None,
    after_epoch: Callable[[Model, History], None] | None = None,
    progress: bool = True,
) -> History:
    """Fit a model by maximum likelihood and leave it with the weights of its best epoch on the validation patients.

    Where `torch.distributed` is ready, call it in every process, with the same arguments: each works off its share of
    every batch, and the gradients are summed. All end with the weights that one process would have found, up to
    rounding. Process 0 writes the checkpoint, and any number of processes goes on from it. Each part of a batch goes to
    the device that the model is on, and a run goes on from its checkpoint on any other.

    Args:
        model: The model; trained in place.
        train: Patients to learn from.
        validation: Other patients, who decide when to stop. With None all epochs are run and the last weights kept.
        loss: Of what the model says and the outcomes, with a reduction: `outcome_nll` for a `SurvivalRNN`,
            `outcome_competing_nll` for a `CompetingRisksRNN`, `outcome_horizon_nll` for a `HorizonRNN`.
        epochs: Passes over the training patients, at most.
        batch_size: Patients a step.
        learning_rate: Step size at the start; falls to zero along a cosine over `epochs`.
        weight_decay: Pull of the weights towards zero (AdamW).
        patience: Epochs without a better validation value after which training stops.
        window: Batches drawn together and sorted by length, see `Cohort.batches`.
        padded_visits: A batch is worked off in parts of at most this size, see `Cohort.parts`, or of about this size
            where records lie in rows, see `Cohort.portions`. Bounds the memory of a step; changes the gradient by
            rounding alone. Not given, it is 524,288 divided by the length of the state.
        seed: Decides the order of the patients.
        checkpoint: Folder to write the state to after each epoch. If it holds one already, training goes on from it,
            to the same weights as if it had never stopped.
        after_epoch: Called after each epoch with the model as it is then and the history so far, to keep the weights or
            to draw them.
        progress: Whether to show a progress bar.

    Raises:
        ValueError: A patient is in both cohorts, a setting is below 1, the loss is that of another kind of model, or
            the checkpoint belongs to a run with other choices, other patients or other first weights.

    Examples:
        >>> from visitwise.simulate import TEACHING
        >>> train, validation = TEACHING.draw(300, seed=0).cohort.split([0.8, 0.2], seed=0)
        >>> model = SurvivalRNN.for_cohort(train, embedding=4, hidden=8)
        >>> history = fit(model, train, validation, epochs=2, progress=False)
        >>> history.validation_nll[1] < history.validation_nll[0]
        True
    """
    cohorts = {"train": train} | ({} if validation is None else {"validation": validation})
    require_disjoint(*cohorts.values())
    _check_loss(loss, model)
    for name, value in (("epochs", epochs), ("batch_size", batch_size), ("patience", patience)):
        check_whole(value, name)
    if padded_visits is None:
        padded_visits = STATES // model.recurrence.hidden_size
    rank, world = place()
    begin_alike(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=weight_decay, fused=True)
    run = _Run(model, optimizer, History(), best=_copy(model))
    choices: dict[str, Any] = {
        "epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate, "weight_decay": weight_decay,
        "patience": patience, "window": window, "padded_visits": padded_visits, "seed": seed,
        "loss": _name_of(loss), "model": model.settings,
    }  # fmt: skip
    if checkpoint is not None:
        choices["first weights"] = _digest(model.state_dict())
        for name in ("train", "validation"):
            choices[name] = _digest_of_patients(cohorts[name]) if name in cohorts else None
        run.resume(Path(checkpoint), choices)
    optimizer.zero_grad()  # of whatever was computed with this model before
    n_batches = math.ceil(len(train) / batch_size)
    # One constant for the whole epoch. A mean over each batch would weigh a row by the company it happens to be in.
    rows_per_batch = train.outcome.n_rows / n_batches

    while len(run.history.train_nll) < epochs and not run.has_stalled(patience):
        epoch = len(run.history.train_nll)
        batches = train.deal(batch_size, seed=seed, epoch=epoch, window=window)
        shown = progress and rank == 0
        bar = tqdm(batches, total=n_batches, desc=f"epoch {epoch + 1}/{epochs}", disable=not shown, leave=False)
        model.train()
        total = 0.0
        for step, patients in enumerate(bar, start=epoch * n_batches):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate * (1 + math.cos(math.pi * step / (epochs * n_batches))) / 2
            own = patients[rank::world]  # nobody, if there are fewer patients than processes
            for part in _parts(model, train.select(own), padded_visits) if len(own) else ():
                nll = loss(model(part.visits), part.outcome, "sum")
                (nll / rows_per_batch).backward()
                total += nll.item()
            sum_gradients(model)
            optimizer.step()
            optimizer.zero_grad()
        model.eval()
        totals = [total]
        if validation is not None:
            totals.append(_total_nll(model, validation, torch.arange(len(validation))[rank::world], loss))
        total, *judged = sum_over_processes(torch.tensor(totals, dtype=torch.float64)).tolist()
        run.history.train_nll.append(total / train.outcome.n_rows)
        if validation is not None:
            run.history.validation_nll.append(judged[0] / validation.outcome.n_rows)
        if run.history.best_epoch == epoch:
            run.best = _copy(model)
        if checkpoint is not None and rank == 0:
            run.write(Path(checkpoint), choices)
        if after_epoch is not None:
            after_epoch(model, run.history)
    model.load_state_dict(run.best)
    model.eval()
    return run.history


@explained
def evaluate_nll(
    model: Callable[[Visits], Tensor], cohort: Cohort, *, loss: OutcomeLoss = outcome_nll, batch_size: int = 1024
) -> float:
    """Negative log-likelihood per row at risk of these patients' outcomes.

    Args:
        model: A `SurvivalRNN`, or anything else that turns visits into hazard logits `[patient, visit]`, or into what
            another loss reads.
        cohort: The patients.
        loss: As in `fit`.
        batch_size: Patients at a time; does not change the result beyond rounding.

    Examples:
        >>> from visitwise.simulate import TEACHING
        >>> train, validation = TEACHING.draw(100, seed=0).cohort.split([0.8, 0.2], seed=0)
        >>> model = SurvivalRNN.for_cohort(train, embedding=4, hidden=8)
        >>> 0 < evaluate_nll(model, validation) < 1
        True
    """
    check_whole(batch_size, "batch_size")
    return _total_nll(model, cohort, torch.arange(len(cohort)), loss, batch_size) / cohort.outcome.n_rows


@torch.no_grad()
def _total_nll(
    model: Callable[[Visits], Tensor], cohort: Cohort, patients: Tensor, loss: OutcomeLoss, batch_size: int = 1024
) -> float:
    """Negative log-likelihood of some patients' outcomes."""
    batches = (cohort.select(some) for some in patients.split(int(batch_size)) if len(some))
    parts = (part for batch in batches for part in _parts(model, batch, padded_visits=4096))
    return sum(loss(model(part.visits), part.outcome, "sum").item() for part in parts)


def _parts(model: Callable[[Visits], Tensor], batch: Cohort, padded_visits: int) -> Iterator[Cohort]:
    """The parts of a batch, each on the device of the model when its turn comes."""
    first = next(model.parameters(), None) if isinstance(model, torch.nn.Module) else None
    in_rows = getattr(model, "path", None) == "rows"
    for part in batch.portions(padded_visits) if in_rows else batch.parts(padded_visits):
        yield part if first is None or first.device == part.visits.day.device else part.to(first.device)


# ------------------------------------------------------------------------------------------------- models on disk


@explained
def save_model(model: Model, path: str | os.PathLike[str]) -> None:
    """Write a model: its weights, its kind and settings, and the names of its inputs.

    Args:
        model: The model.
        path: A folder, which gets `model.json` and the weights beside it; or, if it ends in `.safetensors`, one file
            that holds all of it, such as the playground reads.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> model = SurvivalRNN(Schema.of(["asthma", "gout"]), embedding=4, hidden=8)
        >>> with TemporaryDirectory() as folder:
        ...     save_model(model, f"{folder}/mine.safetensors")
        ...     same = load_model(f"{folder}/mine.safetensors")
        >>> same.schema == model.schema
        True
    """
    path, description = Path(path), _describe(model)
    if path.suffix != SINGLE_FILE:
        _write(path, "model", dict(model.state_dict()), description, description)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}")
    _save(dict(model.state_dict()), unfinished, description)
    unfinished.replace(path)


@explained
def load_model(path: str | os.PathLike[str]) -> Model:
    """A model written by `save_model`, from its folder or its file. Numbers and JSON are read; nothing is unpickled.

    The weights' file of a checkpoint can be read, too, and gives the best model so far.

    Raises:
        FileNotFoundError: There is no model in the folder, or no such file.
        ValueError: The weights do not fit the description beside them.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> model = SurvivalRNN(Schema.of(["asthma", "gout"]), embedding=4, hidden=8)
        >>> with TemporaryDirectory() as folder:
        ...     save_model(model, f"{folder}/mine.safetensors")
        ...     same = load_model(f"{folder}/mine.safetensors")
        >>> same.schema == model.schema
        True
    """
    folder = Path(path)
    tensors, description = _read_file(folder) if folder.suffix == SINGLE_FILE else _read(folder, "model")
    try:
        schema = Schema(**{kind: tuple(names) for kind, names in description["schema"].items()})
        kinds = {kind.__name__: kind for kind in get_args(Model)}
        model: Model = kinds[description.get("kind", SurvivalRNN.__name__)](schema, **description["settings"])
        model.to(tensors.get("head.weight", model.head.weight).dtype)
        model.load_state_dict(tensors)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{folder} holds a model whose weights do not fit its description: {reason}") from error
    model.eval()
    return model


def _describe(model: Model) -> dict[str, Any]:
    return {"kind": type(model).__name__, "settings": model.settings, "schema": asdict(model.schema)}


def _check_loss(loss: OutcomeLoss, model: Model) -> None:
    """Causes read as intervals, or the other way round, have the right shape and would train without a word."""
    own = LOSSES.get(type(model))
    if own is not None and loss in LOSSES.values() and loss is not own:
        raise ValueError(f"loss is {_name_of(loss)} for a {type(model).__name__}; expected {_name_of(own)}")


def _name_of(loss: Callable[..., object]) -> str:
    """A name that is the same in the next process: no address, which the `repr` of a function has."""
    if isinstance(loss, partial):
        settings = [repr(value) for value in loss.args] + [f"{name}={value!r}" for name, value in loss.keywords.items()]
        return f"{_name_of(loss.func)}({', '.join(settings)})"
    return getattr(loss, "__name__", repr(loss))


@dataclass
class _Run:
    """All that changes during training."""

    model: Model
    optimizer: torch.optim.Optimizer
    history: History
    best: dict[str, Tensor]

    def has_stalled(self, patience: int) -> bool:
        done = len(self.history.validation_nll)
        return done > 0 and done - 1 - self.history.best_epoch >= patience

    def write(self, folder: Path, choices: Mapping[str, Any]) -> None:
        state = self.optimizer.state_dict()
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {f"best.{name}": value for name, value in self.best.items()}
        for parameter, moments in state["state"].items():
            tensors |= {f"optimizer.{parameter}.{name}": value for name, value in moments.items()}
        description = {"choices": choices, "history": asdict(self.history)}
        _write(folder, "checkpoint", tensors, description, _describe(self.model))

    def resume(self, folder: Path, choices: Mapping[str, Any]) -> None:
        if not (folder / "checkpoint.json").exists():
            return
        tensors, description = _read(folder, "checkpoint")
        for name, value in choices.items():
            before = description["choices"].get(name)
            if before != value:
                raise ValueError(
                    f"{folder} holds a run with {name} = {before}, not {value}; expected the same "
                    "choices, another folder, or this one emptied"
                )
        self.history = History(**description["history"])
        self.model.load_state_dict(_below("model.", tensors))
        self.best = _below("best.", tensors)
        state = self.optimizer.state_dict()
        for name, value in _below("optimizer.", tensors).items():
            parameter, moment = name.split(".")
            state["state"].setdefault(int(parameter), {})[moment] = value
        self.optimizer.load_state_dict(state)


def _digest(arrays: Mapping[str, Tensor]) -> str:
    """A checksum of tensors, their names and their types: enough to notice that a run was given something else."""
    check = 0
    for name, values in sorted(arrays.items()):
        check = zlib.crc32(f"{name} {values.dtype} {list(values.shape)}".encode(), check)
        check = zlib.crc32(values.detach().cpu().contiguous().numpy().data, check)
    return f"{check:08x}"


def _digest_of_patients(cohort: Cohort) -> str:
    """A checksum of a cohort, of which each process reads its share; the same for any number of processes."""
    rank, world = place()
    chunks = torch.arange(len(cohort)).split(CHUNK)
    checks = torch.zeros(len(chunks), dtype=torch.int64)
    for number in range(rank, len(chunks), world):
        some = cohort.select(chunks[number])
        checks[number] = int(_digest(arrays_of(some.visits) | arrays_of(some.outcome)), 16)
    return _digest({"patients": sum_over_processes(checks)})


def _copy(model: Model) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _save(tensors: Mapping[str, Tensor], path: Path, model: Mapping[str, Any]) -> None:
    """Write weights and, in the same file, which model they belong to; on the disk when this returns."""
    metadata = {"visitwise": json.dumps(model, ensure_ascii=False)}
    path.touch()
    mode = path.stat().st_mode
    try:
        save_file({name: value.contiguous() for name, value in tensors.items()}, path, metadata)
    except SafetensorError as error:
        path.unlink(missing_ok=True)
        raise OSError(f"{path} cannot be written: {error}") from error
    path.chmod(mode)  # `save_file` lets nobody else read it
    with path.open("rb") as written:
        os.fsync(written.fileno())


def _write(
    folder: Path, kind: str, tensors: Mapping[str, Tensor], description: Mapping[str, Any], model: Mapping[str, Any]
) -> None:
    """Write the weights under a name of their own, then the description that names them: all of it, or none."""
    folder.mkdir(parents=True, exist_ok=True)
    previous = set(folder.glob(f"{kind}-{'[0-9a-f]' * 8}.safetensors"))
    weights = folder / f"{kind}-{os.urandom(4).hex()}.safetensors"
    _save(tensors, weights, model)
    unfinished = folder / f".{kind}.json"
    unfinished.write_text(json.dumps({"weights": weights.name, **description}, indent=1, ensure_ascii=False), "utf-8")
    with unfinished.open("rb") as written:
        os.fsync(written.fileno())
    unfinished.replace(folder / f"{kind}.json")
    for path in previous:
        path.unlink()


def _read_file(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Weights and description from one file."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there; expected a file written by save_model")
    try:
        with safe_open(path, "pt") as file:
            description: Any = json.loads((file.metadata() or {})["visitwise"])
        if not isinstance(description, dict):
            raise ValueError(f"its description is {description!r}; expected an object")
        tensors = load_file(path)
        return _below("best.", tensors) or tensors, description
    except KeyError as error:
        message = f"{path} does not say which model its weights belong to; expected a file written by save_model"
        raise ValueError(message) from error
    except (ValueError, OSError, SafetensorError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error


def _read(folder: Path, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    description_file = folder / f"{kind}.json"
    if not description_file.is_file():
        raise FileNotFoundError(f"{folder} holds no {kind}.json; expected a folder written by this package")
    try:
        description = json.loads(description_file.read_text("utf-8"))
        weights = folder / Path(description.pop("weights")).name
        return load_file(weights), description
    except (ValueError, KeyError, TypeError, AttributeError, OSError, SafetensorError) as error:
        raise ValueError(f"{description_file} or its weights cannot be read: {error}") from error
