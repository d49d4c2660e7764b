"""Figure 10: the same patient read by the model as it was after each epoch that was kept."""

from typing import Any

from visitwise import simulate, trained
from visitwise.simulate import SCHEMA
from visitwise.visits import Visits
from visitwise.widgets import _trained
from visitwise.widgets._figure import Figure, Number, OneOf, Switch

PRESSURE, DIABETES, METFORMIN = simulate.HYPERTENSION, simulate.DIABETES, simulate.METFORMIN
PNEUMONIA, BACK = simulate.PNEUMONIA, "ICD10CM//M54.50 low back pain"
HEART, FUROSEMIDE = simulate.HEART_FAILURE, simulate.FUROSEMIDE
COPD, SALBUTAMOL = simulate.COPD, simulate.SALBUTAMOL
CANCER, DEPRESSION = simulate.LUNG_CANCER, simulate.DEPRESSION

DAYS = [0, 50, 90, 130, 180, 220, 250, 290, 340, 390]
# In tens of years over 60, then 1 for a woman; nobody has a kidney injury but by the reader's hand.
PATIENTS: dict[str, dict[str, Any]] = {
    "Ben": {
        "story": "diabetes late",
        "static": [1.0, 0.0],
        "codes": [
            *([PRESSURE], [PRESSURE, BACK], [PRESSURE], [PRESSURE], [PRESSURE, BACK], [PRESSURE, PNEUMONIA]),
            *([PRESSURE, DIABETES, PNEUMONIA], [METFORMIN], [PRESSURE, DIABETES, METFORMIN], [PRESSURE, DIABETES]),
        ],
    },
    "Ada": {
        "story": "diabetes early",
        "static": [1.0, 1.0],
        "codes": [
            *([PRESSURE, DIABETES], [PRESSURE, METFORMIN], [DIABETES, METFORMIN], [PRESSURE, DIABETES]),
            *([PRESSURE, METFORMIN], [DIABETES, PNEUMONIA], [PRESSURE, DIABETES, PNEUMONIA], [METFORMIN]),
            *([PRESSURE, DIABETES, METFORMIN], [PRESSURE, DIABETES]),
        ],
    },
    "Cleo": {
        "story": "heart failure",
        "static": [1.5, 1.0],
        "codes": [
            *([PRESSURE], [PRESSURE, HEART], [HEART, FUROSEMIDE], [PRESSURE, HEART, FUROSEMIDE], [HEART]),
            *([HEART, PNEUMONIA], [HEART, FUROSEMIDE], [PRESSURE, FUROSEMIDE], [HEART, FUROSEMIDE], [HEART]),
        ],
    },
    "Dan": {
        "story": "lung cancer",
        "static": [0.5, 0.0],
        "codes": [
            *([COPD], [COPD, SALBUTAMOL], [COPD, CANCER], [CANCER, PNEUMONIA], [COPD, CANCER, DEPRESSION], [COPD]),
            *([CANCER, SALBUTAMOL], [DEPRESSION], [COPD, CANCER], [COPD]),
        ],
    },
}


class TrainingReplay(Figure):
    """Read one patient with the model as it was after each epoch, cut the record, write a kidney injury into it.

    `given` holds the weights of `visitwise.trained`, how their loss fell, and the patients. The patients are made up.

    Attributes:
        patient: `"Ben"`, `"Ada"`, `"Cleo"` or `"Dan"`.
        model: `"causal"` reads the past; `"bidirectional"` reads ahead, too, and was kept after epoch 16 alone.
        epoch: after how many epochs, one of `visitwise.trained.EPOCHS["causal"]`.
        length: how many of the ten visits are kept, from the first.
        visit: where the kidney injury is written, from 0.
        injury: whether it is.
        observed: whether the record ends with the event, or else with censoring.

    Raises:
        TraitError: naming the trait, what was given and what was expected.

    Examples:
        >>> TrainingReplay(patient="Ada", epoch=16).visits().length
        tensor([8])
    """

    patient = OneOf(*PATIENTS)
    model = OneOf("causal", "bidirectional")
    epoch = OneOf(1, *(epoch for epoch in reversed(trained.EPOCHS["causal"]) if epoch != 1))
    length = Number(8, 1, len(DAYS), 1)
    visit = Number(4, 0, len(DAYS) - 1, 1)
    injury = Switch(True)
    observed = Switch(True)

    def __init__(self, **state: Any) -> None:
        super().__init__(**({"given": _given()} | state))

    def visits(self) -> Visits:
        """The patient's record as it is on show."""
        chosen = PATIENTS[self.patient]
        codes = [list(names) for names in chosen["codes"][: self.length]]
        if self.injury:
            codes[min(self.visit, self.length - 1)].append(simulate.KIDNEY_INJURY)  # as on the screen
        return Visits.from_lists([codes], [DAYS[: self.length]], static=[chosen["static"]], schema=SCHEMA)


def _given() -> dict[str, Any]:
    place = SCHEMA.codes.index
    patients = {
        name: record | {"day": DAYS, "codes": [sorted(map(place, codes)) for codes in record["codes"]]}
        for name, record in PATIENTS.items()
    }
    names = [code.partition(" ")[2] or code.rpartition("//")[2] for code in SCHEMA.codes]
    return _trained.given("causal", "bidirectional") | {"names": names, "patients": patients}
