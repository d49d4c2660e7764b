"""Figure 1: hazards become survival, event probabilities and the loss of one patient."""

from visitwise.widgets._figure import Figure, Number, Numbers, OneOf


class HazardLoom(Figure):
    """Drag hazards and the event; read `hazards` and `event` back.

    Attributes:
        hazards: 1 to 6 hazards, from 0.01 to 0.99.
        event: the interval that the event falls in, from 0.
        formula: how survival is drawn, `"product"` or `"exp"`, which is the wrong one.

    Raises:
        TraitError: naming the trait, what was given and what was expected.

    Examples:
        >>> HazardLoom(hazards=[0.15, 0.25], event=1)
        HazardLoom(hazards=[0.15, 0.25], event=1, formula='product')
    """

    hazards = Numbers([0.1, 0.2, 0.3], 0.01, 0.99, 0.01, fewest=1, most=6)
    event = Number(2, 0, 5, 1)
    formula = OneOf("product", "exp")
