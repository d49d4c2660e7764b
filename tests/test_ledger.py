"""The claims ledger: every claim is tried once by a test of its own, types no number, and stands on its page."""

import importlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser import served
from tests.built import ROOT, built
from tests.ledger import SOURCES, Claim, Ledger

pytest_plugins = ["pytester"]

# How many statements of each family there are, 127 in all.
FAMILIES = {"A": 8, "B": 18, "C": 13, "D": 28, "E": 9, "F": 16, "G": 13, "H": 22}

GOOD = {
    "id": "D5",
    "says": "Packing gives cleaner gradients.",
    "source": "integration",
    "verdict": "FALSE",
    "shows": "They differ by at most {bound:.0e}.",
    "teaches": "Padding has no gradient to give.",
    "chapter": "06-packing",
}


def tried() -> Iterator[tuple[Claim, str]]:
    """Every claim with the test that tries it."""
    for path in sorted((ROOT / "tests" / "claims").glob("test_*.py")):
        module = importlib.import_module(f"tests.claims.{path.stem}")
        for name, value in vars(module).items():
            for mark in getattr(value, "pytestmark", []):
                if mark.name == "claim":
                    yield mark.args[0], f"tests/claims/{path.name}::{name}"


def test_every_claim_of_the_notes_is_tried_exactly_once() -> None:
    ids = [claim.id for claim, _ in tried()]
    expected = [f"{family}{number}" for family, size in FAMILIES.items() for number in range(1, size + 1)]
    assert sorted(ids) == sorted(expected)


def test_no_claim_types_its_number_or_says_the_verdict_in_its_own_words() -> None:
    for claim, _ in tried():
        assert claim.names, claim.id
        assert not re.search(r"\b(TRUE|FALSE|DEPENDS)\b", claim.shows + claim.teaches), claim.id


def test_claims_are_whole_sentences() -> None:
    for claim, _ in tried():
        for text in (claim.says, claim.shows, claim.teaches):
            assert re.search(r"[.?!)`\"*]$", text.strip()), (claim.id, text)


def test_a_claim_leads_to_a_page_that_teaches_it() -> None:
    for claim, _ in tried():
        assert (ROOT / "explainer" / f"{claim.chapter.partition('#')[0]}.md").exists(), claim.id


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"id": "X1"}, "a claim's id is 'X1'"),
        ({"source": "hearsay"}, "claim D5 comes from 'hearsay'"),
        ({"shows": "They differ by at most {bound}, which is below 0.5."}, "claim D5 shows the typed number"),
        ({"shows": "They differ in {share} of all, or 30 %."}, "claim D5 shows the typed number"),
        ({"shows": "They do not differ."}, "claim D5 shows no number"),
        ({"teaches": "Padding costs 0.5."}, "claim D5 teaches the typed number '0.5'"),
        ({"verdict": "MAYBE"}, "claim D5 has the verdict 'MAYBE'"),
    ],
)
def test_a_claim_that_types_a_number_or_names_no_source_is_refused(changed: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        Claim(**GOOD | changed)


def test_every_source_that_is_not_ours_has_an_address() -> None:
    assert [name for name, (_, url) in SOURCES.items() if not url.startswith("https://")] == ["visitwise"]


def test_a_claim_needs_the_numbers_that_its_sentence_looks_into() -> None:
    claim = Claim(**GOOD | {"shows": "From {pair[0]} to {pair[1]:.1f}, then {result.loss:.0e}."})
    assert claim.names == {"pair", "result"}


def test_rows_stand_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "new" / "rows.json")
    ledger.rows = [{"id": name} for name in ("D10", "E1", "D5", "A12", "D9", "A2")]
    ledger.pytest_sessionfinish(exitstatus=0)
    assert [row["id"] for row in json.loads(ledger.path.read_text())] == ["A2", "A12", "D5", "D9", "D10", "E1"]


TRIAL = """
from tests.ledger import claim

@claim("D5", "Packing helps.", source="integration; loss", verdict="FALSE", shows="Off by {bound:.1f}.",
       teaches="It does not.", chapter="06-packing#x")
def test_packing_does_not_help(evidence):
    %s
"""


