"""What the notebook on NAFLD says of its models, read off the notebook as it was run from a clean kernel."""

import json

import pytest

from tests.built import built


@pytest.fixture(scope="module")
def numbers() -> dict[str, float]:
    import facts

    notebook = built().project / "explainer" / "notebooks" / "12_real_data.ipynb"
    assert notebook.exists(), built().notebooks.stderr
    content = json.loads(notebook.read_text(encoding="utf-8"))
    return {name: fact.value for name, fact in facts.published([("12_real_data", content)], pytest.fail).items()}


SPLITS = pytest.mark.parametrize("split", [0, 1])


def test_the_cohort_is_the_published_one(numbers: dict[str, float]) -> None:
    assert (numbers["nafld_people"], numbers["nafld_deaths"]) == (17_549, 1_364)


@SPLITS
def test_the_past_of_these_people_says_a_good_deal_about_their_future(numbers: dict[str, float], split: int) -> None:
    assert numbers[f"nafld_auc_lstm_{split}"] > numbers[f"nafld_auc_entry_{split}"] + 0.02
    assert numbers[f"nafld_entry_more_than_lstm_{split}"] > 2 * numbers[f"nafld_entry_error_{split}"]


@SPLITS
def test_the_lstm_beats_the_life_table(numbers: dict[str, float], split: int) -> None:
    assert numbers[f"nafld_life_table_more_than_lstm_{split}"] > 2 * numbers[f"nafld_life_table_error_{split}"]


@SPLITS
def test_an_lstm_ties_with_a_regression_on_a_history_made_by_hand(numbers: dict[str, float], split: int) -> None:
    assert abs(numbers[f"nafld_history_more_than_lstm_{split}"]) < 2 * numbers[f"nafld_history_error_{split}"]
    assert abs(numbers[f"nafld_auc_history_{split}"] - numbers[f"nafld_auc_lstm_{split}"]) < 0.02


@SPLITS
def test_expected_deaths_are_about_those_that_came(numbers: dict[str, float], split: int) -> None:
    assert numbers[f"nafld_expected_over_seen_{split}"] == pytest.approx(1, abs=0.1)
