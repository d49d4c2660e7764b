"""The datasets that `meds-testing-helpers` ships or makes, from the events to labels: none of them was made for us."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import meds
import polars as pl
import pyarrow.parquet as pq
import pytest
import torch
from click.testing import CliRunner, Result
from meds_testing_helpers.dataset import MEDSDataset
from meds_testing_helpers.static_sample_data import exported_yamls

from tests.event_oracles import Row, follow
from visitwise._ragged import arrays_of
from visitwise.cli import main
from visitwise.definition import CohortDefinition
from visitwise.meds import labels_of, prepare, read, write_cohort
from visitwise.run import table_one
from visitwise.study import SPLITS, Study

# Readings of one stay lie minutes apart: each of them is a visit, and the discharge is the event.
STAY = CohortDefinition(("DISCHARGE",), "last record", visit="gap:1m", min_patients=1)
GENERATED = CohortDefinition(("dynamic//6",), "last record")
DEFINITIONS = {
    "by day": GENERATED,
    "a competing cause": CohortDefinition(("dynamic//6",), "last record", competing=(("dynamic//0",), ("dynamic//1",))),
    "from an index event, by gap": CohortDefinition(
        ("dynamic//6",), "date:2030-01-01", index=("dynamic//2",), visit="gap:24h", washout_days=3650
    ),
    "blanked, with a history": CohortDefinition(
        ("dynamic//6",), "last record", blanking_days=400, minimum_history_days=365, never_input=("dynamic//5",)
    ),
    "an end for some": CohortDefinition(("dynamic//6",), "code:dynamic//3", faulty="drop", min_patients=1),
}
QUICK = ["--epochs", 2, "--hidden", 4, "--embedding", 4]


def run(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def options(definition: CohortDefinition, tmp_path: Path) -> list[str]:
    path = tmp_path / "definition.toml"
    path.write_text(definition.to_toml(), encoding="utf-8")
    return ["--config", str(path)]


@pytest.fixture(scope="module", params=sorted(exported_yamls))
def shipped(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of the datasets that lie in the package as text."""
    folder = tmp_path_factory.mktemp("shipped")
    MEDSDataset.from_yaml(exported_yamls[request.param]).write(folder)
    return folder


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five hundred subjects from the package's own command."""
    folder = tmp_path_factory.mktemp("generated") / "sample"
    settings = ["seed=1", "N_subjects=500", "do_overwrite=False", "dataset_spec/data_generator=sample"]
    command = str(Path(sys.executable).with_name("build_sample_MEDS_dataset"))
    subprocess.run([command, *settings, f"output_dir={folder}"], check=True, capture_output=True)
    return folder


# ------------------------------------------------------------------------------------------------------------- shipped


def test_two_datasets_are_shipped() -> None:
    assert len(exported_yamls) == 2


def test_the_stays_are_read_as_one_counts_them_by_hand(shipped: Path) -> None:
    study = read(shipped, STAY)
    outcome = study.cohort.outcome
    stays = dict(zip(study.cohort.visits.patient_id.tolist(), outcome.stop.tolist(), strict=True))
    assert stays == {239684: 4, 1195293: 6, 68729: 1, 814703: 1, 754281: 1, 1500733: 3}
    assert outcome.cause.tolist() == [1] * 6
    parts = dict(zip(study.cohort.visits.patient_id.tolist(), [SPLITS[one] for one in study.split], strict=True))
    assert parts == dict(pl.read_parquet(shipped / meds.subject_splits_filepath).iter_rows())