def run_trial(pytester: pytest.Pytester, body: str) -> tuple[pytest.RunResult, Path]:
    pytester.makeini("[pytest]\npythonpath = " + str(ROOT))
    pytester.makepyfile(TRIAL % body)
    ledger = pytester.path / "rows.json"
    return pytester.runpytest_subprocess("-p", "tests.ledger", "--ledger", str(ledger)), ledger


def test_the_ledger_holds_what_the_trial_computed(pytester: pytest.Pytester) -> None:
    result, ledger = run_trial(pytester, "evidence(bound=1.26)")
    result.assert_outcomes(passed=1)
    (row,) = json.loads(ledger.read_text())
    assert row["shows"] == "Off by 1.3."
    assert row["test"].endswith(".py::test_packing_does_not_help")
    assert [name for name, _ in row["from"]] == ["the document on loss and LSTM", "the loss document"]


@pytest.mark.parametrize(
    "body", ["pass", "evidence(other=1.0)", "evidence(bound=1.0, more=2.0)", "evidence(bound=1.0); assert False"]
)
def test_a_trial_that_fails_or_computes_something_else_writes_no_ledger(pytester: pytest.Pytester, body: str) -> None:
    result, ledger = run_trial(pytester, body)
    assert result.ret != 0
    assert not ledger.exists()


# ---------------------------------------------------------------------------------------------------------- the page

ROW = {
    **GOOD,
    "chapter": "06-packing#what-packing-is",
    "shows": "They differ by at most 1e-12.",
    "from": [["the loss document", "https://example.org/loss"], ["a question of our own", ""]],
    "test": "tests/claims/test_06_packing.py::test_packing_gives_no_cleaner_gradients",
}


def test_a_row_becomes_a_block_with_verdict_number_chapter_and_test() -> None:
    import ledger

    problems: list[str] = []
    page = ledger.show("[the ledger](ledger:)", [ROW], {"06-packing": "Packing"}, problems.append)
    assert not problems
    for part in (
        "## D. Padding, packing and masks",
        '### D5 <span class="vw-verdict"',
        "> Packing gives cleaner gradients.",
        "From [the loss document](https://example.org/loss) and a question of our own.",
        "They differ by at most 1e-12.",
        "[Packing](06-packing.md#what-packing-is)",
        "[`test_packing_gives_no_cleaner_gradients`](repository:tests/claims/test_06_packing.py)",
    ):
        assert part in page
    assert "## A." not in page


def test_verdicts_are_counted_by_family() -> None:
    import ledger

    rows = [ROW, ROW | {"id": "D6", "verdict": "TRUE"}, ROW | {"id": "A1", "verdict": "DEPENDS"}]
    table = ledger.counts(rows).splitlines()
    assert table[2].endswith("| 0 | 1 | 0 | 1 |")
    assert table[3].endswith("| 1 | 0 | 1 | 2 |")
    assert table[4] == "| **All** | 1 | 1 | 1 | 3 |"


def test_a_wrong_request_or_an_unknown_chapter_is_reported() -> None:
    import ledger

    problems: list[str] = []
    ledger.show("[x](ledger:everything)\n\nsee [x](ledger:)\n", [], {}, problems.append)
    ledger.show("[x](ledger:)", [ROW], {}, problems.append)
    assert len(problems) == 3
    assert "06-packing" in problems[2]


