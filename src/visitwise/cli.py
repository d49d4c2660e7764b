"""The command line: `visitwise simulate | describe | train | evaluate | predict | export`.

Nothing heavy is imported until a command runs, so that `--help` answers at once.
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from visitwise._terminal import in_columns, wrapped

if TYPE_CHECKING:
    import pandas as pd

    from visitwise.cohort import Cohort
    from visitwise.parallel import Device
    from visitwise.run import Choices, Scores
    from visitwise.study import Study

WORLDS = ("teaching", "order-only", "no-memory")
LEAK_PATIENTS = 5_000

EPILOG = """
\b
A first run, start to end:
  visitwise simulate cohort --patients 5000 --seed 1
  visitwise describe cohort
  visitwise train cohort --run first
  visitwise evaluate cohort --run first
  visitwise predict cohort --run first --out predictions.csv

\b
From event records in MEDS form, to the page first/report.html:
  visitwise describe DATA --outcome CODE --end-of-follow-up date:2024-12-31
  visitwise train DATA --run first --outcome CODE --end-of-follow-up date:2024-12-31
  visitwise evaluate --run first
  visitwise predict --run first --out labels.parquet

Where a SOURCE is asked for, give a folder written by `visitwise simulate` or `Cohort.save`, one of the names small,
nafld and pbc (the last two need `pip install "visitwise[datasets]"`), or a MEDS folder, which has event shards in data/
(`pip install "visitwise[meds]"`).

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
            said = str(error)
            if isinstance(error, OSError) and error.filename and error.strerror:
                said = f"{error.filename}: {error.strerror}"
            raise Refused(said) from error
        except KeyboardInterrupt:
            click.echo("\nInterrupted. What was finished is kept.", err=True)
            raise SystemExit(130) from None

    return wrapped


_DEFINITION = (
    click.option("--outcome", metavar="CODE", multiple=True, help="Code that records the event; may be repeated."),
    click.option("--end-of-follow-up", metavar="RULE", help="code:NAME, date:2024-12-31, table:PATH or 'last record'."),
    click.option(
        "--competing",
        metavar="CODE,...",
        multiple=True,
        help="Codes of another cause, commas between; may be repeated.",
    ),
    click.option("--index", metavar="CODE", multiple=True, help="Code that starts follow-up. Without: first visit."),
    click.option("--visit", metavar="RULE", help="day, column:NAME or gap:24h.  [default: day]"),
    click.option("--washout-days", type=float, help="Who had the event so recently is left out. Without: ever."),
    click.option("--blanking-days", type=float, help="Days after a visit that the row before asks for.  [default: 0]"),
    click.option("--censored-exposure", type=float, help="Of an unfinished interval, what counts.  [default: 0]"),
    click.option("--minimum-history-days", type=float, help="Days on record before the start.  [default: 0]"),
    click.option("--minimum-visits", type=int, help="Visits up to the start.  [default: 1]"),
    click.option("--never-input", metavar="CODE", multiple=True, help="Code that the model must not see."),
    click.option("--min-patients", type=int, help="Rarer codes become a parent or unknown.  [default: 10]"),
    click.option("--measurement", "measurements", metavar="CODE", multiple=True, help="Code whose number is input."),
    click.option("--faulty", type=click.Choice(["refuse", "drop"]), help="Records that contradict themselves."),
)


