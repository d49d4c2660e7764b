"""The playground: a patient of your own, what trained models say of it, and the truth beside it."""

from base64 import b64decode, b64encode
from typing import Any, NamedTuple

import numpy as np

from visitwise.simulate import (
    CHECK_UP,
    COPD,
    CORONARY,
    DIABETES,
    FIBRILLATION,
    FUROSEMIDE,
    HEART_FAILURE,
    HYPERTENSION,
    KIDNEY_INJURY,
    LISINOPRIL,
    LUNG_CANCER,
    METFORMIN,
    PNEUMONIA,
    SALBUTAMOL,
    SCHEMA,
)
from visitwise.widgets._figure import Figure, Number, Numbers, OneOf, Switch
from visitwise.widgets._trained import given

MOST_VISITS, LAST_DAY = 60, 9999
N_CODES = len(SCHEMA.codes) - 1
REFLUX, BACK_PAIN = "ICD10CM//K21.9 acid reflux", "ICD10CM//M54.50 low back pain"


class Sample(NamedTuple):
    """A patient to begin with, and what there is to see."""

    name: str
    story: str
    day: list[int]
    codes: list[list[str]]
    age: int
    female: bool
    observed: bool
    visit: int

    @property
    def state(self) -> dict[str, Any]:
        """What of the playground's state the sample sets."""
        bits = [sum(1 << (SCHEMA.codes.index(name) - 1) for name in names) for names in self.codes]
        return {
            "day": self.day,
            "codes": bits,
            "age": self.age,
            "female": self.female,
            "observed": self.observed,
            "visit": self.visit,
        }


def _drawn(n_visits: int) -> tuple[list[int], list[list[str]]]:
    """A long record of chronic illness, the same on every machine."""
    random = np.random.default_rng(3)
    day = np.cumsum([0, *random.integers(20, 90, n_visits - 1)]).tolist()
    chances = {HYPERTENSION: 0.5, LISINOPRIL: 0.4, COPD: 0.5, SALBUTAMOL: 0.4, PNEUMONIA: 0.15, CORONARY: 0.3}
    codes = []
    for luck in random.random((n_visits, len(chances))):
        names = [name for name, chance, one in zip(chances, chances.values(), luck, strict=True) if one < chance]
        codes.append(names or [CHECK_UP])
    return day, codes


SAMPLES = (
    Sample(
        "injury after diabetes",
        "Diabetes is on record when the kidney injury comes, at visit 2: the true hazard goes from 0.30% to 3.9% and "
        "stays high. Try: take diabetes off at visits 0 and 1. The injury then comes first: the true hazard after it "
        "is 0.45%, and diabetes at visit 4 does not bring the rest back.",
        [0, 60, 130, 190, 250, 330],
        [[DIABETES], [DIABETES, HYPERTENSION], [KIDNEY_INJURY], [CHECK_UP], [DIABETES, METFORMIN], [CHECK_UP]],
        74,
        False,
        False,
        2,
    ),
    Sample(
        "furosemide",
        "Heart failure and two pneumonias, and furosemide from visit 2 on. Try: take furosemide off at visit 2. After "
        "that visit, and no other, the true hazard rises, from 1.0% to 1.7%. The model's goes from 1.0% to 1.1%, and "
        "those after it rise, too.",
        [0, 60, 130, 190, 250, 330],
        [
            [CORONARY, FIBRILLATION, COPD],
            [HEART_FAILURE, PNEUMONIA],
            [HEART_FAILURE, FUROSEMIDE, PNEUMONIA],
            [HEART_FAILURE, FUROSEMIDE],
            [HEART_FAILURE, FUROSEMIDE],
            [HEART_FAILURE, FUROSEMIDE],
        ],
        80,
        True,
        False,
        2,
    ),
    Sample(
        "lung cancer, recorded early",
        "Lung cancer is recorded at visit 0. It lifts the true hazard there from 0.28% to 0.94%, and what it adds "
        "fades from visit to visit; the model goes from 0.33% to 0.34%. Try: untick it at visit 0 and tick it at visit "
        "5, whose true hazard is then 1.0%.",
        list(range(0, 540, 60)),
        [[LUNG_CANCER, COPD], *[[COPD], [CHECK_UP]] * 4],
        80,
        False,
        False,
        0,
    ),
    Sample(
        "check-ups alone",
        "Nothing happens: the hazard stays near 0.1%, and each interval survived costs next to nothing. Try: let the "
        "record end with the event. The last push goes from 0.0008 to −0.9992.",
        list(range(0, 1080, 180)),
        [[CHECK_UP]] * 6,
        50,
        True,
        False,
        5,
    ),
    Sample(
        "thirty visits",
        "A long record with four pneumonias. Try: move visit 19, one of them, from day 904 to day 930. The hazard "
        "after visit 20 rises, the true one from 1.3% to 1.6%, the learned from 1.2% to 1.7%. Before visit 19 "
        "nothing moves.",
        *_drawn(30),
        71,
        False,
        True,
        19,
    ),
    Sample(
        "diabetes, forgotten",
        "Diabetes is recorded once, ten visits before the kidney injury. The truth remembers it (3.9%), the model "
        "hardly (0.41%). Try: record diabetes at visit 9, too. The model then says 4.6%, and overshoots after the next "
        "visit: 8.4%, where 4.0% is true.",
        list(range(0, 780, 60)),
        [[DIABETES], *[[CHECK_UP], [REFLUX], [BACK_PAIN]] * 3, [KIDNEY_INJURY], [CHECK_UP], [CHECK_UP]],
        75,
        False,
        True,
        10,
    ),
)
START = SAMPLES[0].state
# What the true log-odds are the sum of, besides the base: the effects of `visitwise.simulate`, in plain words.
# Pairs go to the page, because what passes through a notebook has its names in the order of the alphabet.
WHY = {
    "age": "age",
    "now": "acute codes now",
    "burden": "chronic conditions so far",
    "decay": "acute codes earlier, fading",
    "order": "injury after diabetes or kidney disease",
    "treat": "furosemide in heart failure",
    "fading": "lung cancer, fading",
    "trend": "visits so far",
}
# What stands in place of a story, which is about the model that reads the past.
ABOUT = {
    "bidirectional": "This model reads the whole record for each of its hazards, the later visits, too.",
    "competing": "Another world with its own truth: each hazard is the sum of two, one for each cause.",
    "mine": "Your model, beside the truth of the world that has as many causes.",
}


