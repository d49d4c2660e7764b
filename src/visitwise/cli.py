"""The command line: `visitwise simulate | describe | train | evaluate | predict`.

Nothing heavy is imported until a command runs, so that `--help` answers at once.
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from visitwise.cohort import Cohort
    from visitwise.model import SurvivalRNN
    from visitwise.parallel import Device

NAMED = ("small", "nafld", "pbc")
RIVALS_PATIENTS = 100_000  # at most: its table of features takes about 10 kB each
WORLDS = ("teaching", "order-only", "no-memory")
LIFE_TABLE, ORACLE = "life table", "oracle (true hazard)"

EPILOG = """
\b
A first run, start to end:
  visitwise simulate cohort --patients 5000 --seed 1
  visitwise describe cohort
  visitwise train cohort --run first
  visitwise evaluate cohort --run first
  visitwise predict cohort --run first --out predictions.csv

Where a COHORT is asked for, give a folder written by `visitwise simulate` or `Cohort.save`, or one of the names small,
nafld and pbc (the last two need `pip install "visitwise[datasets]"`).

Exit codes: 0 done, 1 the input was refused (the message says why), 2 wrong usage, 130 interrupted.
"""


class Refused(click.ClickException):
    """An error with a message for a person, and no traceback."""

    exit_code = 1


def _command(run: Callable[..., None]) -> Callable[..., None]:
    """Turn the package's own errors into messages, and Ctrl-C into exit code 130."""

    @functools.wraps(run)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        try:
            run(*args, **kwargs)
        except (ValueError, OSError, ModuleNotFoundError) as error:
            raise Refused(str(error)) from error
        except KeyboardInterrupt:
            click.echo("\nInterrupted. What was finished is kept.", err=True)
            raise SystemExit(130) from None

    return wrapped


@click.group(epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="visitwise")
def main() -> None:
    """Discrete-time survival analysis on visit sequences.

    A patient is a row of visits. At each visit a model gives the hazard: the probability that the event happens before
    the next contact, for a patient who has not had it yet. Training maximises the likelihood of what was seen,
    censored patients included.
    """


@main.command(short_help="Write a simulated cohort whose true hazard is known.")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--patients", default=5_000, show_default=True, type=click.IntRange(1), help="Number of patients.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Another seed, other patients.")
@click.option(
    "--world", default="teaching", show_default=True, type=click.Choice(WORLDS), help="What drives the event."
)
@_command
def simulate(out: Path, patients: int, seed: int, world: str) -> None:
    """Write a simulated cohort, whose true hazard is known, to the folder OUT.

    The worlds: in `teaching` age, today's diagnoses and the history all matter; in `order-only` nothing but the order
    of two diagnoses does; in `no-memory` only age and today do. The true hazard is stored beside the cohort, and
    `visitwise evaluate` says how much of what could be learned was. Any number of patients takes no more memory than a
    few thousand. If it is interrupted, give the same command again: it goes on.
    """
    from visitwise import simulate as worlds
    from visitwise.cohort import Cohort

    simulator = {"teaching": worlds.TEACHING, "order-only": worlds.ORDER_ONLY, "no-memory": worlds.NO_MEMORY}[world]
    simulator.draw_to(out, patients, seed, progress=True)
    click.echo(f"{Cohort.load(out)}\nwritten to {out}")


@main.command(short_help="Say what is in a cohort.")
@click.argument("cohort")
@_command
def describe(cohort: str) -> None:
    """Say what is in COHORT: patients, visits, codes, follow-up and outcomes."""
    import torch

    data = _open(cohort)
    visits, outcome = data.visits, data.outcome
    per_visit = visits.code_offsets.diff()
    counts = torch.bincount(visits.codes.long(), minlength=len(visits.schema.codes))
    lines = {
        "patients": f"{len(data):,}",
        "visits": f"{visits.n_visits:,} ({_spread(visits.length)} a patient)",
        "codes": f"{len(visits.codes):,} ({_spread(per_visit)} a visit)",
        "visits without codes": f"{int((per_visit == 0).sum()):,}",
        "different codes": f"{int((counts > 0).sum()):,} of {len(visits.schema.codes) - 1:,} known",
        "static features": ", ".join(visits.schema.static) or "none",
        "measurements": ", ".join(visits.schema.measurements) or "none",
        "rows at risk": f"{outcome.n_rows:,} ({_spread(outcome.stop - outcome.start)} a patient)",
        "history only": f"{int(outcome.start.sum()):,} visits before follow-up starts",
    }
    for cause in range(int(outcome.cause.max()) + 1):
        n = int((outcome.cause == cause).sum())
        name = "censored" if cause == 0 else "events" if int(outcome.cause.max()) == 1 else f"events of cause {cause}"
        lines[name] = f"{n:,} ({100 * n / len(data):.1f} % of patients)"
    lines["event rate"] = f"{100 * int(outcome.observed.sum()) / outcome.n_rows:.2f} % of rows"
    _table(lines)
    click.echo("\nMost recorded codes:")
    most = counts.argsort(descending=True, stable=True)[:10].tolist()
    _table({visits.schema.codes[code]: f"{int(counts[code]):,}" for code in most if counts[code] > 0} or {"none": ""})