def _with_choices(command: Callable[..., None]) -> Callable[..., None]:
    """The options that say how a cohort is made of events, and the file that holds them."""
    config = click.option("--config", type=click.Path(path_type=Path), help="A run's choices.toml, or a definition.")
    return functools.reduce(lambda made, option: option(made), reversed((*_DEFINITION, config)), command)


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
@click.option("--meds", "as_events", is_flag=True, help="Write a MEDS folder of events, without the true hazard.")
@_command
def simulate(out: Path, patients: int, seed: int, world: str, as_events: bool) -> None:
    """Write a simulated cohort, whose true hazard is known, to the folder OUT.

    The worlds: in `teaching` age, today's diagnoses and the history all matter; in `order-only` nothing but the order
    of two diagnoses does; in `no-memory` only age and today do. The true hazard is stored beside the cohort, and
    `visitwise evaluate` says how much of what could be learned was. Any number of patients takes no more memory than a
    few thousand. If it is interrupted, give the same command again: it goes on.

    With `--meds` the same patients are written as event records, the form in which hospitals share theirs: a folder to
    try `visitwise train OUT --config OUT/definition.toml --run RUN` on.
    """
    from visitwise import simulate as worlds
    from visitwise.cohort import Cohort

    simulator = {"teaching": worlds.TEACHING, "order-only": worlds.ORDER_ONLY, "no-memory": worlds.NO_MEMORY}[world]
    if as_events:
        from visitwise import meds

        meds.draw_meds(simulator, out, patients, seed, progress=True)
        click.echo(
            f"{patients:,} patients written to {out}\n"
            f"next: visitwise train {out} --config {out}/definition.toml --run first"
        )
        return
    simulator.draw_to(out, patients, seed, progress=True)
    click.echo(f"{Cohort.load(out)}\nwritten to {out}")


@main.command(short_help="Say what is in a cohort, how it came about, and what looks like a leak.")
@click.argument("source", required=False)
@_with_choices
@_command
def describe(source: str | None, config: Path | None, **given: Any) -> None:
    """Say what is in SOURCE: patients, visits, codes, follow-up and outcomes, with a table one and a leak check.

    Of a MEDS folder, say how the cohort is made of the events (at least `--outcome` and `--end-of-follow-up`); printed
    first is how many patients and records were read, left out and kept, and why.
    """
    from tempfile import TemporaryDirectory

    from visitwise import run

    choices = _choices(source, config, given)
    with TemporaryDirectory() as folder:
        study = run.first_cause_only(run.open_study(choices, Path(folder), split=False))
        if study.flow is not None:
            click.echo(f"{wrapped(str(study.flow))}\n")
        _describe(study.cohort)
        click.echo("\nTable one:")
        _lines(run.table_one(study.cohort))
        click.echo("\nLeaks:")
        _leaks(study)


@main.command(short_help="Train a survival LSTM beside baselines; goes on where it was interrupted.")
@click.argument("source", required=False)
@click.option("--run", "folder", required=True, type=click.Path(path_type=Path), help="Folder for the run.")
@click.option("--epochs", type=click.IntRange(1), help="Passes over the patients.  [default: 12]")
@click.option("--batch-size", type=click.IntRange(1), help="Patients a step.  [default: 256]")
@click.option("--learning-rate", type=click.FloatRange(0, min_open=True), help="At the start.  [default: 0.002]")
@click.option("--hidden", type=click.IntRange(1), help="Length of the recurrent state.  [default: 64]")
@click.option("--embedding", type=click.IntRange(1), help="Length of a code's vector.  [default: 64]")
@click.option("--cell", type=click.Choice(["lstm", "gru"]), help="Kind of recurrence.  [default: lstm]")
@click.option("--window", type=click.IntRange(1), help="Batches sorted by length at once.  [default: 1]")
@click.option("--patience", type=click.IntRange(1), help="Epochs without gain to stop after.  [default: 4]")
@click.option("--seed", type=click.IntRange(0), help="Split, first weights, and order.  [default: 0]")
@click.option("--baselines/--no-baselines", default=None, help="Train baselines beside the model.  [default: yes]")
@_with_choices
@click.option(
    "--device", default="auto", show_default=True, type=click.Choice(["auto", "cpu", "cuda"]), help="Where to compute."
)
@_command
def train(source: str | None, folder: Path, config: Path | None, device: "Device", **given: Any) -> None:
    """Train a survival LSTM on SOURCE: 70 % of patients train, 15 % decide when to stop, 15 % are kept for `evaluate`.

    Patients are split, never visits; a MEDS folder may bring its own split. An event of any cause counts; of events
    with `--competing`, that of `--outcome` alone. An interrupted run goes on where it was when the same command is
    given again, to the same weights as if it had not been interrupted. For other choices name another folder.

    Of a MEDS folder, say how a cohort is made of its events: at least `--outcome` and `--end-of-follow-up`. With
    `--competing A,B --competing C` there are two further causes, of which one is recorded as A or as B; a code that has
    a comma itself stands in double quotes. The folder of the run gets the model, every choice (choices.toml, which
    `--config` takes), and report.html, where the model stands beside a life table and a logistic regression.

    Several processes share the work, and learn what one would, if started so: torchrun --nproc-per-node 4 -m --
    visitwise train SOURCE ... Any number of them goes on from an interrupted run.

    They compute on GPUs where each process has one of its own, else on the CPU, and `--device` decides otherwise. The
    GPU's way has been tested as far as a machine without one can; it has not been run.
    """
    from visitwise import run

    choices = _choices(source, config, given)
    done = run.train(choices, folder, device=device)
    if done is None:
        return
    history, metrics = done
    for words in metrics["causes"]:
        click.echo(wrapped(words))
    for epoch, (mine, theirs) in enumerate(zip(history.train_nll, history.validation_nll, strict=True)):
        best = "  <- kept" if epoch == history.best_epoch else ""
        click.echo(f"epoch {epoch + 1:3}   training NLL per row {mine:.5f}   validation {theirs:.5f}{best}")
    for finding in metrics["leaks"]["findings"]:
        click.echo(wrapped(f"! {finding}"))
    click.echo(wrapped(f"On the tuning patients: {run.verdict(metrics['scores']['tuning'])}"))
    click.echo(f"report written to {folder / 'report.html'}")
    again = f" {source}" if choices.definition is None and source else ""
    click.echo(f"model written to {folder}; next: visitwise evaluate{again} --run {folder}")