# ------------------------------------------------------------------------------------------------------- the program


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project of one claim."""
    for folder in ("src/visitwise/check", "tests/claims", "tests/benchmarks/results"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "tests" / "ledger.py").write_text((ROOT / "tests" / "ledger.py").read_text())
    (tmp_path / "tests" / "__init__.py").touch()
    (tmp_path / "tests" / "claims" / "__init__.py").touch()
    (tmp_path / "tests" / "conftest.py").write_text('pytest_plugins = ["tests.ledger"]\n')
    (tmp_path / "tests" / "claims" / "test_06.py").write_text(TRIAL % "evidence(bound=1.26)")
    (tmp_path / "tests" / "benchmarks" / "results" / "speed.json").write_text("{}")
    (tmp_path / "src" / "visitwise" / "module.py").write_text("VALUE = 1\n")
    (tmp_path / "src" / "visitwise" / "check" / "inner.py").write_text("VALUE = 2\n")
    (tmp_path / "requirements.lock").write_text("numpy==1.0\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\npythonpath = .\n")
    return tmp_path


def test_claims_are_tried_when_something_changed_and_only_then(project: Path) -> None:
    import ledger

    assert ledger.is_stale(project)
    ledger.run(project)
    assert [row["id"] for row in ledger.rows_of(project)] == ["D5"]
    assert not ledger.is_stale(project)
    for changed in (
        "src/visitwise/module.py",
        "src/visitwise/check/inner.py",
        "tests/claims/test_06.py",
        "tests/ledger.py",
        "tests/benchmarks/results/speed.json",
        "requirements.lock",
    ):
        before = (project / changed).read_text()
        (project / changed).write_text(before + "\n")
        assert ledger.is_stale(project), changed
        (project / changed).write_text(before)
    assert not ledger.is_stale(project)


def test_a_failing_trial_is_named_and_the_earlier_rows_stay(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import ledger

    ledger.run(project)
    (project / "tests" / "claims" / "test_06.py").write_text(TRIAL % "assert 1 + 1 == 3")
    assert ledger.main(["--root", str(project), "--check"]) == 1
    told = capsys.readouterr()
    assert told.out == "out of date: the claims ledger\n"
    assert not told.err  # nothing was tried
    assert ledger.main(["--root", str(project)]) == 1
    assert "test_packing_does_not_help" in capsys.readouterr().err
    assert ledger.rows_of(project)[0]["shows"] == "Off by 1.3."


# ------------------------------------------------------------------------------------------------------- the built page


@pytest.fixture(scope="module")
def page(browser) -> Iterator:  # type: ignore[no-untyped-def]
    with served(built().site) as address:
        page = browser.new_page()
        page.goto(address + "/claims/")
        page.wait_for_selector("[data-live=claims-filter][data-mounted]")
        yield page
        page.close()


def shown(page) -> list[str]:  # type: ignore[no-untyped-def]
    return list(
        page.locator("section.vw-claim:visible h3").evaluate_all("all => all.map((one) => one.id.toUpperCase())")
    )


def test_every_claim_is_tried_when_the_site_is_built() -> None:
    assert built().claims.returncode == 0, built().claims.stderr
    rows = json.loads((built().project / "build" / "claims.json").read_text(encoding="utf-8"))["rows"]
    assert {row["id"]: row["test"] for row in rows} == {claim.id: test for claim, test in tried()}


@pytest.mark.browser
def test_the_page_shows_every_claim_and_what_its_trial_computed(page) -> None:  # type: ignore[no-untyped-def]
    claims = {claim.id: (claim, test) for claim, test in tried()}
    assert sorted(shown(page)) == sorted(claims)
    text = page.locator("article").text_content()
    for claim, test in claims.values():
        assert test.partition("::")[2] in text, claim.id
    assert "{" not in page.locator("section.vw-claim p").first.inner_text()


@pytest.mark.browser
def test_the_claims_can_be_filtered_by_verdict_and_chapter_with_the_keyboard(page) -> None:  # type: ignore[no-untyped-def]
    claims = [claim for claim, _ in tried()]
    for verdict in ("TRUE", "DEPENDS"):
        page.get_by_label(verdict, exact=True).press("Space")
    assert sorted(shown(page)) == sorted(claim.id for claim in claims if claim.verdict == "FALSE")
    page.get_by_label("and belong to").select_option("06-packing")
    expected = [claim.id for claim in claims if claim.verdict == "FALSE" and claim.chapter.startswith("06-packing")]
    assert sorted(shown(page)) == sorted(expected)
    assert page.get_by_role("status").inner_text() == f"{len(expected)} of {len(claims)} claims are shown."
    page.get_by_label("and belong to").select_option("")
    for verdict in ("TRUE", "DEPENDS"):
        page.get_by_label(verdict, exact=True).press("Space")
    assert len(shown(page)) == len(claims)