def test_numbers_births_and_colours_of_eyes_find_their_place(shipped: Path) -> None:
    study = read(shipped, STAY)
    visits, schema = study.cohort.visits, study.cohort.visits.schema
    assert schema.measurements == ("HR", "TEMP")
    assert {code.partition("//")[0] for code in schema.codes[1:-1]} == {"ADMISSION"}
    assert {"HEIGHT", "age", "EYE_COLOR//BROWN", "EYE_COLOR//BLUE", "EYE_COLOR//HAZEL"} <= set(schema.static)
    first = visits.patient_id.tolist().index(239684)
    row = int(visits.visit_offsets[first])
    assert visits.measurements[row].tolist() == pytest.approx([102.6, 96.0])
    static = dict(zip(schema.static, visits.static[first].tolist(), strict=True))
    assert static["HEIGHT"] == pytest.approx(175.271115221764)
    assert static["age"] == pytest.approx((2010 - 1980) - (365 - 133.73) / 365.25, abs=0.01)
    assert (static["EYE_COLOR//BROWN"], static["EYE_COLOR//BLUE"]) == (1.0, 0.0)


def test_from_an_index_event_the_others_are_counted_out(shipped: Path) -> None:
    cardiac = CohortDefinition(
        ("DISCHARGE",), "last record", index=("ADMISSION//CARDIAC",), visit="gap:1m", min_patients=1
    )
    study = read(shipped, cardiac)
    assert study.cohort.visits.patient_id.tolist() == [239684, 1195293]
    assert study.flow is not None
    assert {name: count for name, count in study.flow.excluded.items() if count} == {"no index event": 4}
    with pytest.raises(ValueError, match="none of the 2 patients is a tuning patient"):
        _ = study.tuning


def test_an_event_that_no_reading_precedes_leaves_nobody(shipped: Path) -> None:
    with pytest.raises(ValueError, match=r"6 .*the event"):
        read(shipped, CohortDefinition(("ADMISSION",), "last record", min_patients=1))


def test_by_calendar_day_each_stay_is_one_visit_that_holds_its_event(shipped: Path) -> None:
    with pytest.raises(ValueError, match="6"):
        read(shipped, CohortDefinition(("DISCHARGE",), "last record", min_patients=1))


def test_a_shipped_dataset_is_described_learned_and_labelled(shipped: Path, tmp_path: Path) -> None:
    chosen = options(STAY, tmp_path)
    described = run("describe", shipped, *chosen)
    assert described.exit_code == 0, described.output
    assert "kept: 6 patients" in described.output
    trained = run("train", shipped, "--run", tmp_path / "run", *QUICK, *chosen)
    assert trained.exit_code == 0, trained.output
    evaluated = run("evaluate", "--run", tmp_path / "run")
    assert evaluated.exit_code == 0, evaluated.output
    predicted = run("predict", shipped, "--run", tmp_path / "run", "--out", tmp_path / "labels.parquet")
    assert predicted.exit_code == 0, predicted.output
    labels = pq.read_table(tmp_path / "labels.parquet")
    meds.LabelSchema.validate(labels)
    assert len(labels) == 16


# ----------------------------------------------------------------------------------------------------------- generated


@pytest.mark.parametrize("name", DEFINITIONS)
def test_a_generated_dataset_is_followed_as_the_slow_way_does(generated: Path, name: str) -> None:
    definition = DEFINITIONS[name]
    study = read(generated, definition)
    events = pl.concat([pl.read_parquet(path) for path in sorted((generated / "data").rglob("*.parquet"))])
    moment = definition.end_time
    end = None if moment is None else pl.Series([moment], dtype=pl.Datetime("us")).to_physical()[0]
    reasons: Counter[str] = Counter()
    dropped: Counter[str] = Counter()
    kept = {}
    for (subject,), rows in events.group_by("subject_id", maintain_order=True):
        records = [Row(*row) for row in rows.select(pl.col("time").to_physical(), "code", "numeric_value").iter_rows()]
        found = follow(subject, records, definition, {} if end is None else {subject: end}, False, dropped)
        if isinstance(found, str):
            reasons[found] += 1
        else:
            kept[subject] = found
    assert study.flow is not None
    assert {reason: count for reason, count in study.flow.excluded.items() if count} == dict(reasons)
    assert {reason: study.flow.dropped.get(reason) for reason in dropped} == dict(dropped)
    visits, outcome = study.cohort.visits, study.cohort.outcome
    assert visits.patient_id.tolist() == list(kept)
    assert outcome.start.tolist() == [one.start for one in kept.values()]
    assert visits.length.tolist() == outcome.stop.tolist() == [len(one.visits) for one in kept.values()]
    assert outcome.cause.tolist() == [one.cause for one in kept.values()]
    closes = [visit.close for one in kept.values() for visit in one.visits]
    assert closing_times(study).tolist() == pytest.approx(closes, rel=0, abs=1)


