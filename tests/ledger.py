"""A claim of the teaching notes, tried by a test that computes what the ledger prints.

    @claim(
        "D5",
        "Packing gives cleaner gradients, because padding no longer dilutes them.",
        source="integration",
        verdict="FALSE",
        shows="Packed and padded, no entry of the gradient differs by more than {bound:.0e}.",
        teaches="Padding that the loss does not count has no gradient to give.",
        chapter="06-packing#what-packing-does-not-change",
    )
    def test_packing_gives_no_cleaner_gradients(evidence: Evidence) -> None:
        ...
        evidence(bound=1e-12)

`pytest tests/claims --ledger FILE` writes the rows; the site makes its claims page from them, and types no number.
"""

import json
import re
import string
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

import pytest

NOTES = "https://github.com/pleiadian53/ehr-sequencing/blob/main/"
SOURCES = {
    "conversation": ("a conversation about the notes", NOTES + "dev/explainer/logs/ehrseq-explainer-dev1.md"),
    "loss": (
        "the loss document",
        NOTES + "dev/explainer/discrete_time_survival_analysis/discrete_time_survival_loss.md",
    ),
    "integration": (
        "the document on loss and LSTM",
        NOTES + "dev/explainer/discrete_time_survival_analysis/loss_integration_with_lstm.md",
    ),
    "keepdim": ("the keepdim document", NOTES + "dev/explainer/discrete_time_survival_analysis/keepdim.md"),
    "custom losses": (
        "the document on custom losses",
        NOTES + "dev/models/discrete_time_survival_analysis/custom_loss_functions.md",
    ),
    "architecture": (
        "the architecture document",
        NOTES + "dev/models/discrete_time_survival_analysis/survival_lstm_architecture.md",
    ),
    "readme": ("the README of the models", NOTES + "dev/models/discrete_time_survival_analysis/README.md"),
    "tutorial 1": (
        "tutorial 1",
        NOTES + "notebooks/02_survival_analysis/TUTORIAL_01_prediction_problem.md",
    ),
    "tutorial 2": ("tutorial 2", NOTES + "notebooks/02_survival_analysis/TUTORIAL_02_synthetic_data_design.md"),
    "tutorial 3": ("tutorial 3", NOTES + "docs/survival_analysis/TUTORIAL_03_loss_function.md"),
    "chapter 1": ("survival chapter 1", NOTES + "docs/methods/causal-survival-analysis-1.md"),
    "chapter 2": ("survival chapter 2", NOTES + "docs/methods/causal-survival-analysis-2.md"),
    "variable length": ("the document on variable length", NOTES + "docs/methods/variable-length-sequences.md"),
    "lstm length": ("the document on LSTMs and length", NOTES + "docs/methods/lstm-variable-length-analysis.md"),
    "broadcasting": ("the broadcasting document", NOTES + "dev/models/broadcasting_and_weighted_sum_explained.md"),
    "lstm baseline": ("the document on the LSTM baseline", NOTES + "dev/models/lstm_baseline_explained.md"),
    "losses code": ("the code of the losses", NOTES + "src/ehrsequencing/models/losses.py"),
    "lstm code": ("the code of the survival LSTM", NOTES + "src/ehrsequencing/models/survival_lstm.py"),
    "training code": ("the training script", NOTES + "examples/survival_analysis/train_lstm.py"),
    "sequence code": ("the code of the sequences", NOTES + "src/ehrsequencing/data/sequence_builder.py"),
    "survival notebook": (
        "the survival notebook",
        NOTES + "notebooks/02_survival_analysis/01_discrete_time_survival_lstm.ipynb",
    ),
    "generator code": ("the code of the generators", NOTES + "src/ehrsequencing/synthetic/survival.py"),
    "demo code": ("the demo script", NOTES + "examples/survival_analysis/train_lstm_demo.py"),
    "trainer code": ("the code of the trainer", NOTES + "src/ehrsequencing/training/trainer.py"),
    "cf-ensemble": (
        "the code of the ensemble losses",
        "https://github.com/pleiadian53/cf-ensemble/blob/main/src/cfensemble/objectives/losses.py",
    ),
    "visitwise": ("a question of our own", ""),
}

