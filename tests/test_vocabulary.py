"""What a model knows by name: written down and read again it is the same, and every code finds its place."""

import pytest

from visitwise.visits import PADDING, Schema
from visitwise.vocabulary import UNKNOWN, Vocabulary, ancestry

pytestmark = pytest.mark.usefixtures("unchecked")

SCHEMA = Schema.of(["pain", "I60-I69", "脳卒中", UNKNOWN], ["age", "age known", "SEX//F"], ["LAB"])
VOCABULARY = Vocabulary(SCHEMA, {"I61": "I60-I69", "rare": UNKNOWN}, {"age": 61.25}, "age")


def test_written_down_and_read_again_it_is_the_same() -> None:
    assert Vocabulary.from_json(VOCABULARY.to_json()) == VOCABULARY


@pytest.mark.parametrize(
    ("code", "target"),
    [
        ("pain", "pain"),
        ("I61", "I60-I69"),
        ("I62", "I60-I69"),
        ("rare", UNKNOWN),
        (UNKNOWN, UNKNOWN),
        (PADDING, UNKNOWN),
    ],
)
def test_a_code_is_itself_or_what_it_became_or_its_nearest_parent_or_unknown(code: str, target: str) -> None:
    assert VOCABULARY.target(code, {"I62": ["I62 and others"], "I62 and others": ["I60-I69", "pain"]}) == target


def test_what_a_code_became_in_training_counts_for_more_than_new_metadata() -> None:
    assert VOCABULARY.target("rare", {"rare": ["pain"]}) == UNKNOWN


def test_codes_that_stand_above_each_other_are_met_once() -> None:
    assert list(ancestry("a", {"a": ["b"], "b": ["a", "c"], "c": ["b"]})) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"schema": Schema.of([UNKNOWN, "pain"])}, "the last code of the vocabulary is 'pain'; expected '<unknown>'"),
        ({"rolled_up": {"a": "b"}}, "the code 'b' is not in the schema; expected it there"),
        ({"fills": {"height": 1.0}}, "the static feature 'height' is not in the schema; expected it there"),
        ({"age": "years"}, "the static feature 'years' is not in the schema; expected it there"),
    ],
)
def test_names_that_the_schema_does_not_have_are_refused(changes: dict[str, object], sentence: str) -> None:
    given = {"schema": SCHEMA, **changes}
    with pytest.raises(ValueError, match=f"^{sentence}$"):
        Vocabulary(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["{}", "[]", "3", '{"schema": {"code": []}}', "no JSON"])
def test_a_text_that_is_no_vocabulary_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"this is no vocabulary|Expecting value"):
        Vocabulary.from_json(text)
