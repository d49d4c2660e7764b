"""Outcomes, splits, batches and the place on disk: nobody lost, nobody twice, the same again from the same seed."""

import json
import pickle
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests import oracles
from tests.cohorts import random_cohort
from visitwise import cohort as cohorts
from visitwise import functional as F
from visitwise._ragged import arrays_of
from visitwise.cohort import Cohort, CohortWriter, Outcome, require_disjoint
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


def test_parts_of_a_split_read_their_visits_where_the_cohort_has_them() -> None:
    cohort = random_cohort(40, seed=3)
    part = cohort.split([0.5, 0.5], seed=0)[0]
    copied = cohort.select((part.visits.patient_id[:, None] == cohort.visits.patient_id).nonzero()[:, 1])
    some = torch.tensor([5, -1, 0])
    assert_same_arrays(part.select(some).visits, copied.select(some).visits)
    assert_same_arrays(part.split([0.5, 0.5], seed=1)[1].visits, copied.split([0.5, 0.5], seed=1)[1].visits)
    assert (len(part), part.visits.n_visits) == (len(copied), copied.visits.n_visits)
    assert {"codes", "code_offsets", "day", "measurements"}.isdisjoint(vars(part.visits))
    for same in (part.visits, replace(part.visits), part.visits.to("cpu"), pickle.loads(pickle.dumps(part)).visits):
        assert_same_arrays(same, copied.visits)
        assert_same_arrays(same.select(some), copied.visits.select(some))


def assert_same_arrays(one: Visits, other: Visits) -> None:
    for name, values in arrays_of(other).items():
        assert torch.equal(getattr(one, name).nan_to_num(), values.nan_to_num()), name
    assert one.schema == other.schema


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


def test_save_interrupted_half_way_is_never_loaded_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cohort, append, written = oracles.random_cohort(6), cohorts._GrowingArray.append, []

    def dies_at_the_third(array: cohorts._GrowingArray, values: np.ndarray) -> None:
        append(array, values)
        written.append(values)
        if len(written) == 3:
            (unfinished,) = tmp_path.iterdir()
            with pytest.raises(FileNotFoundError, match=r"holds no cohort\.json"):
                Cohort.load(unfinished)
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(cohorts._GrowingArray, "append", dies_at_the_third)
        with pytest.raises(KeyboardInterrupt):
            cohort.save(tmp_path / "cohort")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / ".cohort.unfinished").mkdir()  # of a process that was killed
    (tmp_path / ".cohort.unfinished" / "codes.npy").write_bytes(b"half of them")
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


def test_opening_a_cohort_reads_the_offsets_and_none_of_the_rest(tmp_path: Path) -> None:
    smaps = Path("/proc/self/smaps")
    if not smaps.exists():
        pytest.skip("the system does not say what is resident")
    lengths_cohort([10] * 20_000).save(tmp_path / "cohort")
    loaded = Cohort.load(tmp_path / "cohort")
    resident = {
        Path(name).stem: int(kilobytes) * 1024
        for name, kilobytes in re.findall(rf"{tmp_path}/cohort/(\S+)\n(?:.*\n)*?Rss: +(\d+)", smaps.read_text())
    }
    assert resident["code_offsets"] >= loaded.visits.code_offsets.nbytes
    assert resident["codes"] <= loaded.visits.codes.nbytes / 4
    assert resident["day"] <= loaded.visits.day.nbytes / 4


# ------------------------------------------------------------------------------------------------- to disk, by parts


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def parts_of(cohort: Cohort, *sizes: int) -> list[Cohort]:
    return [cohort.select(chosen) for chosen in torch.arange(len(cohort)).split(list(sizes))]


def write(folder: Path, parts: list[Cohort], origin: dict[str, Any] | None = None) -> None:
    with CohortWriter(folder, origin=origin) as writer:
        for part in parts:
            writer.append(part)
        writer.finish()


@pytest.mark.parametrize(("n_static", "n_measurements"), [(2, 2), (0, 0)])
@pytest.mark.parametrize("sizes", [(9,), (4, 4, 1), (1,) * 9])
def test_written_in_parts_a_cohort_has_the_bytes_of_one_saved_whole(
    tmp_path: Path, n_static: int, n_measurements: int, sizes: tuple[int, ...]
) -> None:
    cohort = oracles.random_cohort(9, n_static=n_static, n_measurements=n_measurements)
    cohort.save(tmp_path / "whole")
    write(tmp_path / "parts", parts_of(cohort, *sizes))
    assert files_of(tmp_path / "parts") == files_of(tmp_path / "whole")


def test_the_files_are_those_that_numpy_writes(tmp_path: Path) -> None:
    cohort = oracles.random_cohort(5)
    cohort.save(tmp_path / "cohort")
    for name, values in (arrays_of(cohort.visits) | arrays_of(cohort.outcome)).items():
        np.save(tmp_path / "by_numpy.npy", values.numpy())
        assert (tmp_path / "cohort" / f"{name}.npy").read_bytes() == (tmp_path / "by_numpy.npy").read_bytes(), name


