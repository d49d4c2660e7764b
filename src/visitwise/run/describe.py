"""Who the patients are: a table one, with and without the event, and the vocabulary with its counts."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from visitwise._explain import explained
from visitwise.cohort import Cohort
from visitwise.visits import CHUNK

MOST_CODES, MOST_COLUMNS = 10, 15
GROUPS = ("all", "with the event", "without")


@explained
def table_one(cohort: Cohort) -> pd.DataFrame:
    """What a reader asks first: how old, how sick, how long followed, for all patients and by outcome.

    What is recorded after a patient's last row at risk is no input, and is left out.

    Returns:
        A line for each characteristic, with `part`, `name` and a text for each group of patients. Numbers are mean
        (standard deviation), median (5 to 95 %) or count (share).

    Examples:
        >>> from visitwise.run import open_cohort
        >>> table = table_one(open_cohort("small"))
        >>> table[table.name == "patients"].iloc[0].tolist()
        ['', 'patients', '2,000 (100 %)', '604 (30.2 %)', '1,396 (69.8 %)']
    """
    event = cohort.outcome.observed
    groups = [torch.ones_like(event), event, ~event]
    tallies = _count(cohort, event)
    lines = [["", "patients", *(_share(int(who.sum()), len(cohort)) for who in groups)]]

    def add(part: str, name: str, told: Callable[[Tensor], str]) -> None:
        lines.append([part, name, *(told(who) if bool(who.any()) else "–" for who in groups)])

    static, names = cohort.visits.static, cohort.visits.schema.static
    for place, name in enumerate(names[:MOST_COLUMNS]):
        values = static[:, place].double()
        yes_or_no = bool(((values == 0) | (values == 1)).all())
        add("at the start", name, lambda who, v=values, b=yes_or_no: _yes(v[who]) if b else _mean(v[who]))  # type: ignore[misc]
    _say_more(lines, "at the start", len(names))
    read = cohort.outcome.stop
    add("record", "visits up to the last one at risk", lambda who: _median(read[who]))
    add("record", "rows at risk", lambda who: _median((cohort.outcome.stop - cohort.outcome.start)[who]))
    first = cohort.visits.visit_offsets[:-1]
    days = cohort.outcome.followup_days - cohort.visits.day[first + cohort.outcome.start]
    if bool((~days.isnan()).any()):
        add("record", "followed, days", lambda who: _median(days[who & ~days.isnan()]))
    sizes = [int(who.sum()) for who in groups]
    for code in tallies.most_common[:MOST_CODES]:
        counts = [tallies.with_code[group, code] for group in range(3)]
        told = [_share(int(count), size) if size else "–" for count, size in zip(counts, sizes, strict=True)]
        lines.append(["ever recorded", cohort.visits.schema.codes[code], *told])
    measured = cohort.visits.schema.measurements
    for place, name in enumerate(measured[:MOST_COLUMNS]):
        lines.append(["measured", name, *(_measured(tallies, group, place) for group in range(3))])
    _say_more(lines, "measured", len(measured))
    return pd.DataFrame(lines, columns=["part", "name", *GROUPS])


@explained
def vocabulary(train: Cohort) -> pd.DataFrame:
    """Every input by name, with the number of training patients and visits that have it.

    Returns:
        A line for each code (padding left out), static feature and measurement: `kind`, `index`, `name`, `patients`,
        `visits`.

    Examples:
        >>> from visitwise.run import open_cohort
        >>> vocabulary(open_cohort("small")).name.iloc[0]
        'ICD10CM//I10 high blood pressure'
    """
    schema = train.visits.schema
    tallies = _count(train, train.outcome.observed)
    kinds = ["code"] * (len(schema.codes) - 1) + ["static"] * len(schema.static)
    kinds += ["measurement"] * len(schema.measurements)
    n_visits = int(train.outcome.stop.sum())
    columns = {
        "kind": kinds,
        "index": [*range(1, len(schema.codes)), *range(len(schema.static)), *range(len(schema.measurements))],
        "name": [*schema.codes[1:], *schema.static, *schema.measurements],
        "patients": [
            *tallies.with_code[0, 1:].tolist(),
            *[len(train)] * len(schema.static),
            *tallies.ever_measured.tolist(),
        ],
        "visits": [
            *tallies.code_visits[1:].tolist(),
            *[n_visits] * len(schema.static),
            *tallies.measured[0].tolist(),
        ],
    }
    return pd.DataFrame(columns)


@dataclass(frozen=True)
class _Tallies:
    """Counts over the visits that are input; the groups are all patients, those with the event, those without."""

    with_code: Int[np.ndarray, "3 code"]  # patients who have the code
    code_visits: Int[np.ndarray, " code"]
    visits: Int[np.ndarray, "3"]
    measured: Int[np.ndarray, "3 measurement"]  # visits with a value
    total: np.ndarray  # [group, measurement], of the values
    squares: np.ndarray
    ever_measured: Int[np.ndarray, " measurement"]

    @property
    def most_common(self) -> list[int]:
        order = np.argsort(-self.with_code[0, 1:], kind="stable") + 1
        return [int(code) for code in order if self.with_code[0, code] > 0]


def _count(cohort: Cohort, event: Bool[Tensor, " patient"]) -> _Tallies:
    """One pass over the visits, some patients at a time."""
    n_codes, n_measured = len(cohort.visits.schema.codes), len(cohort.visits.schema.measurements)
    with_code, code_visits = np.zeros((3, n_codes), dtype=np.int64), np.zeros(n_codes, dtype=np.int64)
    n_visits, ever = np.zeros(3, dtype=np.int64), np.zeros(n_measured, dtype=np.int64)
    measured = np.zeros((3, n_measured), dtype=np.int64)
    total, squares = np.zeros((3, n_measured)), np.zeros((3, n_measured))
    for some, group in _parts(cohort, event):
        visits = some.visits
        is_input = visits.index < some.outcome.stop[visits.patient]
        of_code = torch.repeat_interleave(visits.code_offsets.diff())
        kept = is_input[of_code]
        codes, visit = visits.codes.long()[kept], of_code[kept]
        code_visits += torch.bincount((visit * n_codes + codes).unique() % n_codes, minlength=n_codes).numpy(force=True)
        pairs = (visits.patient[visit] * n_codes + codes).unique()
        values = visits.measurements.double()
        known = ~values.isnan() & is_input[:, None]
        ever += (
            torch.zeros(len(some), n_measured)
            .index_add(0, visits.patient, known.float())
            .gt(0)
            .sum(0)
            .numpy(force=True)
        )
        for place, who in enumerate(group):
            with_code[place] += torch.bincount((pairs % n_codes)[who[pairs // n_codes]], minlength=n_codes).numpy(
                force=True
            )
            own = who[visits.patient]
            n_visits[place] += int((is_input & own).sum())
            has = known & own[:, None]
            measured[place] += has.sum(0).numpy(force=True)
            total[place] += values.where(has, 0.0).sum(0).numpy(force=True)
            squares[place] += values.where(has, 0.0).square().sum(0).numpy(force=True)
    return _Tallies(with_code, code_visits, n_visits, measured, total, squares, ever)


def _parts(cohort: Cohort, event: Tensor) -> Iterator[tuple[Cohort, list[Tensor]]]:
    for patients in torch.arange(len(cohort)).split(CHUNK):
        has = event[patients]
        yield cohort.select(patients), [torch.ones_like(has), has, ~has]


def _say_more(lines: list[list[str]], part: str, n_columns: int) -> None:
    if n_columns > MOST_COLUMNS:
        lines.append([part, f"and {n_columns - MOST_COLUMNS} more", "", "", ""])


def _measured(tallies: _Tallies, group: int, place: int) -> str:
    n, visits = int(tallies.measured[group, place]), int(tallies.visits[group])
    if n == 0:
        return "at no visit" if visits else "–"
    mean = tallies.total[group, place] / n
    deviation = max(tallies.squares[group, place] / n - mean**2, 0.0) ** 0.5
    return f"{_mean_and_deviation(mean, deviation)}, at {100 * n / visits:.1f} % of visits"


def _share(count: int, of: int) -> str:
    return f"{count:,} (100 %)" if count == of else f"{count:,} ({100 * count / of:.1f} %)"


def _yes(values: Tensor) -> str:
    return _share(int(values.sum()), len(values))


def _mean(values: Tensor) -> str:
    return _mean_and_deviation(values.mean().item(), values.std(correction=0).item())


def _mean_and_deviation(mean: float, deviation: float) -> str:
    """Both with as many decimals as give the deviation three digits: a mean is not known better than that."""
    decimals = min(max(2 - math.floor(math.log10(deviation)), 0), 6) if deviation > 0 else 2
    return f"{mean:.{decimals}f} ({deviation:.{decimals}f})"


def _median(values: Tensor) -> str:
    if len(values) == 0:
        return "–"
    low, middle, high = np.quantile(values.double().numpy(force=True), [0.05, 0.5, 0.95])
    return f"{middle:,.0f} ({low:,.0f} to {high:,.0f})"
