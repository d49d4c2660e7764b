"""What a code is to the cohort, and what a time is that says no more than the day."""

from collections.abc import Collection, Iterable, Sequence

from visitwise.definition import CohortDefinition, longest_name, stands_for

try:
    import polars as pl
except ModuleNotFoundError as error:
    message = "records are read with the package polars, which is missing: pip install 'visitwise[meds]'"
    raise ModuleNotFoundError(message, name="polars") from error

BIRTH, DEATH, ENCOUNTER = "MEDS_BIRTH", "MEDS_DEATH", "ENCOUNTER"
DAY = 86_400_000_000  # microseconds

NAMING = ("outcome", "competing", "index", "never_input")
"""What in a definition names codes that records are expected to bear."""

# What a code is to the cohort. An encounter opens a visit and is no code itself.
IS_INPUT, IS_ENCOUNTER, IS_NEVER, IS_BIRTH, IS_DEATH, IS_END, IS_CAUSE = range(7)


def roles_of(codes: pl.Series, definition: CohortDefinition) -> pl.DataFrame:
    """What each code is to the cohort; where several names fit, the longest decides between causes and the end.

    Args:
        codes: Codes, as in the records.
        definition: The choices.

    Returns:
        One row a code: `code`, `role`, the number of its `cause` or 0, and whether it `is_index` and `is_death`.

    Examples:
        >>> definition = CohortDefinition(("STROKE",), "code:END", index=("pain",))
        >>> roles_of(pl.Series(["pain", "STROKE", "END"]), definition).rows()
        [('pain', 0, 0, True, False), ('STROKE', 6, 1, False, False), ('END', 5, 0, False, False)]
    """
    end = () if definition.end_code is None else (definition.end_code,)
    names = [name for group in (*definition.causes, end) for name in group]
    meaning = [(IS_CAUSE, cause) for cause, group in enumerate(definition.causes, start=1) for _ in group]
    meaning += [(IS_END, 0)] * len(end)

    def role(code: str) -> tuple[int, int]:
        found = longest_name(names, code)
        if found is not None:
            return meaning[found]
        for special, name in ((IS_DEATH, DEATH), (IS_BIRTH, BIRTH)):
            if stands_for(name, code):
                return special, 0
        if code == ENCOUNTER:
            return IS_ENCOUNTER, 0
        return (IS_NEVER if _any_stands_for(definition.never_input, code) else IS_INPUT), 0

    roles = [role(code) for code in codes]
    return pl.DataFrame(
        {
            "code": codes,
            "role": pl.Series([kind for kind, _ in roles], dtype=pl.Int8),
            "cause": pl.Series([cause for _, cause in roles], dtype=pl.Int64),
            "is_index": pl.Series([_any_stands_for(definition.index, code) for code in codes], dtype=pl.Boolean),
            "is_death": pl.Series([stands_for(DEATH, code) for code in codes], dtype=pl.Boolean),
        }
    )


def borne(codes: pl.Series, definition: CohortDefinition) -> frozenset[str]:
    """The names of the definition that stand for one of these codes.

    Args:
        codes: Codes, as in the records.
        definition: The choices.

    Examples:
        >>> sorted(borne(pl.Series(["pain", "STROKE//left"]), CohortDefinition(("STROKE", "TIA"), "code:END")))
        ['STROKE']
    """
    end = () if definition.end_code is None else (definition.end_code,)
    names = {name for group in (*definition.causes, definition.index, definition.never_input, end) for name in group}
    return frozenset(name for name in names if any(stands_for(name, code) for code in codes))


def unborne(definition: CohortDefinition, found: Collection[str], keys: Sequence[str] = NAMING) -> tuple[str, ...]:
    """A warning for each name of the definition that no record of the dataset bears.

    Args:
        definition: The choices.
        found: The names that some record bears.
        keys: Where in the definition to look.

    Examples:
        >>> unborne(CohortDefinition(("STROKE", "TIA"), "code:END"), {"STROKE"})
        ("no record bears the code 'TIA' of outcome: is it written so in the records?",)
    """
    groups = {key: getattr(definition, key) for key in keys}
    if "competing" in groups:
        groups["competing"] = tuple(name for group in definition.competing for name in group)
    return tuple(
        f"no record bears the code {name!r} of {key}: is it written so in the records?"
        for key, names in groups.items()
        for name in names
        if name not in found
    )


def through_its_day(time: pl.Expr) -> pl.Expr:
    """The last microsecond of the day where a time is exactly midnight, and the time itself elsewhere.

    A date without a time of day is at hand as its midnight. Whoever is followed until a date, or dies on one, does so
    to the end of that day. The rule looks at each value by itself. It is for the ends in a table, and for deaths; one
    that is a cause only takes its turn after the other events of that day. Other records are moments.

    Args:
        time: Whole microseconds since 1970.

    Examples:
        >>> table = pl.DataFrame({"end": [DAY, DAY + 1]})
        >>> table.select(through_its_day(pl.col("end")))["end"].to_list()
        [172799999999, 86400000001]
    """
    return time + pl.when(time % DAY == 0).then(DAY - 1).otherwise(0)


def _any_stands_for(names: Iterable[str], code: str) -> bool:
    return any(stands_for(name, code) for name in names)
