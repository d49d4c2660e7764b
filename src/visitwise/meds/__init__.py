"""Cohorts from datasets in the Medical Event Data Standard (MEDS), and datasets and predictions in that form.

`read` and `prepare` make a study of a dataset and a `CohortDefinition`; `write_cohort` and `draw_meds` write a cohort
as a dataset; `write_labels` and `labels_of` say what is predicted, and what came of it, as MEDS' label tables.
"""

from visitwise.meds.names import require_polars  # first: it says what is missing
from visitwise.meds.reading import prepare, read
from visitwise.meds.writing import draw_meds, labels_of, write_cohort, write_labels

__all__ = ["draw_meds", "labels_of", "prepare", "read", "require_polars", "write_cohort", "write_labels"]
