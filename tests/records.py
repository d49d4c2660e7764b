"""Patients as the figures have them that run trained models: `{"codes": [[3, 11], ...], "day": [...], "static": ...}`.

A code is its place in the simulator's schema.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from visitwise.simulate import SCHEMA
from visitwise.visits import Visits

Record = dict[str, Any]


def visits_of(records: Sequence[Record]) -> Visits:
    """The records' patients, in this order."""
    return Visits.from_lists(
        [[[SCHEMA.codes[code] for code in codes] for codes in record["codes"]] for record in records],
        day=[record["day"] for record in records],
        static=[record["static"] for record in records],
        schema=SCHEMA,
    )


def records_of(visits: Visits) -> list[Record]:
    """Each patient's record."""
    codes = [part.tolist() for part in visits.codes.split(visits.code_offsets.diff().tolist())]
    ends = visits.visit_offsets.tolist()
    return [
        {"codes": codes[begin:end], "day": visits.day[begin:end].tolist(), "static": static}
        for begin, end, static in zip(ends, ends[1:], visits.static.tolist(), strict=False)
    ]


def random_records(random: np.random.Generator, n: int, longest: int = 60) -> list[Record]:
    """Patients of 1 to `longest` visits, some of them without a code, most with codes that the true hazard reads."""
    lengths = [1, longest, *random.integers(1, longest + 1, n)][:n]
    return [random_record(random, int(length)) for length in lengths]


def random_record(random: np.random.Generator, n_visits: int) -> Record:
    days = np.cumsum(random.integers(1, 200, n_visits)) - (1 if random.random() < 0.5 else 0.75)
    return {
        "codes": [random_codes(random) for _ in range(n_visits)],
        "day": days.tolist(),
        "static": [float(np.float32(random.normal())), float(random.integers(2))],
    }


def random_codes(random: np.random.Generator) -> list[int]:
    return sorted(random.choice(np.arange(1, len(SCHEMA.codes)), random.integers(0, 6), replace=False).tolist())
