"""What a notebook publishes: numbers under names that can be quoted, and pictures that can be read aloud."""

import math
from typing import SupportsFloat

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from visitwise import notebook
from visitwise.notebook import FACT_MIME, Picture, fact, show


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """The records that a running notebook would have displayed."""
    records: list[dict[str, object]] = []
    monkeypatch.setattr(notebook, "_notebook_display", lambda: lambda item: records.append(item._repr_mimebundle_()))
    return records


@pytest.mark.parametrize(
    "value", [0.25, torch.tensor(0.25, requires_grad=True), torch.tensor([0.25]), np.float32(0.25)]
)
def test_a_number_of_any_kind_is_published_under_its_name(published: list, value: SupportsFloat) -> None:
    fact("quarter_2", value)
    assert published == [{"text/plain": "quarter_2 = 0.25", FACT_MIME: {"name": "quarter_2", "value": 0.25}}]
    assert type(published[0][FACT_MIME]["value"]) is float


def test_outside_a_notebook_a_fact_is_printed_to_ten_digits(capsys: pytest.CaptureFixture[str]) -> None:
    fact("third", 1 / 3)
    assert capsys.readouterr().out == "third = 0.3333333333\n"


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("Third", 1 / 3, "the name of a fact is 'Third'; expected small letters, digits and underscores"),
        ("2nd", 2, "the name of a fact is '2nd'; expected small letters, digits and underscores"),
        ("nll", math.nan, "the fact 'nll' is nan; expected a finite number"),
        ("nll", torch.tensor(-math.inf), "the fact 'nll' is -inf; expected a finite number"),
        ("nll", torch.ones(2), "the fact 'nll' is tensor([1., 1.]); expected one number"),
        ("nll", np.ones(2), "the fact 'nll' is array([1., 1.]); expected one number"),
        ("nll", "high", "the fact 'nll' is 'high'; expected one number"),
        ("nll", None, "the fact 'nll' is None; expected one number"),
    ],
)
def test_what_no_page_could_quote_is_refused_by_name(name: str, value: object, says: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011 (the whole sentence is compared)
        fact(name, value)  # type: ignore[arg-type]
    assert str(refused.value) == says


def drawn(colour: str = "#c2410c") -> Figure:
    figure, axes = plt.subplots()
    axes.plot([0, 1, 2], [1.0, 0.9, 0.72], color=colour)
    return figure


def test_a_picture_has_its_words_the_same_bytes_each_time_and_is_closed() -> None:
    alt = 'Survival "falls" to < 1 & > 0.'
    one, other = (show(drawn(), alt) for _ in range(2))
    assert isinstance(one, Picture)
    assert repr(one) == alt
    assert one.svg == other.svg
    assert one.svg.startswith('<svg role="img" aria-label="Survival &quot;falls&quot; to &lt; 1 &amp; > 0."')
    assert one._repr_mimebundle_() == ({"image/svg+xml": one.svg, "text/plain": alt}, {"image/svg+xml": {"alt": alt}})
    assert plt.get_fignums() == []


def test_a_picture_follows_the_colour_scheme_where_its_colour_means_something() -> None:
    assert "stroke: var(--vw-hazard, #c2410c)" in show(drawn(), "a line in orange").svg
    assert "stroke: #123456" in show(drawn("#123456"), "a line in blue").svg


def test_two_pictures_share_no_name_inside() -> None:
    def names(alt: str) -> set[str]:
        return {part.partition('"')[0] for part in show(drawn(), alt).svg.split('id="')[1:]}

    assert names("the first of two")
    assert not names("the first of two") & names("the second of two")


def test_a_picture_without_words_is_refused() -> None:
    figure = drawn()
    with pytest.raises(ValueError, match="alt is 'a plot'; expected a sentence that says what the figure shows"):
        show(figure, "a plot")
    plt.close(figure)
