"""The coin flips are coins, the wrong cohorts of chapter 9 are what they say, its wrong answers are told apart."""

import numpy as np
import pytest
import torch

from visitwise import check
from visitwise.check import leakage as wrong
from visitwise.cohort import Cohort, Outcome
from visitwise.visits import Schema, Visits

SMALL = wrong.coin_flips(400, seed=5)
CODE = SMALL.visits.schema.codes.index(wrong.EVENT_CODE)


def codes_of(visits: Visits) -> list[list[list[str]]]:
    """Code names by patient and visit."""
    visit_of = np.split(visits.codes.numpy(), visits.code_offsets[1:-1].numpy())
    names = [[visits.schema.codes[code] for code in codes] for codes in visit_of]
    return [names[begin:end] for begin, end in zip(visits.visit_offsets, visits.visit_offsets[1:], strict=False)]


def four() -> Cohort:
    """Ada has the event at visit 2 of 4, Ben none in 3 visits, Cleo at visit 1 of 5."""
    schema = Schema.of(["a", "b", wrong.EVENT_CODE])
    event = wrong.EVENT_CODE
    visits = Visits.from_lists(
        [
            [["a"], ["b"], ["a", event], [event]],
            [["b"], [], ["a"]],
            [["a"], [event], ["b", event], [event], ["a", event]],
        ],
        day=[[0, 10, 13, 40], [5, 6, 7], [0, 1, 3, 6, 10]],
        schema=schema,
    )
    return Cohort(visits, Outcome.of(torch.tensor([2, 2, 1]), torch.tensor([True, False, True])))


# --------------------------------------------------------------------------------------------- a world of coin flips


def test_each_row_of_the_coin_flips_holds_the_event_with_the_same_probability():
    cohort = wrong.coin_flips(20_000, seed=6, hazard=0.2)
    outcome = cohort.outcome
    at_risk = torch.bincount(outcome.stop - 1).flip(0).cumsum(0).flip(0)
    events = torch.bincount(outcome.stop[outcome.observed] - 1, minlength=len(at_risk))
    for n, count in zip(at_risk[:8].tolist(), events[:8].tolist(), strict=True):
        assert abs(count / n - 0.2) < 4 * (0.16 / n) ** 0.5


def test_the_code_stands_from_the_visit_behind_the_last_row_on_and_nowhere_before():
    for record, stop, observed in zip(
        codes_of(SMALL.visits), SMALL.outcome.stop.tolist(), SMALL.outcome.observed.tolist(), strict=True
    ):
        here = [wrong.EVENT_CODE in visit for visit in record]
        assert here == [observed and k >= stop for k in range(len(record))]
        assert stop <= len(record) - 1
        assert observed or stop == len(record) - 1


def test_the_visit_of_the_event_comes_early():
    visits, outcome = SMALL.visits, SMALL.outcome
    at_event = visits.visit_offsets[:-1] + outcome.stop
    early, late = visits.gap[at_event[outcome.observed]].mean(), visits.gap[at_event[~outcome.observed]].mean()
    assert early < late / 2
    assert torch.equal(outcome.followup_days, visits.day[at_event])


def test_the_same_seed_gives_the_same_cohort_and_another_seed_other_patients():
    again, other = wrong.coin_flips(400, seed=5), wrong.coin_flips(400, seed=6)
    assert torch.equal(again.visits.codes, SMALL.visits.codes)
    assert torch.equal(again.outcome.stop, SMALL.outcome.stop)
    assert not set(other.visits.patient_id.tolist()) & set(SMALL.visits.patient_id.tolist())


# ------------------------------------------------------------------------------------------------- the wrong cohorts


def test_a_code_can_be_added_and_taken_out_again():
    visits = four().visits
    where = torch.tensor([1, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1]).bool()
    added = codes_of(wrong.with_code(visits, "b", where))
    assert added[0] == [["a", "b"], ["b"], ["a", wrong.EVENT_CODE, "b"], [wrong.EVENT_CODE]]
    assert added[1][1] == ["b"]
    assert added[2][4] == ["a", wrong.EVENT_CODE, "b"]
    without = codes_of(wrong.without_code(visits, wrong.EVENT_CODE))
    assert without == [[["a"], ["b"], ["a"], []], [["b"], [], ["a"]], [["a"], [], ["b"], [], ["a"]]]


def test_labelled_at_the_visit_itself_the_last_row_reads_the_event():
    cohort = four()
    leaky = wrong.label_the_visit_itself(cohort)
    assert leaky.outcome.start.tolist() == [1, 1, 1]
    assert leaky.outcome.stop.tolist() == [3, 3, 2]
    assert leaky.outcome.n_rows == cohort.outcome.n_rows
    last = leaky.visits.visit_offsets[:-1] + leaky.outcome.stop - 1
    has_code = [wrong.EVENT_CODE in [v for r in codes_of(leaky.visits) for v in r][int(row)] for row in last]
    assert has_code == leaky.outcome.observed.tolist()


