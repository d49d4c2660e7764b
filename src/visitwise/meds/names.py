"""What MEDS calls things: files, columns and their types, splits, and codes with a meaning of their own.

The names are those of the `meds` package, which is the authority and is not needed to read or write the format: a test
compares the two. The codes at the end are ours, for what a cohort knows and MEDS has no word for.
"""

from importlib.util import find_spec


def require_polars() -> None:
    """Refuse to go on without polars, and say how to get it.

    Raises:
        ModuleNotFoundError: The package `polars` is missing.

    Examples:
        >>> require_polars()
    """
    if find_spec("polars") is None:
        message = "MEDS is read and written with the package polars, which is missing: pip install 'visitwise[meds]'"
        raise ModuleNotFoundError(message, name="polars")


require_polars()

import polars as pl  # noqa: E402

MEDS_VERSION = "0.4.1"

DATA_FOLDER = "data"
CODES_FILE = "metadata/codes.parquet"
SPLITS_FILE = "metadata/subject_splits.parquet"
DATASET_FILE = "metadata/dataset.json"

SUBJECT, TIME, CODE = "subject_id", "time", "code"
NUMERIC_VALUE, TEXT_VALUE = "numeric_value", "text_value"
DESCRIPTION, PARENT_CODES = "description", "parent_codes"
SPLIT = "split"
PREDICTION_TIME, BOOLEAN_VALUE, FLOAT_VALUE = "prediction_time", "boolean_value", "float_value"

DATA_TYPES = {SUBJECT: pl.Int64(), TIME: pl.Datetime("us"), CODE: pl.String(), NUMERIC_VALUE: pl.Float32()}
"""Types of the columns of events; a file may lack the last."""

LABEL_TYPES = {
    SUBJECT: pl.Int64(), PREDICTION_TIME: pl.Datetime("us"), BOOLEAN_VALUE: pl.Boolean(), FLOAT_VALUE: pl.Float32(),
}  # fmt: skip
"""Types of the columns of a label table, of which we write either of the last two."""

BIRTH_CODE, DEATH_CODE = "MEDS_BIRTH", "MEDS_DEATH"

END_CODE = "END_OF_FOLLOWUP"
"""Follow-up ends here: until then the patient is known to be without the event."""

ENCOUNTER_CODE = "ENCOUNTER"
"""One row a visit, so that a visit without codes is there, too. It opens a visit and is no input."""

ENCOUNTER_COLUMN = "encounter_id"
"""The column, beside those of MEDS, that says which of the patient's visits a row is of."""

INDEX_CODE = "START_OF_FOLLOWUP"
"""Follow-up starts when this visit closes; visits before it are history."""