@main.command(short_help="Train a survival LSTM; goes on where it was interrupted.")
@click.argument("cohort")
@click.option("--run", "folder", required=True, type=click.Path(path_type=Path), help="Folder for the model.")
@click.option("--epochs", default=12, show_default=True, type=click.IntRange(1), help="Passes over the patients.")
@click.option("--batch-size", default=256, show_default=True, type=click.IntRange(1), help="Patients a step.")
@click.option(
    "--learning-rate", default=2e-3, show_default=True, type=click.FloatRange(0, min_open=True), help="At the start."
)
@click.option("--hidden", default=64, show_default=True, type=click.IntRange(1), help="Length of the recurrent state.")
@click.option("--embedding", default=64, show_default=True, type=click.IntRange(1), help="Length of a code's vector.")
@click.option(
    "--cell", default="lstm", show_default=True, type=click.Choice(["lstm", "gru"]), help="Kind of recurrence."
)
@click.option(
    "--window", default=1, show_default=True, type=click.IntRange(1), help="Batches sorted by length at once."
)
@click.option(
    "--patience", default=4, show_default=True, type=click.IntRange(1), help="Epochs without gain to stop after."
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Split, first weights, and order.")
@click.option(
    "--device", default="auto", show_default=True, type=click.Choice(["auto", "cpu", "cuda"]), help="Where to compute."
)
@_command
def train(
    cohort: str,
    folder: Path,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    hidden: int,
    embedding: int,
    cell: str,
    window: int,
    patience: int,
    seed: int,
    device: "Device",
) -> None:
    """Train a survival LSTM on COHORT: 70 % of patients train, 15 % decide when to stop, 15 % are kept for `evaluate`.

    Patients are split, never visits. An event of any cause counts. An interrupted run goes on where it was when the
    same command is given again, to the same weights as if it had not been interrupted. For other choices name another
    folder.

    Several processes share the work, and learn what one would, if started so: torchrun --nproc-per-node 4 -m --
    visitwise train COHORT ... Any number of them goes on from an interrupted run.

    They compute on GPUs where each process has one of its own, else on the CPU, and `--device` decides otherwise. The
    GPU's way has been tested as far as a machine without one can; it has not been run.
    """
    import numpy as np
    import torch

    from visitwise.model import SurvivalRNN
    from visitwise.parallel import device_of, joined
    from visitwise.training import fit, save_model
    from visitwise.visits import CHUNK

    where = device_of(device)
    with joined(where) as rank:
        data = _open(cohort)
        learn, decide, _ = data.split([0.70, 0.15, 0.15], seed=seed)
        model = SurvivalRNN.for_cohort(learn, hidden=hidden, embedding=embedding, cell=cell, seed=seed).to(where)
        if rank == 0 and int(data.outcome.cause.max()) > 1:
            click.echo("There are several causes; an event of any of them counts as the event.")
        history = fit(
            model, learn, decide, epochs=epochs, batch_size=batch_size, learning_rate=learning_rate, window=window,
            patience=patience, seed=seed, checkpoint=folder / "checkpoint",
        )  # fmt: skip
    if rank > 0:
        return
    save_model(model, folder)
    chunks = (part.select(some) for part in (learn, decide) for some in torch.arange(len(part)).split(CHUNK))
    np.save(folder / "patients_seen.npy", np.concatenate([_fingerprint(chunk) for chunk in chunks]))
    for epoch, (mine, theirs) in enumerate(zip(history.train_nll, history.validation_nll, strict=True)):
        best = "  <- kept" if epoch == history.best_epoch else ""
        click.echo(f"epoch {epoch + 1:3}   training NLL per row {mine:.5f}   validation {theirs:.5f}{best}")
    click.echo(f"model written to {folder}; next: visitwise evaluate {cohort} --run {folder}")


@main.command(short_help="Score a model on patients it has not seen, beside baselines.")
@click.argument("cohort")
@click.option("--run", "folder", required=True, type=click.Path(path_type=Path), help="Folder written by train.")
@_command
def evaluate(cohort: str, folder: Path) -> None:
    """Score a trained model on the patients of COHORT that it has not seen, beside a life table and a rival.

    The rival is a logistic regression on hand-made history features. It and the life table are fitted to the patients
    of COHORT that the model was trained on or that decided when to stop, the rival to 100,000 of them at most. NLL:
    lower is better. AUC: 0.5 is chance. Expected over seen: events expected over events that came; above 1 the hazards
    are too high. The last column is how much more NLL a model has than yours on the same patients, with its standard
    error; within two of them it is a tie.
    """
    import torch
    from tqdm import tqdm

    data, model = _open(cohort), _load(folder)
    if data.visits.schema != model.schema:
        raise ValueError(f"{cohort} has other codes or features than the model in {folder}; expected the same")
    seen = _seen(data, folder)
    if bool(seen.all()):
        raise ValueError(f"the model in {folder} was trained on every patient of {cohort}; expected others to score on")
    fresh, truth = data.select((~seen).nonzero()[:, 0]), _truth(cohort, data)
    click.echo(f"{len(fresh):,} patients the model has not seen; {int(seen.sum()):,} it has are left out\n{fresh}\n")

    yours = model.settings["cell"].upper()
    judged = _baselines(data.select(seen.nonzero()[:, 0])) if bool(seen.any()) else {}
    if not judged:
        click.echo("No baselines: none of the patients the model was trained on are in this cohort.\n")
    judged[yours] = lambda visits: model.predict(visits).hazard_logits
    if truth is not None:
        judged[ORACLE] = lambda visits: visits.pad(torch.logit(truth[~seen[data.visits.patient]]), torch.nan)
    bar = tqdm(judged.items(), desc="scoring", leave=False)
    _scores({name: answer(fresh.visits) for name, answer in bar}, yours, fresh)


@main.command(short_help="Write hazards and survival at every visit as CSV.")
@click.argument("cohort")
@click.option("--run", "folder", required=True, type=click.Path(path_type=Path), help="Folder written by train.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="CSV file to write.")
@_command
def predict(cohort: str, folder: Path, out: Path) -> None:
    """Write hazard, survival and event probability at every visit of COHORT as a CSV file.

    One row a visit: patient_id, seen (1 if the model was trained on the patient), visit (from 0), day (from the
    patient's time origin), hazard: the risk of the interval after the visit. That is the prediction. survival is the
    product of 1 - hazard over the patient's visits so far, event_probability the hazard times the survival before; they
    used each visit's own record, so they are no forecast made at the first visit. Visits that are history only have
    empty cells.
    """
    import pandas as pd
    import torch
    from tqdm import tqdm

    data, model = _open(cohort), _load(folder)
    if not out.parent.is_dir():
        raise ValueError(f"the folder {out.parent} does not exist; expected one to write {out.name} into")
    seen = _seen(data, folder).int()
    unfinished = out.with_name(f".{out.name}.unfinished")
    try:
        with unfinished.open("w", encoding="utf-8", newline="") as file:
            for patients in tqdm(torch.arange(len(data)).split(1024), desc="predicting", leave=False):
                visits = data.visits.select(patients)
                prediction = model.predict(visits, start=data.outcome.start[patients])
                columns = {
                    "patient_id": visits.patient_id[visits.patient].numpy(),
                    "seen": seen[patients][visits.patient].numpy(),
                    "visit": visits.index.numpy(),
                    "day": visits.day.numpy(),
                    "hazard": visits.unpad(prediction.hazard).numpy(),
                    "survival": visits.unpad(prediction.survival).numpy(),
                    "event_probability": visits.unpad(prediction.event_probability).numpy(),
                }
                pd.DataFrame(columns).to_csv(file, index=False, header=file.tell() == 0, float_format="%.9g")
        unfinished.replace(out)
    finally:
        unfinished.unlink(missing_ok=True)
    click.echo(f"{data.visits.n_visits:,} visits of {len(data):,} patients written to {out}")


# ----------------------------------------------------------------------------------------------------------- the rest


def _open(name: str) -> "Cohort":
    """A named cohort, or one from a folder."""
    from visitwise import datasets
    from visitwise.cohort import Cohort

    if name in NAMED and not Path(name).exists():
        loaded: Cohort = getattr(datasets, name)()
        return loaded
    if not Path(name).exists():
        raise ValueError(
            f"there is no {name}; expected a folder written by `visitwise simulate`, or {', '.join(NAMED)}"
        )
    return Cohort.load(name)


def _load(folder: Path) -> "SurvivalRNN":
    from visitwise.model import SurvivalRNN
    from visitwise.training import load_model

    if isinstance(model := load_model(folder), SurvivalRNN):
        return model
    raise ValueError(f"{folder} holds a {type(model).__name__}; expected a SurvivalRNN, as `visitwise train` writes")


def _baselines(past: "Cohort") -> dict[str, Any]:
    """The life table and the rival, fitted; without the rival where there is nothing to fit it to."""
    from visitwise.baselines import LifeTableHazard, LogisticHazard, history_features

    fitted: dict[str, Any] = {LIFE_TABLE: LifeTableHazard.fit(past)}
    if len(past) > RIVALS_PATIENTS:
        click.echo(f"The logistic regression is fitted to {RIVALS_PATIENTS:,} of {len(past):,} patients, by lot.\n")
        past, _ = past.split([RIVALS_PATIENTS / len(past), 1 - RIVALS_PATIENTS / len(past)], seed=0)
    try:
        fitted["logistic, history by hand"] = LogisticHazard.fit(past, history_features)
    except ValueError as reason:
        click.echo(f"No logistic regression: {reason}.\n")
    return fitted


def _scores(logits: dict[str, Any], yours: str, fresh: "Cohort") -> None:
    """Print a line for each model, and how far yours goes from the life table to the true hazards."""
    from visitwise import metrics
    from visitwise.losses import outcome_nll

    outcome = fresh.outcome
    each = {name: outcome_nll(values, outcome, reduction="none").double() for name, values in logits.items()}
    nll = {name: float(values.sum()) / outcome.n_rows for name, values in each.items()}
    click.echo(f"{'':27}{'NLL per row':>12}{'AUC':>8}{'expected / seen':>17}{'more NLL than yours':>28}")
    for name, values in logits.items():
        try:
            auc = f"{float(metrics.incident_dynamic_auc(values.sigmoid(), outcome, 'events')):.3f}"
        except ValueError:  # no row has both an event and somebody who survived it
            auc = "n/a"
        ratio = metrics.calibration(values.sigmoid(), outcome).ratio
        more = each[name] - each[yours]
        error = float(more.std(correction=0)) * len(more) ** 0.5 / outcome.n_rows
        difference = "" if name == yours else f"{nll[name] - nll[yours]:+.5f} (error {error:.5f})"
        click.echo(f"{name:27}{nll[name]:12.5f}{auc:>8}{ratio:17.3f}{difference:>28}")
    if LIFE_TABLE in nll and nll.get(ORACLE, float("inf")) < nll[LIFE_TABLE]:
        share = metrics.share_explained(nll[yours], nll[LIFE_TABLE], nll[ORACLE])
        click.echo(f"\n{100 * share:.1f} % of what can be known beyond the life table was learned")


def _fingerprint(data: "Cohort") -> Any:
    """Each patient's id beside a number made from days and codes: ids alone may be 0, 1, 2, ... in any cohort."""
    import torch

    visits = data.visits
    mixed = (visits.day * 1024).long() * 2654435761 + visits.index * 40503
    of_code = torch.repeat_interleave(visits.code_offsets.diff())
    mixed = mixed.index_add(0, of_code, (visits.codes.long() + 7) ** 3 * 2246822519)
    number = torch.zeros(len(data), dtype=torch.int64).index_add(0, visits.patient, mixed)
    return torch.stack([visits.patient_id, number], 1).numpy()


def _seen(data: "Cohort", folder: Path) -> Any:
    """True for the patients that the model in this folder was trained on or stopped by."""
    import numpy as np
    import torch

    if not (folder / "patients_seen.npy").is_file():
        raise ValueError(f"{folder} holds no patients_seen.npy; expected a folder written by `visitwise train`")
    known = {tuple(row) for row in np.load(folder / "patients_seen.npy", allow_pickle=False).tolist()}
    return torch.tensor([tuple(row) in known for row in _fingerprint(data).tolist()])


def _truth(name: str, data: "Cohort") -> Any:
    """True hazards that lie beside a simulated cohort, one for each visit, or None."""
    import numpy as np
    import torch

    file = Path(name) / "true_hazard.npy"
    if not file.is_file():
        return None
    hazard = torch.from_numpy(np.load(file, allow_pickle=False)).float()
    if len(hazard) != data.visits.n_visits:
        raise ValueError(f"{file} holds {len(hazard)} hazards; expected {data.visits.n_visits}, one for each visit")
    return hazard


def _spread(values: Any) -> str:
    import numpy as np

    low, middle, high = np.quantile(values.numpy(), [0.05, 0.5, 0.95])
    return f"median {middle:g}, 5 to 95 % {low:g} to {high:g}"


def _table(lines: dict[str, str]) -> None:
    width = max(len(name) for name in lines) + 2
    for name, value in lines.items():
        click.echo(f"{name:{width}}{value}")


if __name__ == "__main__":
    main()