def test_the_last_visits_kept_or_the_first():
    cohort = four()
    last, first = wrong.keep_the_last_visits(cohort, 2), wrong.keep_the_first_visits(cohort, 2)
    whole = codes_of(cohort.visits)
    assert codes_of(last.visits) == [record[-2:] for record in whole]
    assert codes_of(first.visits) == [record[:2] for record in whole]
    assert last.visits.day.tolist() == [13, 40, 6, 7, 6, 10]
    for cut in (last, first):
        assert cut.outcome.stop.tolist() == [2, 2, 1]
        assert cut.outcome.observed.tolist() == [True, False, True]
    one = wrong.keep_the_last_visits(cohort, 1).outcome
    assert one.stop.tolist() == [1, 1, 1]
    assert one.observed.tolist() == [False, False, True]


def test_columns_that_look_ahead():
    cohort = four()
    gap = wrong.add_gap_to_next_visit(cohort).visits.measurements[:, 0]
    nan = float("nan")
    expected = torch.tensor([10, 3, 27, nan, 1, 1, nan, 1, 2, 3, 4, nan])
    torch.testing.assert_close(gap, expected, equal_nan=True)
    earlier = codes_of(wrong.backdate_event_code(cohort).visits)
    assert earlier[0][1] == ["b", wrong.EVENT_CODE]
    assert earlier[1] == codes_of(cohort.visits)[1]
    assert earlier[2][0] == ["a", wrong.EVENT_CODE]


def test_shuffled_visits_are_the_same_visits_on_the_same_days():
    shuffled = wrong.shuffle_visits(SMALL.visits, seed=0)
    assert torch.equal(shuffled.day, SMALL.visits.day)
    before, after = codes_of(SMALL.visits), codes_of(shuffled)
    assert all(sorted(one) == sorted(other) for one, other in zip(before, after, strict=True))
    assert before != after


# ------------------------------------------------------------------------------------------------- the wrong answers

BEFORE = torch.tensor([[0.1, 0.2, 0.3], [0.5, 0.4, torch.nan], [0.9, 0.1, 0.2]], dtype=torch.float64)
AFTER = torch.tensor([[0.2, 0.15, 0.9], [0.1, 0.9, torch.nan], [0.6, 0.2, 0.8]], dtype=torch.float64)
LAST = torch.tensor([1, 0, 1])
TABLES = [
    (wrong.STOP, (torch.tensor([3, 3, 4]), torch.tensor([True, False, True])), torch.tensor([2, 2, 3])),
    (wrong.VISIT_READ, (torch.tensor(16), torch.tensor(10), torch.tensor(3)), torch.tensor(9)),
    (wrong.LARGEST_MOVE, (BEFORE, AFTER, LAST), torch.tensor([0.1, 0.4, 0.3], dtype=torch.float64)),
]


@pytest.mark.parametrize(("table", "inputs", "truth"), TABLES)
def test_each_wrong_answer_is_wrong_and_told_apart(table, inputs, truth):
    wrongs = check.values(table, *inputs)
    assert len(wrongs) == len(table)
    for sentence, value in wrongs.items():
        assert sentence in check.near(value, truth, mistakes=wrongs).text
    assert check.near(truth, truth, mistakes=wrongs).right


def test_the_wrong_answers_are_what_their_sentences_say():
    by_name = {name: mistake.formula(*TABLES[0][1]).tolist() for name, mistake in wrong.STOP.items()}
    assert by_name == {"as_it_was": [3, 3, 4], "events_alone": [2, 3, 3], "one_too_many": [1, 1, 2]}
    by_name = {name: int(mistake.formula(*TABLES[1][1])) for name, mistake in wrong.VISIT_READ.items()}
    assert by_name == {"the_same_visit": 3, "from_the_end": 12, "one_visit_late": 10}
    by_name = {
        name: [round(value, 9) for value in mistake.formula(*TABLES[2][1]).tolist()]
        for name, mistake in wrong.LARGEST_MOVE.items()
    }
    assert by_name == {
        "over_all_visits": [0.6, 0.5, 0.6],
        "before_the_kept_visit": [0.1, 0.0, 0.3],
        "at_the_kept_visit": [0.05, 0.4, 0.1],
        "upwards_alone": [0.1, 0.0, 0.1],
    }


def test_sentences_begin_small_and_carry_no_full_stop():
    for table, _, _ in TABLES:
        for mistake in table.values():
            assert mistake.sentence[0].islower()
            assert not mistake.sentence.endswith(".")