def closing_times(study: Study) -> torch.Tensor:
    """When each visit closes, in microseconds; after ninety years, float64 days no longer tell each from the next."""
    assert study.origin is not None
    since = (study.cohort.visits.day * 86_400_000_000).round().long()
    return study.origin[study.cohort.visits.patient] + since


@pytest.mark.parametrize("name", DEFINITIONS)
def test_shard_by_shard_a_generated_dataset_gives_the_same_bits(generated: Path, tmp_path: Path, name: str) -> None:
    whole, by_shard = read(generated, DEFINITIONS[name]), prepare(generated, DEFINITIONS[name], tmp_path / "study")
    for part in ("visits", "outcome"):
        for array, values in arrays_of(getattr(whole.cohort, part)).items():
            found = getattr(getattr(by_shard.cohort, part), array)
            assert (found.dtype, found.numpy().tobytes()) == (values.dtype, values.numpy().tobytes()), array
    assert by_shard.cohort.visits.schema == whole.cohort.visits.schema
    assert by_shard.flow == whole.flow
    assert torch.equal(by_shard.split, whole.split)


def test_a_generated_dataset_is_described_learned_and_labelled(generated: Path, tmp_path: Path) -> None:
    chosen = ["--outcome", "dynamic//6", "--end-of-follow-up", "last record"]
    described = run("describe", generated, *chosen)
    assert described.exit_code == 0, described.output
    assert "500 patients" in described.output
    assert "follow-up ends at the last record" in described.output
    trained = run("train", generated, "--run", tmp_path / "run", *QUICK, *chosen)
    assert trained.exit_code == 0, trained.output
    evaluated = run("evaluate", "--run", tmp_path / "run")
    assert evaluated.exit_code == 0, evaluated.output
    study = read(generated, GENERATED)
    assert len(table_one(study.cohort)) > 5
    predicted = run("predict", "--run", tmp_path / "run", "--out", tmp_path / "labels.parquet")
    assert predicted.exit_code == 0, predicted.output
    labels = pl.read_parquet(tmp_path / "labels.parquet")
    meds.LabelSchema.validate(pq.read_table(tmp_path / "labels.parquet"))
    truth = labels_of(study)
    assert labels.drop("float_value").equals(truth.drop("boolean_value"))


def test_a_study_of_a_generated_dataset_can_be_written_and_read_again(generated: Path, tmp_path: Path) -> None:
    once = read(generated, GENERATED)
    again = read(tmp_path / "meds", write_cohort(once, tmp_path / "meds", outcome_code="EVENT"))
    place = {who: position for position, who in enumerate(again.cohort.visits.patient_id.tolist())}
    order = torch.tensor([place[who] for who in once.cohort.visits.patient_id.tolist()])
    assert again.cohort.visits.schema == once.cohort.visits.schema
    assert again.split[order].tolist() == once.split.tolist()
    assert once.origin is not None
    assert again.origin is not None
    assert torch.equal(again.origin[order], once.origin)
    cohort = again.cohort.select(order)
    for part in ("visits", "outcome"):
        for array, values in arrays_of(getattr(once.cohort, part)).items():
            found = getattr(getattr(cohort, part), array)
            if array in ("day", "followup_days"):
                torch.testing.assert_close(found, values, rtol=0, atol=1 / 86_400_000_000)
            else:
                assert found.numpy().tobytes() == values.numpy().tobytes(), array
