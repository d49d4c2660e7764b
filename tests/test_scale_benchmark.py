"""The benchmark of scale on very few patients: its cohorts, its watch on `fit`, and the picture it draws."""

import json
from itertools import islice
from pathlib import Path

import pytest
import torch
from matplotlib.figure import Figure

from tests.benchmarks import records, scale
from visitwise.cohort import require_disjoint

FACTS = {f"bench_scale_visits_{size}": 10.0 * size for size in scale.SIZES} | {
    f"bench_scale_{key}_seconds_{size}{end}": size * place * seconds
    for place, (_, key, *_) in enumerate(scale.LINES, start=1)
    for end, seconds in (("_low", 1e-5), ("", 2e-5), ("_high", 4e-5))
    for size in scale.SIZES
}


def test_random_patients_are_written_in_shards_of_different_people(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scale, "SHARD", 40)
    cohort = scale.written({100: tmp_path / "some"})[100]
    require_disjoint(cohort)
    assert not torch.equal(cohort.visits.length[:40], cohort.visits.length[40:80])
    assert 5 < cohort.visits.n_visits / len(cohort) < 30


def test_the_watched_cohort_deals_the_first_batches_and_times_what_is_done_with_them(tmp_path: Path) -> None:
    cohort = scale.written({100: tmp_path / "some"})[100]
    watched = scale._Watched(cohort.visits, cohort.outcome)
    dealt = list(watched.deal(8, seed=3, epoch=0))
    first = list(islice(cohort.deal(8, seed=3, epoch=0), scale.STEPS))
    assert [batch.tolist() for batch in dealt] == [batch.tolist() for batch in first]
    assert vars(watched)["seconds_a_visit"] >= 0


def test_the_picture_has_a_line_for_the_whole_and_one_for_a_visit() -> None:
    figure = scale.draw(FACTS)
    assert isinstance(figure, Figure)
    whole, single = figure.axes
    for place, (seconds, a_visit) in enumerate(zip(whole.lines, single.lines, strict=True), start=1):
        assert list(seconds.get_ydata()) == pytest.approx([size * place * 2e-5 for size in scale.SIZES])
        assert list(a_visit.get_ydata()) == pytest.approx([place * 2.0] * len(scale.SIZES))
    assert [text.get_text() for text in whole.texts] == [name for name, *_ in scale.LINES]
    assert single.get_ylim()[0] == 0


def test_the_picture_is_drawn_from_the_records_to_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scale, "RESULTS", tmp_path)
    monkeypatch.setattr(records, "RESULTS", tmp_path)
    for name, facts in (("scale_growth", FACTS), ("scale_metrics", {})):
        (tmp_path / f"{name}.json").write_text(json.dumps({"facts": facts, "alt": "of another day"}), "utf-8")
    drawn = []
    for _ in range(2):
        scale.picture()
        drawn.append((tmp_path / "scale_growth.svg").read_bytes())
    assert drawn[0] == drawn[1]
    alt = json.loads((tmp_path / "scale_growth.json").read_text("utf-8"))["alt"]
    assert "an epoch 0.02 to 20, " in alt
    assert "an epoch 2 to 2, " in alt