class Playground(Figure):
    """Make up a patient and see what a trained model says after each visit, beside the truth.

    `given` holds the trained models, the settings of the simulator that they were trained on, how their loss fell, and
    the sample patients. A model loaded from a file stays in the browser.

    Attributes:
        day: when each visit is, in whole days, rising from 0, to 9999; 1 to 60 visits.
        codes: for each visit a whole number whose bit `j - 1` says that code `j` of `visitwise.simulate.SCHEMA` is
            recorded.
        age: 35 to 85 years.
        female: whether the patient is a woman.
        observed: whether the last interval ends in the event, of cause 1; it is censored otherwise.
        visit: the chosen visit, from 0.
        epoch: which of the kept weights, 0 to 7: those after 0, 1, 2, 3, 5, 8, 12 and 16 epochs. The models other than
            "causal" have those after 16 alone.
        model: "causal" reads the past, "bidirectional" reads ahead, too, "competing" tells two causes apart; "mine" is
            the reader's own and the causal one until a file is loaded. A model of other codes than the simulator's gets
            a figure of its own in the browser; what is recorded there is none of these parts.

    Raises:
        TraitError: naming the trait, what was given and what was expected.

    Examples:
        >>> play = Playground(day=[0, 90], codes=[1, 1 << 10], visit=1)
        >>> play.day, play.codes, play.model
        ([0, 90], [1, 1024], 'causal')
    """

    day = Numbers(START["day"], 0, LAST_DAY, 1, 1, MOST_VISITS)
    codes = Numbers(START["codes"], 0, 2**N_CODES - 1, 1, 1, MOST_VISITS)
    age = Number(START["age"], 35, 85, 1)
    female = Switch(START["female"])
    observed = Switch(START["observed"])
    visit = Number(START["visit"], 0, MOST_VISITS - 1, 1)
    epoch = Number(7, 0, 7, 1)
    model = OneOf("causal", "bidirectional", "competing", "mine")

    def __init__(self, **state: Any) -> None:
        super().__init__(**({"given": _given()} | state))


def _given() -> dict[str, Any]:
    told = given()
    curves = {name: {part: one[part] for part in ("validation", "oracle")} for name, one in told["curves"].items()}
    files = {
        name: {epoch: _by_place(file) for epoch, file in of_epoch.items()} for name, of_epoch in told["files"].items()
    }
    samples = [{"name": sample.name, "story": sample.story, "state": sample.state} for sample in SAMPLES]
    return told | {"files": files, "curves": curves, "samples": samples, "why": list(WHY.items()), "about": ABOUT}


def _by_place(text: str) -> str:
    """A file whose numbers are taken apart, first bytes first: so a page with all the weights is a tenth smaller.

    Bytes that hold exponents are alike, and compress when they stand beside each other.
    """
    file = b64decode(text)
    begin = 8 + int.from_bytes(file[:8], "little")
    return b64encode(file[:begin] + b"".join(file[begin + place :: 4] for place in range(4))).decode("ascii")
