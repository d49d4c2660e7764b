"""Figure 3: life lines poured into rows, and the cross-entropy of the rows beside the likelihood of the lines."""

from typing import Any

from visitwise.widgets._figure import Figure, Number, Numbers, Switch

PATIENTS = ["Ada", "Ben", "Cleo"]
HAZARDS = [[0.1, 0.2, 0.3, 0.4], [0.15, 0.25, 0.35, 0.45], [0.1, 0.2, 0.3, 0.4]]


class PersonPeriod(Figure):
    """Drag the ends of three patients' lines and pour them into rows; read `stops` and `observed` back.

    The hazards, four for each patient, are in `given["hazards"]`.

    Attributes:
        stops: how many rows each patient has, from 1 to 4.
        observed: 1 if a patient's last row ended in the event, 0 if it was survived.
        poured: how many rows are in the table, from 0; 12 for all there are.
        chosen: the row whose cost is written out, from 0.
        after: whether cells after the end are kept as rows, which is wrong.
        mean: whether each loss is its own mean: the likelihood per patient, the cross-entropy per row.

    Raises:
        TraitError: naming the trait, what was given and what was expected.

    Examples:
        >>> PersonPeriod(stops=[4, 2, 1]).observed
        [1, 1, 0]
    """

    stops = Numbers([3, 2, 3], 1, 4, 1)
    observed = Numbers([1, 1, 0], 0, 1, 1)
    poured = Number(12, 0, 12, 1)
    chosen = Number(2, 0, 11, 1)
    after = Switch(False)
    mean = Switch(False)

    def __init__(self, **state: Any) -> None:
        super().__init__(**{"given": {"patients": PATIENTS, "hazards": HAZARDS}, **state})
