"""Outcomes, splits, batches and the place on disk: nobody lost, nobody twice, the same again from the same seed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests import oracles
from visitwise import functional as F
from visitwise._ragged import arrays_of
from visitwise.cohort import Cohort, Outcome, require_disjoint
from visitwise.visits import Visits

pytestmark = pytest.mark.usefixtures("no_global_draws")


def lengths_cohort(lengths: list[int]) -> Cohort:
    """Patients with this many visits, all followed through."""
    visits = Visits.from_lists(
        [[["a"]] * n for n in lengths], [[float(k) for k in range(n)] for n in lengths], patient_id=range(len(lengths))
    )
    return Cohort(visits, Outcome.of(torch.tensor(lengths), torch.zeros(len(lengths))))


def ids(*parts: Cohort) -> list[int]:
    return [patient for part in parts for patient in part.visits.patient_id.tolist()]


def everything(cohort: Cohort) -> list[tuple[object, ...]]:
    return oracles.select(cohort, list(range(len(cohort))))


# ---------------------------------------------------------------------------------------------------------- outcomes


def test_outcome_of_fills_in_the_usual_values() -> None:
    outcome = Outcome.of(torch.tensor([3, 2]), torch.tensor([1, 0]))
    assert outcome.observed.tolist() == [True, False]
    assert outcome.cause.tolist() == [1, 0]
    assert outcome.start.tolist() == [0, 0]
    assert outcome.censored_exposure.tolist() == [1.0, 1.0]
    assert bool(outcome.followup_days.isnan().all())


@pytest.mark.parametrize("kind", [torch.bool, torch.int32, torch.int64, torch.float32])
def test_observed_may_be_flags_or_zeros_and_ones(kind: torch.dtype) -> None:
    outcome = Outcome.of(torch.tensor([3, 2]), torch.tensor([1, 0]).to(kind))
    assert outcome.observed.tolist() == [True, False]


def test_rows_at_risk_are_the_rows_of_the_person_period_table() -> None:
    outcome = oracles.random_cohort(8).outcome
    assert outcome.n_rows == len(F.person_period(outcome.stop, outcome.observed, outcome.start).event)
    assert outcome.n_rows != int(outcome.stop.sum())


def test_cause_of_two_kinds_counts_as_observed() -> None:
    outcome = Outcome.of(torch.tensor([1, 1, 1]), torch.tensor([1, 0, 1]), cause=torch.tensor([2, 0, 1]))
    assert outcome.observed.tolist() == [True, False, True]


def test_cohort_tells_what_it_holds() -> None:
    cohort = lengths_cohort([2, 3])
    assert repr(cohort) == "Cohort(2 patients, 5 visits, 5 codes, 5 rows at risk, 0 events)"


def test_loss_of_a_cohort_does_not_depend_on_the_view_of_its_visits() -> None:
    cohort = oracles.random_cohort(8)
    visits, outcome = cohort.visits, cohort.outcome
    logits = torch.randn(visits.n_visits, generator=torch.Generator().manual_seed(0))
    known = outcome.stop, outcome.observed, outcome.start, outcome.censored_exposure
    flat = F.hazard_nll_flat(logits, visits.visit_offsets, *known, reduction="none")
    padded = F.hazard_nll(visits.pad(logits, fill=float("nan")), *known, reduction="none")
    torch.testing.assert_close(flat, padded, rtol=1e-6, atol=0)


# ------------------------------------------------------------------------------------------------------------ concat


@pytest.mark.parametrize("seed", range(3))
def test_concat_of_the_parts_is_the_whole_in_another_order(seed: int) -> None:
    cohort = oracles.random_cohort(9, seed=seed)
    order = [4, 0, 8, 2, 6, 1, 3, 5, 7]
    parts = [cohort.select(torch.tensor(order[first : first + 3])) for first in (0, 3, 6)]
    assert everything(Cohort.concat(parts)) == oracles.select(cohort, order)


def test_concat_of_one_cohort_is_that_cohort() -> None:
    cohort = oracles.random_cohort(5)
    assert everything(Cohort.concat([cohort])) == everything(cohort)


# ------------------------------------------------------------------------------------------------------------- split


@given(st.integers(3, 60), st.integers(0, 2**32), st.sampled_from([(0.6, 0.4), (0.7, 0.15, 0.15), (1.0,), (0.5, 0.5)]))
def test_split_gives_every_patient_to_exactly_one_part(n: int, seed: int, fractions: tuple[float, ...]) -> None:
    cohort = lengths_cohort([1] * n)
    if min(np.diff([0, *(round(float(share) * n) for share in np.cumsum(fractions))])) == 0:
        with pytest.raises(ValueError, match="empty part"):
            cohort.split(fractions, seed=seed)
        return
    parts = cohort.split(fractions, seed=seed)
    assert sorted(ids(*parts)) == list(range(n))
    assert len(parts) == len(fractions)
    for part, share in zip(parts, fractions, strict=True):
        assert abs(len(part) - share * n) <= 1
    require_disjoint(*parts)


def test_split_keeps_a_patient_together_with_the_outcome() -> None:
    cohort = oracles.random_cohort(20)
    known = {record[0]: record for record in everything(cohort)}
    for part in cohort.split([0.5, 0.3, 0.2], seed=3):
        assert everything(part) == [known[patient] for patient in ids(part)]


def test_patients_of_a_part_keep_the_order_they_had() -> None:
    for part in lengths_cohort([1] * 40).split([0.5, 0.5], seed=1):
        assert ids(part) == sorted(ids(part))


def test_same_seed_splits_alike_and_another_seed_otherwise() -> None:
    cohort = lengths_cohort([1] * 40)
    first, again, other = (cohort.split([0.5, 0.5], seed=seed) for seed in (1, 1, 2))
    assert ids(first[0]) == ids(again[0])
    assert ids(first[0]) != ids(other[0])
    assert ids(first[0]) != list(range(20))


# ----------------------------------------------------------------------------------------------------------- batches


@given(st.integers(1, 40), st.integers(1, 12), st.integers(1, 5), st.integers(0, 3))
def test_every_patient_is_in_one_batch_an_epoch(n: int, batch_size: int, window: int, epoch: int) -> None:
    cohort = lengths_cohort([1 + k % 4 for k in range(n)])
    batches = list(cohort.batches(batch_size, seed=5, epoch=epoch, window=window))
    assert sorted(ids(*batches)) == list(range(n))
    assert len(batches) == -(-n // batch_size)
    assert sorted(len(batch) for batch in batches)[1:] == [batch_size] * (len(batches) - 1)


@pytest.mark.parametrize("window", [1, 4])
def test_same_seed_and_epoch_make_the_same_batches_and_others_make_others(window: int) -> None:
    cohort = lengths_cohort([1 + k % 5 for k in range(64)])

    def drawn(seed: int, epoch: int) -> list[int]:
        return ids(*cohort.batches(8, seed=seed, epoch=epoch, window=window))

    assert drawn(1, 0) == drawn(1, 0)
    assert len({tuple(drawn(seed, epoch)) for seed in (1, 2) for epoch in (0, 1, 2)}) == 6


def test_batch_holds_the_outcome_of_its_own_patients() -> None:
    cohort = oracles.random_cohort(20)
    known = {record[0]: record for record in everything(cohort)}
    for batch in cohort.batches(6, seed=0, window=2):
        assert everything(batch) == [known[patient] for patient in ids(batch)]


def test_wider_window_leaves_less_padding_and_no_order_in_time() -> None:
    lengths = torch.randint(1, 50, (400,), generator=torch.Generator().manual_seed(0)).tolist()
    cohort = lengths_cohort(lengths)
    padding = {}
    for window in (1, 5, 25):
        batches = list(cohort.batches(16, seed=0, window=window))
        cells = sum(len(batch) * int(batch.visits.length.max()) for batch in batches)
        padding[window] = 1 - cohort.visits.n_visits / cells
    assert padding[1] > 2 * padding[5] > 4 * padding[25]
    longest = [int(batch.visits.length.max()) for batch in cohort.batches(16, seed=0, window=25)]
    assert longest != sorted(longest)
    assert longest != sorted(longest, reverse=True)


# ----------------------------------------------------------------------------------------------------------- to disk


def same_bytes(one: Cohort, other: Cohort) -> None:
    for ours, theirs in ((one.visits, other.visits), (one.outcome, other.outcome)):
        assert arrays_of(ours).keys() == arrays_of(theirs).keys()
        for name, values in arrays_of(ours).items():
            read = arrays_of(theirs)[name]
            assert (values.dtype, values.shape) == (read.dtype, read.shape), name
            assert values.numpy().tobytes() == read.numpy().tobytes(), name
    assert one.visits.schema == other.visits.schema


@pytest.mark.parametrize(("n_static", "n_measurements"), [(2, 2), (0, 0), (1, 0), (0, 3)])
def test_saved_cohort_comes_back_byte_for_byte(tmp_path: Path, n_static: int, n_measurements: int) -> None:
    cohort = oracles.random_cohort(6, n_static=n_static, n_measurements=n_measurements)
    cohort.save(tmp_path / "cohort")
    same_bytes(cohort, Cohort.load(tmp_path / "cohort"))


def test_cohort_without_a_single_code_comes_back(tmp_path: Path) -> None:
    visits = Visits.from_lists([[[]], [[], []]], day=[[0], [0, 5]])
    cohort = Cohort(visits, Outcome.of(torch.tensor([1, 2]), torch.tensor([1, 0])))
    cohort.save(tmp_path / "nothing")
    same_bytes(cohort, Cohort.load(tmp_path / "nothing"))


def test_code_names_of_any_script_come_back(tmp_path: Path) -> None:
    visits = Visits.from_lists([[["grippe à virus", "肝炎"]]], day=[[0]])
    Cohort(visits, Outcome.of(torch.tensor([1]), torch.tensor([1]))).save(tmp_path / "names")
    assert Cohort.load(tmp_path / "names").visits.schema == visits.schema


def test_loaded_cohort_works_like_the_one_saved(tmp_path: Path) -> None:
    cohort = oracles.random_cohort(9)
    cohort.save(tmp_path / "cohort")
    loaded = Cohort.load(tmp_path / "cohort")
    for ours, theirs in zip(cohort.batches(4, seed=1), loaded.batches(4, seed=1), strict=True):
        same_bytes(ours, theirs)
    assert loaded.visits.padded().codes.tolist() == cohort.visits.padded().codes.tolist()


def test_arrays_are_mapped_and_changing_them_leaves_the_files_alone(tmp_path: Path) -> None:
    cohort = oracles.random_cohort(6)
    cohort.save(tmp_path / "cohort")
    files = {path.name: path.read_bytes() for path in (tmp_path / "cohort").iterdir()}
    loaded = Cohort.load(tmp_path / "cohort")
    mapped = Path("/proc/self/maps")
    if mapped.exists():
        assert str(tmp_path / "cohort" / "codes.npy") in mapped.read_text()
    loaded.visits.codes.fill_(1)
    loaded.visits.day.neg_()
    loaded.outcome.stop.add_(100)
    assert {path.name: path.read_bytes() for path in (tmp_path / "cohort").iterdir()} == files
    same_bytes(cohort, Cohort.load(tmp_path / "cohort"))


def test_save_makes_the_folders_above_and_leaves_nothing_unfinished(tmp_path: Path) -> None:
    oracles.random_cohort(3).save(str(tmp_path / "deep" / "down" / "cohort"))
    assert [path.name for path in (tmp_path / "deep" / "down").iterdir()] == ["cohort"]


def test_save_interrupted_half_way_is_never_loaded_and_never_in_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cohort, written = oracles.random_cohort(6), []

    def dies_at_the_third(path: Path, values: np.ndarray) -> None:
        written.append(path)
        if len(written) == 3:
            raise KeyboardInterrupt
        path.write_bytes(values.tobytes())

    with monkeypatch.context() as patched:
        patched.setattr(np, "save", dies_at_the_third)
        with pytest.raises(KeyboardInterrupt):
            cohort.save(tmp_path / "cohort")
    assert not (tmp_path / "cohort").exists()
    (unfinished,) = tmp_path.iterdir()
    for folder in (tmp_path / "cohort", unfinished):
        with pytest.raises(FileNotFoundError, match=r"holds no cohort\.json"):
            Cohort.load(folder)
    cohort.save(tmp_path / "cohort")
    same_bytes(cohort, Cohort.load(tmp_path / "cohort"))
    assert [path.name for path in tmp_path.iterdir()] == ["cohort"]


def test_save_never_replaces_a_cohort(tmp_path: Path) -> None:
    cohort = oracles.random_cohort(3)
    cohort.save(tmp_path / "cohort")
    with pytest.raises(FileExistsError, match="exists; choose another folder"):
        oracles.random_cohort(4).save(tmp_path / "cohort")
    same_bytes(cohort, Cohort.load(tmp_path / "cohort"))


def test_load_refuses_another_format_and_an_array_of_another_size(tmp_path: Path) -> None:
    cohort = oracles.random_cohort(3)
    cohort.save(tmp_path / "cohort")
    manifest = tmp_path / "cohort" / "cohort.json"
    right = manifest.read_text(encoding="utf-8")
    np.save(tmp_path / "cohort" / "day.npy", cohort.visits.day.numpy()[:-1])
    with pytest.raises(ValueError, match=rf"day.npy holds \[{cohort.visits.n_visits - 1}\] values; expected"):
        Cohort.load(tmp_path / "cohort")
    manifest.write_text(json.dumps({**json.loads(right), "format": "something else"}), encoding="utf-8")
    with pytest.raises(ValueError, match="holds the format 'something else'; expected 'visitwise cohort"):
        Cohort.load(tmp_path / "cohort")


def test_load_never_unpickles(tmp_path: Path) -> None:
    """Neither a mapped array, nor an empty one, which is read and not mapped."""
    cohort = oracles.random_cohort(3)
    cohort.save(tmp_path / "cohort")
    manifest = tmp_path / "cohort" / "cohort.json"
    objects = np.array([print] * cohort.visits.n_visits, dtype=object)
    np.save(tmp_path / "cohort" / "day.npy", objects, allow_pickle=True)
    with pytest.raises(ValueError, match="Python objects"):
        Cohort.load(tmp_path / "cohort")
    written = json.loads(manifest.read_text(encoding="utf-8"))
    written["shapes"]["day"] = [0]
    manifest.write_text(json.dumps(written), encoding="utf-8")
    with pytest.raises(ValueError, match="allow_pickle=False"):
        Cohort.load(tmp_path / "cohort")


@pytest.mark.parametrize("padded_visits", [1, 7, 30, 10_000])
def test_parts_hold_every_patient_once_and_stay_within_their_size(padded_visits: int) -> None:
    cohort = oracles.random_cohort(50)
    parts = list(cohort.parts(padded_visits))
    ids = torch.cat([part.visits.patient_id for part in parts])
    assert sorted(ids.tolist()) == sorted(cohort.visits.patient_id.tolist())
    for part in parts:
        longest = int(part.visits.length.max())
        assert len(part) == 1 or len(part) * longest <= padded_visits
    lengths = torch.cat([part.visits.length for part in parts])
    assert (lengths.diff() <= 0).all()


def test_a_part_without_room_for_a_visit_is_refused() -> None:
    with pytest.raises(ValueError, match="padded_visits is 0; expected at least 1"):
        list(oracles.random_cohort(2).parts(0))


def tampered(folder: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    """A saved cohort whose description is what `change` makes of it."""
    oracles.random_cohort(5).save(folder / "cohort")
    file = folder / "cohort" / "cohort.json"
    file.write_text(json.dumps(change(json.loads(file.read_text("utf-8")))), "utf-8")
    return folder / "cohort"


def without(manifest: dict[str, Any], part: str) -> dict[str, Any]:
    return {name: value for name, value in manifest.items() if name != part}


@pytest.mark.parametrize(
    "change",
    [
        lambda manifest: {**manifest, "shapes": without(manifest["shapes"], "day")},
        lambda manifest: {**manifest, "shapes": {**manifest["shapes"], "../elsewhere": [1]}},
        lambda manifest: {**manifest, "schema": without(manifest["schema"], "codes")},
        lambda manifest: without(manifest, "shapes"),
        lambda manifest: without(manifest, "schema"),
        lambda manifest: [manifest],
    ],
)
def test_a_description_that_is_not_one_of_a_cohort_is_refused(tmp_path: Path, change: Any) -> None:
    with pytest.raises(ValueError, match=r"cohort\.json does not describe|holds the format None"):
        Cohort.load(tampered(tmp_path, change))


def test_offsets_that_do_not_fit_the_arrays_are_refused(tmp_path: Path) -> None:
    folder = tampered(tmp_path, dict)
    offsets = np.load(folder / "code_offsets.npy")
    np.save(folder / "code_offsets.npy", offsets + 1)
    with pytest.raises(ValueError, match="code_offsets run from 1"):
        Cohort.load(folder)