@main.command(short_help="Score a model on patients it has not seen, beside baselines.")
@click.argument("source", required=False)
@click.option("--run", "folder", required=True, type=click.Path(path_type=Path), help="Folder written by train.")
@_command
def evaluate(source: str | None, folder: Path) -> None:
    """Score a trained model on the patients of SOURCE that it has not seen, beside a life table and a rival.

    Without SOURCE they are the held-out patients of the run's own. The scores are added to the run's report.

    The rival is a logistic regression on hand-made history features. It and the life table are fitted to the patients
    of SOURCE that the model was trained on or that decided when to stop, the rival to 100,000 of them at most, and to
    the 200 most common codes. NLL: lower is better. AUC: 0.5 is chance. Expected over seen: events expected over events
    that came; above 1 the hazards are too high. The last column is how much more NLL per row a model has than yours on
    the same patients, with its standard error; within two of them it is a tie.
    """
    from visitwise import run

    model = run.load_rnn(folder)
    judges = run.judges_of(folder, source, model.schema)
    fresh, past = judges.fresh, judges.past
    seen = f"{len(fresh):,} patients the model has not seen; {judges.n_seen:,} it has are left out"
    click.echo(wrapped(f"{seen}\n{fresh}\n"))
    if past is None:
        click.echo(wrapped(f"No baselines: {judges.no_baselines}.\n"))
    scores, notes = run.evaluate(folder, model, fresh, past, name=judges.name, truth=judges.truth)
    for note in notes:
        click.echo(f"{wrapped(note)}\n")
    _scores(scores)
    if (folder / "report.html").is_file():
        click.echo(f"\n{wrapped(run.verdict(scores.record))}\nadded to {folder / 'report.html'}")