Verdict = Literal["TRUE", "FALSE", "DEPENDS"]
Evidence = Callable[..., None]
NUMBER = re.compile(r"\d+\.\d|\d\s?%")


@dataclass(frozen=True)
class Claim:
    """A statement in our words, the verdict, and the sentence that the computed numbers are put into."""

    id: str
    says: str
    source: str
    verdict: Verdict
    shows: str
    teaches: str
    chapter: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-H]\d{1,2}", self.id):
            raise ValueError(f"a claim's id is {self.id!r}; expected a family and a number, such as D5")
        if any(name not in SOURCES for name in self.sources):
            raise ValueError(f"claim {self.id} comes from {self.source!r}; expected one of {sorted(SOURCES)}")
        if self.verdict not in get_args(Verdict):
            raise ValueError(f"claim {self.id} has the verdict {self.verdict!r}; expected one of {get_args(Verdict)}")
        if typed := NUMBER.findall("".join(literal for literal, *_ in string.Formatter().parse(self.shows))):
            raise ValueError(f"claim {self.id} shows the typed number {typed[0]!r}; pass it to `evidence`")
        if typed := NUMBER.findall(self.teaches):
            raise ValueError(f"claim {self.id} teaches the typed number {typed[0]!r}; have `shows` say it")
        if not self.names:
            raise ValueError(f"claim {self.id} shows no number; expected a {{name}} that `evidence` is given")

    @property
    def sources(self) -> list[str]:
        return [name.strip() for name in self.source.split(";")]

    @property
    def names(self) -> set[str]:
        """The numbers that `shows` needs, without what is looked up in them."""
        return {re.split(r"[.\[]", name)[0] for _, name, *_ in string.Formatter().parse(self.shows) if name}


def claim(
    id: str, says: str, *, source: str, verdict: Verdict, shows: str, teaches: str, chapter: str
) -> pytest.MarkDecorator:
    """Mark a test as the trial of a claim; the test asserts what `shows` and `teaches` say.

    Args:
        id: as in the list of claims, such as D5.
        says: the claim in our words, as its author would put it.
        source: where it comes from, a key of `SOURCES`; several with `;` between them.
        verdict: TRUE, FALSE, or DEPENDS on a condition that `teaches` names.
        shows: one or two sentences with the numbers as `{name:format}`; the test gives them to `evidence`.
        teaches: what to remember instead.
        chapter: the page, and the heading on it, that explains it, such as `06-packing#what-packing-is`.
    """
    return pytest.mark.claim(Claim(id, says, source, verdict, shows, teaches, chapter))


@pytest.fixture
def evidence(request: pytest.FixtureRequest) -> Iterator[Evidence]:
    """Takes the numbers of a claim, once all of them are computed and asserted."""
    tried: Claim = request.node.get_closest_marker("claim").args[0]
    told: dict[str, object] = {}

    def tell(**numbers: object) -> None:
        told.update(numbers)

    yield tell
    called = getattr(request.node, "rep_call", None)  # none where another fixture could not be set up
    if called is None or called.failed:
        return
    if set(told) != tried.names:
        pytest.fail(f"claim {tried.id} shows {sorted(tried.names)}, and the test computed {sorted(told)}")
    origins = [SOURCES[name] for name in tried.sources]
    row = asdict(tried) | {"from": origins, "shows": tried.shows.format(**told), "test": request.node.nodeid}
    request.node.user_properties.append(("claim", row))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--ledger", type=Path, default=None, help="write the rows of the claims ledger to this file")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report = yield
    setattr(item, f"rep_{report.when}", report)
    return report


class Ledger:
    """Collects the rows of a run, from its worker processes too."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, str]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "teardown":
            self.rows += [value for name, value in report.user_properties if name == "claim"]

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        if exitstatus == 0:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            order = sorted(self.rows, key=lambda row: (row["id"][0], int(row["id"][1:])))
            self.path.write_text(json.dumps(order, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "claim(claim): the trial of a statement of the notes")
    if config.option.ledger and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Ledger(config.option.ledger.absolute()))