def test_parts_without_a_single_code_keep_their_place(tmp_path: Path) -> None:
    visits = Visits.from_lists([[[]], [["a"], []], [[], []]], day=[[0], [0, 5], [0, 9]])
    cohort = Cohort(visits, Outcome.of(torch.tensor([1, 2, 2]), torch.tensor([1, 0, 1])))
    write(tmp_path / "cohort", parts_of(cohort, 1, 1, 1))
    same_bytes(cohort, Cohort.load(tmp_path / "cohort"))


def test_a_writer_goes_on_where_the_last_one_kept_its_work(tmp_path: Path) -> None:
    cohort = oracles.random_cohort(9)
    cohort.save(tmp_path / "whole")
    first, second, third, last = parts_of(cohort, 3, 2, 3, 1)
    stopped = CohortWriter(tmp_path / "cohort", origin={"seed": 1})
    for part in (first, second):
        stopped.append(part)
    stopped.keep()
    stopped.append(third)  # written, and lost: it was not kept
    stopped.__exit__(None, None, None)
    assert not (tmp_path / "cohort").exists()
    with CohortWriter(tmp_path / "cohort", origin={"seed": 1}) as writer:
        assert writer.n_patients == 5
        writer.append(third)
        writer.append(last)
        writer.finish()
    assert files_of(tmp_path / "cohort") == files_of(tmp_path / "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cohort", "whole"]


def lose(folder: Path) -> None:
    with (folder / "day.npy").open("r+b") as file:
        file.truncate(130)


def scramble(folder: Path) -> None:
    (folder / "written.json").write_text("{")


@pytest.mark.parametrize("damage", [lose, scramble, lambda folder: (folder / "codes.npy").unlink()])
def test_work_of_another_origin_or_with_a_file_that_is_not_whole_is_begun_anew(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    cohort = oracles.random_cohort(9)
    cohort.save(tmp_path / "whole")
    for origin, harm in (({"seed": 1}, lambda _: None), ({"seed": 2}, damage)):
        with CohortWriter(tmp_path / "cohort", origin=origin) as writer:
            assert writer.n_patients == 0
            writer.append(parts_of(cohort, 5, 4)[0])
            writer.keep()
        harm(tmp_path / ".cohort.unfinished")
    write(tmp_path / "cohort", parts_of(cohort, 5, 4), origin={"seed": 2})
    assert files_of(tmp_path / "cohort") == files_of(tmp_path / "whole")


def test_parts_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    cohort = oracles.random_cohort(6)
    first, last = parts_of(cohort, 3, 3)
    other = oracles.random_cohort(3, n_static=0)
    coarse = replace(last, visits=replace(last.visits, day=last.visits.day.float()))
    for part, message in ((other, "another schema"), (coarse, r"day of the part is \[dtype\('float32'\)\]; expected")):
        with CohortWriter(tmp_path / "cohort") as writer:
            writer.append(first)
            with pytest.raises(ValueError, match=message):
                writer.append(part)
    with CohortWriter(tmp_path / "cohort") as writer:
        writer.append(first, hazard=first.visits.day)
        with pytest.raises(ValueError, match=r"\['hazard'\] is not beside every part"):
            writer.append(last)
        with pytest.raises(ValueError, match=r"\['day'\] is the name of an array of the cohort"):
            writer.append(last, day=last.visits.day)
    with pytest.raises(ValueError, match="appears twice"):
        write(tmp_path / "cohort", [first, last, first.select(torch.tensor([2]))])
    with pytest.raises(ValueError, match="there are 0 patients"):
        write(tmp_path / "cohort", [])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("origin", [None, {"seed": 1}])
def test_a_full_disk_is_told_and_leaves_no_cohort(tmp_path: Path, origin: dict[str, Any] | None) -> None:
    resource = pytest.importorskip("resource")
    before, kept = resource.getrlimit(resource.RLIMIT_FSIZE), origin is not None
    parts = parts_of(lengths_cohort([100] * 40), 20, 20)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(OSError, match="keeps what was written" if kept else "nothing is kept") as told:
            write(tmp_path / "cohort", parts, origin)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert f"no room left for {tmp_path / 'cohort'}" in str(told.value)
    assert [path.name for path in tmp_path.iterdir()] == [".cohort.unfinished"] * kept
    write(tmp_path / "cohort", parts, origin)
    assert len(Cohort.load(tmp_path / "cohort")) == 40


# -------------------------------------------------------------------------------------------------------------- parts


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


@pytest.mark.parametrize("visits", [1, 7, 40, 10_000])
def test_portions_hold_every_patient_once_in_order_and_about_as_many_visits(visits: int) -> None:
    cohort = oracles.random_cohort(60)
    portions = list(cohort.portions(visits))
    together = torch.cat([portion.visits.patient_id for portion in portions])
    assert torch.equal(together, cohort.visits.patient_id)
    with_blanks = [portion.visits.n_visits + len(portion) for portion in portions]
    assert max(with_blanks) <= visits + int(cohort.visits.length.max())
    assert len(portions) <= -(-sum(with_blanks) // visits)


def test_portions_below_one_visit_are_refused() -> None:
    with pytest.raises(ValueError, match="visits is 0; expected at least 1"):
        list(oracles.random_cohort(2).portions(0))


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