@main.command(short_help="Write hazards and survival at every visit as CSV, or as a MEDS label table.")
@click.argument("source", required=False)
@click.option("--run", "folder", required=True, type=click.Path(path_type=Path), help="Folder written by train.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="File to write, .csv or .parquet.")
@_command
def predict(source: str | None, folder: Path, out: Path) -> None:
    """Write hazard, survival and event probability at every visit of SOURCE as a CSV file.

    Without SOURCE, of the patients of the run itself. A MEDS folder is read with the run's vocabulary; no outcome needs
    to be known.

    One row a visit: patient_id, seen (1 if the model was trained on the patient), visit (from 0), day (from the
    patient's time origin; and time, where there are dates), hazard: the risk of the interval after the visit. That is
    the prediction. survival is the product of 1 - hazard over the patient's visits so far, event_probability the hazard
    times the survival before; they used each visit's own record, so they are no forecast made at the first visit.
    Visits that are history only have empty cells.

    If the name of the file ends in .parquet it is a MEDS label table: subject_id, prediction_time, and the hazard as
    float_value, for patients with dates.
    """
    from visitwise import run

    model = run.load_rnn(folder)
    study = run.patients_of(folder, source, model.schema)
    if not out.parent.is_dir():
        raise ValueError(f"the folder {out.parent} does not exist; expected one to write {out.name} into")
    if out.suffix not in (".csv", ".parquet"):
        raise ValueError(f"the file is {out.name}; expected a name that ends in .csv or .parquet")
    if out.suffix == ".parquet":
        n_rows = run.write_labels(model, study, out)
        click.echo(f"{n_rows:,} hazards of {len(study):,} patients written to {out}")
        return
    run.write_predictions(model, study, out, seen=run.seen_by(folder, study.cohort))
    click.echo(f"{study.cohort.visits.n_visits:,} visits of {len(study):,} patients written to {out}")


@main.command(short_help="Write a run's model as one file, for the playground or another program.")
@click.option("--run", "folder", required=True, type=click.Path(path_type=Path), help="Folder written by train.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="File to write, .safetensors.")
@_command
def export(folder: Path, out: Path) -> None:
    """Write the model of a run as one file that says itself what it is: weights, settings, and the names of its inputs.

    The playground on the site opens it. It holds no patient, but the names of all codes that were input.
    """
    from visitwise.run import load_rnn
    from visitwise.training import SINGLE_FILE, save_model

    if out.suffix != SINGLE_FILE:
        raise ValueError(f"the file is {out.name}; expected a name that ends in {SINGLE_FILE}")
    if not out.parent.is_dir():
        raise ValueError(f"the folder {out.parent} does not exist; expected one to write {out.name} into")
    model = load_rnn(folder)
    save_model(model, out)
    click.echo(f"{model.settings['cell'].upper()} of {len(model.schema.codes) - 1:,} codes written to {out}")


# ----------------------------------------------------------------------------------------------------------- the rest


def _choices(source: str | None, config: Path | None, given: dict[str, Any]) -> "Choices":
    """The choices of a file, if one is given, and what the options say instead."""
    from dataclasses import fields

    from visitwise.definition import CohortDefinition, lying_in
    from visitwise.run import Choices, Training, kind_of, read_toml, resolved

    chosen: dict[str, Any] = {} if config is None else read_toml(config)
    if chosen and not chosen.keys() & {"made_with", *(one.name for one in fields(Choices))}:  # a definition alone
        chosen = {"definition": chosen}
    if config is not None and isinstance(chosen.get("definition"), dict):
        chosen["definition"] = lying_in(config.parent, chosen["definition"])
    said = {name: value for name, value in given.items() if value not in (None, ())}
    if source is not None:
        chosen["source"] = source
    if "source" not in chosen:
        raise click.UsageError("Missing argument 'SOURCE': a cohort, or a MEDS folder; or --config with one in it.")
    if "baselines" in said:
        chosen["baselines"] = said["baselines"]
    of_events = {one.name for one in fields(CohortDefinition)} - {"seed"}
    definition = {name: list(value) if isinstance(value, tuple) else value for name, value in said.items()}
    definition = lying_in("", {name: value for name, value in definition.items() if name in of_events})
    if "competing" in definition:
        definition["competing"] = [_codes(together) for together in definition["competing"]]
    kind = kind_of(chosen["source"])
    if definition or (kind == "events" and config is None):
        chosen["definition"] = chosen.get("definition", {}) | definition
    if kind == "events" and "seed" in said:
        chosen["definition"] = chosen.get("definition", {}) | {"seed": said["seed"]}
    trained = {one.name: said[one.name] for one in fields(Training) if one.name in said}
    chosen["training"] = chosen.get("training", {}) | trained
    if kind == "events" and config is None and "outcome" not in chosen["definition"]:
        raise ValueError(f"{chosen['source']} holds events; expected --outcome and --end-of-follow-up, or --config")
    return Choices.from_mapping(chosen | {"source": resolved(chosen["source"])})


def _codes(together: str) -> list[str]:
    """The codes of one cause, with commas between them; one that has a comma itself stands in double quotes."""
    import csv

    return [code.strip() for code in next(csv.reader([together], skipinitialspace=True), [""])]


def _describe(data: "Cohort") -> None:
    import torch

    visits, outcome = data.visits, data.outcome
    per_visit = visits.code_offsets.diff()
    counts = torch.bincount(visits.codes.long(), minlength=len(visits.schema.codes))
    lines = {
        "patients": f"{len(data):,}",
        "visits": f"{visits.n_visits:,} ({_spread(visits.length)} a patient)",
        "codes": f"{len(visits.codes):,} ({_spread(per_visit)} a visit)",
        "visits without codes": f"{int((per_visit == 0).sum()):,}",
        "different codes": f"{int((counts > 0).sum()):,} of {len(visits.schema.codes) - 1:,} known",
        "static features": _names(visits.schema.static),
        "measurements": _names(visits.schema.measurements),
        "rows at risk": f"{outcome.n_rows:,} ({_spread(outcome.stop - outcome.start)} a patient)",
        "history only": f"{int(outcome.start.sum()):,} visits before follow-up starts",
    }
    for cause in range(int(outcome.cause.max()) + 1):
        n = int((outcome.cause == cause).sum())
        name = "censored" if cause == 0 else "events" if int(outcome.cause.max()) == 1 else f"events of cause {cause}"
        lines[name] = f"{n:,} ({100 * n / len(data):.1f} % of patients)"
    share = outcome.censored_exposure.double()[outcome.cut_short]
    if len(share):
        lines["lost inside a row"] = f"{len(share):,} patients, whose last rows count as {float(share.sum()):,.5g}"
    followed = outcome.n_rows - float((1 - share).sum())
    rate = f"{100 * int(outcome.observed.sum()) / followed:.2f} % of rows" if followed else "no row was followed"
    lines["event rate"] = rate
    _table(lines)
    click.echo("\nMost recorded codes:")
    most = counts.argsort(descending=True, stable=True)[:10].tolist()
    _table({visits.schema.codes[code]: f"{int(counts[code]):,}" for code in most if counts[code] > 0} or {"none": ""})


def _leaks(study: "Study") -> None:
    from visitwise.leakage import check_no_leak
    from visitwise.run import by_lot_at_most, outcome_codes

    some = by_lot_at_most(study.cohort, LEAK_PATIENTS)
    if len(some) < len(study):
        click.echo(f"in {len(some):,} of {len(study):,} patients, by lot:")
    click.echo(wrapped(repr(check_no_leak(some, outcome_codes=outcome_codes(study.definition)))))


def _scores(scores: "Scores") -> None:
    """Print a line for each model, and how far yours goes from the life table to the true hazards."""
    from visitwise.run import difference

    lines = [["", "NLL per row", "AUC", "expected/seen", "more NLL ± error"]]
    for name, one in scores.record["models"].items():
        auc = "n/a" if one["auc"] is None else f"{one['auc']:.3f}"
        ratio = "n/a" if one["expected_over_seen"] is None else f"{one['expected_over_seen']:.3f}"
        more = "" if name == scores.yours else difference(one)
        lines.append([name, f"{one['nll']:.5f}", auc, ratio, more])
    click.echo("\n".join(in_columns(lines, right=True)))
    if "share_explained" in scores.record:
        share = 100 * scores.record["share_explained"]
        click.echo(f"\n{share:.1f} % of what can be known beyond the life table was learned")


def _spread(values: Any) -> str:
    import numpy as np

    low, middle, high = np.quantile(values.numpy(), [0.05, 0.5, 0.95])
    return f"median {middle:g}, 5 to 95 % {low:g} to {high:g}"


def _names(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - 10:,} more" if len(names) > 10 else ""
    return (", ".join(names[:10]) or "none") + more


def _lines(table: "pd.DataFrame") -> None:
    """A table one, its parts as headings."""
    columns = list(table.columns[1:])
    lines = in_columns([["", *columns[1:]], *table[columns].to_numpy().tolist()])
    before = ""
    for part, line in zip(["", *table["part"]], lines, strict=True):
        if part != before:
            click.echo(f"{part}:")
            before = part
        click.echo(line)


def _table(lines: dict[str, str]) -> None:
    click.echo("\n".join(in_columns(list(lines.items()))))


if __name__ == "__main__":
    main()
