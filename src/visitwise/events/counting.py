"""What the training patients have, counted: the vocabulary is made of it."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from jaxtyping import Float, Int

from visitwise.definition import CohortDefinition, stands_for
from visitwise.events.following import Followed
from visitwise.events.names import DAY, IS_INPUT, roles_of
from visitwise.visits import PADDING, Schema
from visitwise.vocabulary import UNKNOWN, Vocabulary, ancestry

import polars as pl  # isort: skip  # behind `names`, which says what to install if it is missing

YEAR_DAYS = 365.25


@dataclass(frozen=True, eq=False)
class Census:
    """What the training patients have, counted; the censuses of two shards add up.

    Args:
        patients: Number of patients.
        births: Number of patients whose birth is recorded.
        years: Their ages at the start of follow-up, summed.
        codes: For each code at a visit: `records`, `numbers` (records with a number), `measured` (patients with one).
        nodes: For each code, and each above it: `patients` who have it or something below it.
        static: For each code without a time: `patients`, `measured` (patients with a number), `total` of the numbers.

    Examples:
        >>> from datetime import datetime
        >>> from visitwise.events import follow
        >>> days = [datetime(2020, 1, day) for day in (1, 5, 9)]
        >>> codes = ["pain", "fever", "STROKE"]
        >>> events = pl.DataFrame({"subject_id": 7, "time": days, "code": codes, "numeric_value": None})
        >>> definition = CohortDefinition(("STROKE",), "date:2020-12-31", min_patients=1)
        >>> census = Census.of(follow(events, definition), np.array([0]))
        >>> (census + census).codes.rows()
        [('fever', 2, 0, 0), ('pain', 2, 0, 0)]
        >>> census.vocabulary(definition).schema.codes
        ('<padding>', 'fever', 'pain', '<unknown>')
    """

    patients: int
    births: int
    years: float
    codes: pl.DataFrame
    nodes: pl.DataFrame
    static: pl.DataFrame

    @classmethod
    def of(
        cls, followed: Followed, train: Int[np.ndarray, " patient"], parents: Mapping[str, Sequence[str]] | None = None
    ) -> Self:
        """Count the patients of a shard at these positions, and nobody else.

        Args:
            followed: The shard.
            train: Positions of training patients among the patients kept.
            parents: The codes right above each code.
        """
        chosen = pl.DataFrame({"patient": pl.Series(train, dtype=pl.UInt32)})
        born = followed.patients[train].filter(pl.col("birth").is_not_null())
        visits = followed.visits.with_row_index("visit").join(chosen, on="patient")
        records = followed.records.join(visits.select("visit", "patient"), on="visit")
        codes = records.group_by("patient", "code").agg(records=pl.len(), numbers=pl.col("numeric_value").count())
        nodes = codes.select("patient", "code").join(_above(followed.codes, parents or {}), on="code")
        static = static_values(followed.static).join(chosen, on="patient")
        values = static.group_by("code").agg(patients=pl.len(), numbers=pl.col("numeric_value").drop_nulls())

        def named(table: pl.DataFrame) -> pl.DataFrame:
            return table.with_columns(followed.codes.gather(table["code"])).sort("code")

        return cls(
            patients=chosen.height,
            births=born.height,
            years=math.fsum(years_of(born)),
            codes=named(
                codes.group_by("code").agg(pl.col("records", "numbers").sum(), measured=(pl.col("numbers") > 0).sum())
            ),
            nodes=nodes.unique(["patient", "node"]).group_by("node").agg(patients=pl.len()).sort("node"),
            static=named(
                values.select(
                    "code",
                    "patients",
                    measured=pl.col("numbers").list.len(),
                    total=pl.Series([math.fsum(numbers) for numbers in values["numbers"]], dtype=pl.Float64),
                )
            ),
        )

    def __add__(self, other: Self) -> Self:
        def both(name: str) -> pl.DataFrame:
            one, more = getattr(self, name), getattr(other, name)
            key, *counts = one.columns
            summed: pl.DataFrame = pl.concat([one, more]).group_by(key).agg(pl.col(counts).sum()).sort(key)
            return summed

        tables = {name: both(name) for name in ("codes", "nodes", "static")}
        births, years = self.births + other.births, self.years + other.years
        return type(self)(self.patients + other.patients, births, years, **tables)

    def vocabulary(
        self,
        definition: CohortDefinition,
        *,
        order: Sequence[str] = (),
        parents: Mapping[str, Sequence[str]] | None = None,
    ) -> Vocabulary:
        """The names of the inputs, rare codes replaced by what stands above them.

        Args:
            definition: Says how many patients a code needs, and which codes are measurements.
            order: Codes in the order that the schema is to have, as in the metadata; others follow by name.
            parents: The codes right above each code.

        Raises:
            ValueError: A code that the definition names as a measurement has no number in any training patient.
        """
        place = {name: position for position, name in enumerate(order)}

        def ordered(names: Iterable[str]) -> list[str]:
            return sorted(names, key=lambda name: (place.get(name, len(place)), name))

        measurements = ordered(self._measurements(definition))
        enough = set(self.nodes.filter(pl.col("patients") >= definition.min_patients)["node"])
        enough -= {PADDING, UNKNOWN, *measurements}
        enough -= set(
            roles_of(pl.Series(sorted(enough), dtype=pl.String), definition).filter(pl.col("role") != IS_INPUT)["code"]
        )
        targets = {
            code: next((name for name in ancestry(code, parents or {}) if name in enough), UNKNOWN)
            for code in self.codes["code"]
            if code not in measurements
        }
        codes = ordered(set(targets.values()) - {UNKNOWN})
        static, fills, age = self._static(definition, ordered)
        return Vocabulary(
            Schema.of([*codes, UNKNOWN], static, measurements),
            {code: target for code, target in targets.items() if code != target},
            fills,
            age,
        )

    def _measurements(self, definition: CohortDefinition) -> list[str]:
        if definition.measurements == "auto":
            often = self.codes.filter(
                2 * pl.col("numbers") >= pl.col("records"), pl.col("measured") >= definition.min_patients
            )
            return often["code"].to_list()
        measured = self.codes.filter(pl.col("measured") > 0)["code"].to_list()
        for name in definition.measurements:
            if not any(stands_for(name, code) for code in measured):
                raise ValueError(f"the measurement {name!r} has no number in any training patient; expected one")
        return [code for code in measured if any(stands_for(name, code) for name in definition.measurements)]

    def _static(
        self, definition: CohortDefinition, ordered: Callable[[Iterable[str]], list[str]]
    ) -> tuple[list[str], dict[str, float], str | None]:
        """Names of the static features, means of those that are numbers, and the name of the age."""
        table = {row["code"]: row for row in self.static.iter_rows(named=True)}
        is_number = {name: 2 * row["measured"] >= row["patients"] for name, row in table.items()}
        number_of = {name: row["measured" if is_number[name] else "patients"] for name, row in table.items()}
        names: list[str] = []
        fills: dict[str, float] = {}

        def number(name: str, known: int, total: float) -> None:
            names.append(name)
            fills[name] = total / known
            if known < self.patients:
                names.append(f"{name} known")

        age = None
        if self.births >= definition.min_patients:
            age = "age at the start" if "age" in table else "age"
            number(age, self.births, self.years)
        for name in ordered(name for name, count in number_of.items() if count >= definition.min_patients):
            if is_number[name]:
                number(name, table[name]["measured"], table[name]["total"])
            else:
                names.append(name)
        return names, fills, age


def _above(codes: pl.Series, parents: Mapping[str, Sequence[str]]) -> pl.DataFrame:
    """The position of each code beside its name and that of everything above it."""
    pairs = [(place, node) for place, code in enumerate(codes) for node in ancestry(code, parents)]
    return pl.DataFrame(pairs, schema={"code": pl.UInt32, "node": pl.String}, orient="row")


def static_values(static: pl.DataFrame) -> pl.DataFrame:
    """One row for each patient and code, with the last number that there is.

    Args:
        static: As in `Followed`.
    """
    last = pl.col("numeric_value").drop_nulls().last()
    return static.group_by("patient", "code", maintain_order=True).agg(last)


def years_of(patients: pl.DataFrame) -> Float[np.ndarray, " patient"]:
    """Age at the start of follow-up, NaN where the birth is not known.

    Args:
        patients: As in `Followed`.
    """
    elapsed: np.ndarray = (patients["start_time"] - patients["birth"]).to_numpy().astype(np.float64)
    return elapsed / (DAY * YEAR_DAYS)
