"""One run from patients to report: choices, training, baselines, scores, and a folder that holds all of it.

    choices.toml        every choice, and the versions of what computed with them
    study/              the cohort that was made of events, if it was
    checkpoint/         to go on from
    model.json          the model, with its weights beside it
    vocabulary.csv      every input by name, with its counts
    patients_seen.npy   who trained the model or stopped it
    metrics.json        every number of the report
    figures/            its pictures
    report.html         one page that stands alone

Each file is replaced whole. The same choices in the same folder go on; another choice is refused by its name.
"""

from visitwise.run.choices import Choices, Training, read_toml, require_known
from visitwise.run.describe import table_one, vocabulary
from visitwise.run.folder import claim, evaluate, load_rnn, train
from visitwise.run.patients import Judges, judges_of, patients_of, write_labels, write_predictions
from visitwise.run.report import read_metrics, write_report
from visitwise.run.scores import KnownHazard, Scores, difference, fit_baselines, score, verdict
from visitwise.run.sources import (
    by_lot_at_most,
    fingerprints,
    first_cause_only,
    kind_of,
    open_cohort,
    open_study,
    outcome_codes,
    resolved,
    seen_by,
    true_hazard,
)

__all__ = [
    "Choices",
    "Judges",
    "KnownHazard",
    "Scores",
    "Training",
    "by_lot_at_most",
    "claim",
    "difference",
    "evaluate",
    "fingerprints",
    "first_cause_only",
    "fit_baselines",
    "judges_of",
    "kind_of",
    "load_rnn",
    "open_cohort",
    "open_study",
    "outcome_codes",
    "patients_of",
    "read_metrics",
    "read_toml",
    "require_known",
    "resolved",
    "score",
    "seen_by",
    "table_one",
    "train",
    "true_hazard",
    "verdict",
    "vocabulary",
    "write_labels",
    "write_predictions",
    "write_report",
]
