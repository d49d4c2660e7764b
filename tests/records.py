"""Patients as the figures have them that run trained models: `{"codes": [[3, 11], ...], "day": [...], "static": ...}`.

A code is its place in the schema, the simulator's unless another one is named. Where the schema has measurements, so
have the records: a row for each visit, None where one was not taken.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from visitwise.simulate import SCHEMA
from visitwise.visits import Schema, Visits

Record = dict[str, Any]


def visits_of(records: Sequence[Record], schema: Schema = SCHEMA) -> Visits:
    """The records' patients, in this order."""
    return Visits.from_lists(
        [[[schema.codes[code] for code in codes] for codes in record["codes"]] for record in records],
        day=[record["day"] for record in records],
        static=[record["static"] for record in records],
        measurements=[_taken(record["measurements"]) for record in records] if schema.measurements else None,
        schema=schema,
    )


def _taken(rows: list[list[float | None]]) -> list[list[float]]:
    return [[float("nan") if value is None else value for value in row] for row in rows]


def records_of(visits: Visits) -> list[Record]:
    """Each patient's record."""
    codes = [part.tolist() for part in visits.codes.split(visits.code_offsets.diff().tolist())]
    ends = visits.visit_offsets.tolist()
    return [
        {"codes": codes[begin:end], "day": visits.day[begin:end].tolist(), "static": static}
        for begin, end, static in zip(ends, ends[1:], visits.static.tolist(), strict=False)
    ]


def random_records(random: np.random.Generator, n: int, longest: int = 60, schema: Schema = SCHEMA) -> list[Record]:
    """Patients of 1 to `longest` visits, some of them without a code, most with codes that the true hazard reads."""
    lengths = [1, longest, *random.integers(1, longest + 1, n)][:n]
    return [random_record(random, int(length), schema) for length in lengths]


def random_record(random: np.random.Generator, n_visits: int, schema: Schema = SCHEMA) -> Record:
    days = np.cumsum(random.integers(1, 200, n_visits)) - (1 if random.random() < 0.5 else 0.75)
    record = {"codes": [random_codes(random, schema) for _ in range(n_visits)], "day": days.tolist()}
    if schema == SCHEMA:
        return record | {"static": [float(np.float32(random.normal())), float(random.integers(2))]}
    record["static"] = [float(np.float32(random.normal(3, 20))) for _ in schema.static]
    if schema.measurements:
        record["measurements"] = [random_measurements(random, schema) for _ in range(n_visits)]
    return record


def random_codes(random: np.random.Generator, schema: Schema = SCHEMA) -> list[int]:
    places = np.arange(1, len(schema.codes))
    return sorted(random.choice(places, min(random.integers(0, 6), len(places)), replace=False).tolist())


def random_measurements(random: np.random.Generator, schema: Schema) -> list[float | None]:
    """Half of them not taken."""
    return [float(np.float32(random.normal(100, 30))) if random.random() < 0.5 else None for _ in schema.measurements]
