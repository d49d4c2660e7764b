"""The playground as somebody new uses it, on the built site: two journeys, a patient shared, a model of one's own.

That its numbers are the package's in any state is said by `tests/test_figures.py` and `tests/figures/playground.py`.
"""

import gzip
import json
import re
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import torch
from torch import Tensor

from tests import figures
from tests.browser import served, until
from tests.built import built
from tests.figures.playground import oracle
from tests.hands import Live, Mouse, drag, open_figure
from tests.test_figures_on_site import AXE, ROOM
from visitwise import trained
from visitwise.model import CompetingRisksRNN, HorizonRNN, SurvivalRNN
from visitwise.simulate import CHECK_UP, DIABETES, FUROSEMIDE, KIDNEY_INJURY, LUNG_CANCER, PNEUMONIA, SCHEMA
from visitwise.training import save_model
from visitwise.visits import Schema, Visits
from visitwise.widgets import Playground
from visitwise.widgets._figure import bundle

WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 360, "height": 800}
KILOBYTE = 1000
Load = Callable[[Path], list[str]]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    assert built().build.returncode == 0, built().build.stderr
    with served(built().site) as found:
        yield f"{found}/playground/"


@pytest.fixture
def live(browser: Any, address: str) -> Iterator[Live]:
    """The figure on its page, untouched; the browser must have nothing to complain of in the end."""
    context = browser.new_context(viewport=WIDE, permissions=["clipboard-read", "clipboard-write"])
    opened = open_figure(context, address, "playground", [])
    yield opened
    assert opened.errors == []
    context.close()


def expect(locator: Any) -> Any:
    """What Playwright waits for: a loaded machine draws late what a figure leaves to the next frame."""
    from playwright.sync_api import expect as waits

    return waits(locator)


def button(live: Live, name: str) -> Any:
    return live.host.get_by_role("button", name=name, exact=True)


def chosen(live: Live, name: str) -> Any:
    return live.host.get_by_role("radio", name=name, exact=True)


def code_of(place: int) -> str:
    """The readable part of a code of the schema, as the toggles have it."""
    return re.sub(r"^(ICD10CM//\S+ |RxNorm//)", "", SCHEMA.codes[place])


def last_hazard(live: Live) -> float:
    return float(live.out["hazard"][-1])


# ------------------------------------------------------------------------------------------------------ the first look


@pytest.mark.browser
def test_the_first_look_shows_a_learned_hazard_that_is_not_the_true_one(live: Live) -> None:
    out = live.out
    assert live.unlike() == []
    gaps = [abs(learned - true) for learned, true in zip(out["hazard"], out["true_hazard"], strict=True)]
    assert max(gaps) > 0.01
    assert live.host.get_by_text("Synthetic data, not medical advice.").first.is_visible()


# --------------------------------------------------------------------------------------- make this patient's risk fall


def least(live: Live) -> tuple[str, float]:
    """Of the codes at the chosen visit the one without which the hazard is lowest, by the figure's own comparison."""
    code, without, _ = min(live.out["without"], key=lambda row: row[1])
    return code_of(code), without


@pytest.mark.browser
def test_the_mouse_makes_a_patients_risk_fall(live: Live) -> None:
    live.host.locator("[data-handle^='visit']").last.click()
    live.settle()
    assert live.state["visit"] == len(live.state["day"]) - 1
    before = last_hazard(live)
    name, promised = least(live)
    toggle = live.host.get_by_role("checkbox", name=name, exact=True)
    expect(toggle).to_be_checked()
    toggle.click()
    live.settle()
    expect(toggle).not_to_be_checked()
    assert last_hazard(live) == pytest.approx(promised, abs=1e-12)
    assert last_hazard(live) < before
    assert live.unlike() == []
    toggle.click()
    live.settle()
    assert last_hazard(live) == before
    handle = live.all("[data-handle^='visit']")[-1]
    assert list(drag(handle, Mouse(live.page))) == []
    assert live.state["day"][-1] != live.state["day"][-2]
    assert last_hazard(live) != before


NAME = """(root) => {
  const node = root.activeElement;
  const label = node?.closest("label")?.querySelector("span");
  return (node?.getAttribute("aria-label") ?? (label ?? node)?.textContent ?? "").trim();
}"""


def tab_to(live: Live, wanted: str) -> None:
    """Press Tab until what is called so has the focus."""
    seen: list[str] = []
    while len(seen) < 150:
        live.page.keyboard.press("Tab")
        seen.append(live.ask(NAME))
        if seen[-1] == wanted:
            return
    pytest.fail(f"Tab does not come to {wanted!r}; it came to {list(dict.fromkeys(seen))}")


@pytest.mark.browser
def test_the_keyboard_alone_makes_a_patients_risk_fall(live: Live) -> None:
    live.block.evaluate("(block) => { block.tabIndex = -1; block.focus(); block.removeAttribute('tabindex'); }")
    visits = len(live.state["day"])
    tab_to(live, "visit")
    live.page.keyboard.press("End")
    assert live.state["visit"] == visits - 1
    before = last_hazard(live)
    name, promised = least(live)
    live.settle()
    tab_to(live, name)
    live.page.keyboard.press("Space")
    assert last_hazard(live) == pytest.approx(promised, abs=1e-12)
    assert last_hazard(live) < before
    assert live.unlike() == []
    said = f"the hazard is {100 * last_hazard(live):.1f}% learned"
    live.host.locator(".spoken").filter(has_text=said).wait_for(state="attached")


# ------------------------------------------------------------------------------------------------------- find the leak


@pytest.mark.browser
@pytest.mark.parametrize(("model", "moves"), [("reads the past", False), ("reads ahead, too", True)])
def test_deleting_the_last_visit_moves_what_came_before_in_one_model_alone(live: Live, model: str, moves: bool) -> None:
    chosen(live, model).check()
    live.host.locator("[data-handle^='visit']").last.click()
    live.settle()
    before = live.out["hazard"]
    button(live, "Delete this visit").click()
    live.settle()
    after = live.out["hazard"]
    assert len(after) == len(before) - 1 >= 2
    assert live.unlike() == []
    if moves:
        assert before[-2] < 1e-3 < after[-1]
        assert after[-1] > 100 * before[-2]
    else:
        assert after == before[:-1]  # to the last bit


@pytest.mark.browser
def test_the_model_that_reads_ahead_beats_the_oracle_on_a_record_that_it_should_not(live: Live) -> None:
    assert live.out["nll"] > 0
    chosen(live, "reads ahead, too").check()
    curve = trained.curve("bidirectional")
    assert curve["validation"][-1] < curve["oracle"] / 2
    assert f"{curve['validation'][-1]:.4f}" in figure_text(live)
    assert f"{curve['oracle']:.4f}" in figure_text(live)


def figure_text(live: Live) -> str:
    live.settle()
    return str(live.ask("(root) => root.querySelector('section').textContent"))


# ------------------------------------------------------------------------------------------------- a patient is shared


def change_much(live: Live) -> None:
    """Something of each kind."""
    for change in (
        button(live, "Add a visit").click,
        live.host.locator("[data-handle^='visit']").nth(1).click,
        live.host.get_by_role("checkbox", name="pneumonia", exact=True).click,
        live.host.locator("[data-handle^='visit']").last.focus,
        lambda: live.page.keyboard.press("ArrowRight"),
        chosen(live, "the event").check,
        lambda: live.host.get_by_role("slider", name="epochs trained").press("ArrowLeft"),
    ):
        change()
        live.settle()


@pytest.mark.browser
def test_the_address_opens_the_same_patient_with_the_same_numbers(live: Live) -> None:
    begun = live.state
    change_much(live)
    assert {key for key, value in live.state.items() if value != begun[key]} >= {
        "day",
        "codes",
        "visit",
        "observed",
        "epoch",
    }
    [own] = written(live)
    until(live.page, "(own) => decodeURIComponent(location.search) === own", arg=own)
    other = open_figure(live.page.context, live.page.url, "playground", live.errors)
    assert other.state == live.state
    assert other.out == live.out
    assert other.unlike() == []


ENCODE = """async (block) => {
  const module = new URL(`${block.dataset.live}.js`, document.querySelector("script[src*='mount.js']").src);
  const { default: { figure, encode } } = await import(module);
  return [`?${figure.name}=${encode(JSON.parse(block.querySelector("[data-state]").dataset.state))}`];
}"""


def written(live: Live) -> list[str]:
    """What the address comes to say of the state on show; it is written a moment after a change."""
    return list(live.block.evaluate(ENCODE))


# ----------------------------------------------------------------------------------------------------- opened in Python


def python_of(live: Live) -> str:
    button(live, "Copy for Python").click()
    expect(live.host.locator(".story[role=status]")).to_contain_text("Copied, as below.")
    return str(live.page.evaluate("() => navigator.clipboard.readText()"))


@pytest.mark.browser
@pytest.mark.parametrize("model", ["reads the past", "reads ahead, too", "two causes"])
def test_what_is_copied_for_python_runs_there_and_gives_the_same_hazards(
    live: Live, tmp_path: Path, model: str
) -> None:
    change_much(live)
    chosen(live, model).check()
    assert ran(python_of(live), tmp_path) == pytest.approx(live.out["hazard"], rel=1e-12)


def ran(program: str, folder: Path) -> list[float]:
    """The hazards of a copied program, which prints what it says in its comments."""
    last = "\nimport json\nprint(json.dumps(hazard[0].tolist()))\n"
    command = [sys.executable, "-W", "error", "-c", program + last]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    *table, hazards = done.stdout.strip().splitlines()
    assert [f"# {line}" for line in table] == [line for line in program.splitlines() if line.startswith("# visit")]
    return list(json.loads(hazards))


# ------------------------------------------------------------------------------------------------- a model of one's own


# As a reader of MEDS leaves them: the simulator's codes in some order and what it does not know, age in years.
EXPORTED = Schema.of([*sorted(SCHEMA.codes[1:]), "<unknown>"], ["female", "female known", "age"])


def own_model(kind: str) -> SurvivalRNN | CompetingRisksRNN:
    if kind == "rare":
        rare = SCHEMA.codes.index(KIDNEY_INJURY)  # which is on show
        return SurvivalRNN(Schema.of([*SCHEMA.codes[1:rare], *SCHEMA.codes[rare + 1 :], "<unknown>"], SCHEMA.static))
    if kind == "exported":
        model = SurvivalRNN(EXPORTED, embedding=4, hidden=3, seed=4)
        model.encoder.centre.copy_(torch.tensor([0.5, 0.9, 63.0]))
        model.encoder.scale.copy_(torch.tensor([0.5, 0.3, 12.0]))
        return model
    if kind == "causes":
        return CompetingRisksRNN(SCHEMA, base_rates=[0.05, 0.1], embedding=3, hidden=4, seed=3)
    cell = "gru" if kind == "gru" else "lstm"
    return SurvivalRNN(SCHEMA, embedding=5, hidden=3, cell=cell, time_features=kind != "timeless", seed=2)


def listen_for_requests(live: Live) -> list[str]:
    """What the page asks for once it has its models; a browser may ask for its icon when the address changes."""
    block = '[data-live="widgets/playground"]'
    live.page.locator(block).dispatch_event("pointerenter")
    live.page.wait_for_selector(f"{block}:not([data-later])")
    # The theme's script starts at the first sign of a hand, and asks for the site's map when it has started.
    live.page.mouse.move(5, 5)
    live.page.keyboard.press("Shift")
    until(live.page, "performance.getEntriesByType('resource').some((one) => one.name.endsWith('/sitemap.xml'))")
    asked: list[str] = []
    mine = ("favicon.svg", "/assets/widgets/own_model.js")  # the module that reads files comes when one is given
    live.page.on("request", lambda one: None if one.url.endswith(mine) else asked.append(one.url))
    return asked


def load(live: Live, file: Path) -> str:
    """Give a file to the playground; what it says of it."""
    live.host.get_by_label("Load your model").set_input_files(file)
    told = live.host.locator(".story[role=status]").filter(has_text=file.name)
    told.wait_for()
    live.settle()
    return str(told.text_content())


@pytest.mark.browser
@pytest.mark.parametrize("kind", ["lstm", "gru", "timeless", "causes", "exported", "rare"])
def test_a_model_of_ones_own_gives_the_packages_numbers_and_never_leaves_the_page(
    live: Live, tmp_path: Path, kind: str
) -> None:
    model = own_model(kind)
    save_model(model, tmp_path / "mine.safetensors")
    asked = listen_for_requests(live)
    told = load(live, tmp_path / "mine.safetensors")
    assert "is loaded" in told
    assert (f"It reads {KIDNEY_INJURY} as <unknown>." in told) == (kind == "rare")
    expect(chosen(live, "yours")).to_be_checked()
    assert live.out["hazard"] == pytest.approx(by_package(model, live.state), rel=1e-12)
    change = live.host.get_by_role("checkbox", name="pneumonia", exact=True)
    change.click()
    assert live.out["hazard"] == pytest.approx(by_package(model, live.state), rel=1e-12)
    program = python_of(live)
    assert ran(program, tmp_path) == pytest.approx(live.out["hazard"], rel=1e-12)
    live.page.wait_for_timeout(500)
    assert asked == []


def by_package(model: SurvivalRNN | CompetingRisksRNN, state: dict[str, Any]) -> list[float]:
    visits = visits_of(state, model.schema) if "age" in state else own_visits(state, model.schema)
    prediction = model.double().predict(visits)
    if isinstance(model, SurvivalRNN):
        return list(prediction.hazard[0].tolist())
    return list(prediction.cause_hazard[0].sum(-1).tolist())


def picture() -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 4, 4, 8, 0, 0, 0, 0)
    rows = zlib.compress(b"\x00\x01\x02\x03\x04" * 4)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def foreign_files(folder: Path) -> dict[str, Path]:
    """Files that are no model of this world, by what they are."""
    whole = trained.file_of("causal").read_bytes()
    contents = {
        "a picture": picture(),
        "cut short": whole[:-100],
        "nothing": b"",
        "a program": b"import os\n" * 20,
        "too large": bytes(5_000_001),
        "not finite": whole[:-4] + struct.pack("<f", float("nan")),
    }
    files = {name: folder / f"{name}.safetensors" for name in [*contents, "another kind"]}
    for name, content in contents.items():
        files[name].write_bytes(content)
    save_model(HorizonRNN(Schema.of(["flu"]), embedding=2, hidden=2), files["another kind"])
    return files


@pytest.mark.browser
def test_a_file_that_is_no_such_model_is_refused_in_words_and_changes_nothing(live: Live, tmp_path: Path) -> None:
    change_much(live)
    state, out = live.state, live.out
    asked = listen_for_requests(live)
    said = {name: load(live, file) for name, file in foreign_files(tmp_path).items()}
    assert (live.state, live.out) == (state, out)
    assert len(set(said.values())) == len(said)
    for name, words in said.items():
        assert len(words.split()) >= 6, (name, words)
        assert not re.search(r"undefined|NaN\b.*NaN|\[object|Error:", words), (name, words)
    assert asked == []


@pytest.mark.browser
def test_an_address_that_asks_for_a_model_that_is_not_there_says_so(live: Live, address: str) -> None:
    other = open_figure(live.page.context, f"{address}?playground=model:mine", "playground", live.errors)
    assert other.out == live.out
    expect(other.host.locator(".story[role=status]")).to_contain_text("your")


# -------------------------------------------------------------------------------------------- a model of other codes

LONG = "ICD10CM//E11.9 type 2 diabetes mellitus without complications, of a name that is longer than its row"
HOSPITAL = Schema.of(
    [*(f"DIAGNOSIS//ICD//10//E{number:04}" for number in range(1500)), LONG, "心不全", "<img src=x>", "<unknown>"],
    ["age", "GENDER//F"],
    ["LAB//50912//mg/dL", "weight"],
)


def hospital(folder: Path, kind: str = "one") -> tuple[Path, SurvivalRNN | CompetingRisksRNN]:
    """A model of codes that the simulator has not."""
    sizes: dict[str, Any] = {"embedding": 4, "hidden": 5, "seed": 5}
    model: SurvivalRNN | CompetingRisksRNN = SurvivalRNN(HOSPITAL, **sizes)
    if kind == "causes":
        model = CompetingRisksRNN(HOSPITAL, base_rates=[0.05, 0.1], **sizes)
    if kind == "ahead":
        model = SurvivalRNN(HOSPITAL, path="packed", bidirectional=True, demonstration=True, **sizes)
    model.encoder.centre.copy_(torch.tensor([1.234567, 80.0, 63.0, 0.5]))
    model.encoder.scale.copy_(torch.tensor([0.5, 17.0, 12.0, 0.5]))
    save_model(model, folder / "hospital.safetensors")
    return folder / "hospital.safetensors", model


def own_visits(state: dict[str, Any], schema: Schema) -> Visits:
    codes = [[schema.codes[code] for code in here] for here in state["codes"]]
    taken = [[float("nan") if one is None else one for one in row] for row in state["measured"]]
    return Visits.from_lists([codes], [state["day"]], schema=schema, static=[state["static"]], measurements=[taken])


class Own(Live):
    """The figure of a model of other codes, which stands in the place of the playground."""

    @property
    def host(self) -> Any:
        return self.block.locator("> [data-out]").nth(1)


def opened(live: Live, file: Path) -> Own:
    live.host.get_by_label("Load your model").set_input_files(file)
    own = Own(live.page, live.name, live.errors)
    own.host.locator(".loaded").wait_for()
    own.settle()
    assert not live.block.locator("> [data-out]").first.is_visible()
    return own


def is_the_packages(own: Live, model: SurvivalRNN | CompetingRisksRNN) -> bool:
    return bool(own.out["hazard"] == pytest.approx(by_package(model, own.state), rel=1e-12))


@pytest.mark.browser
@pytest.mark.parametrize("kind", ["one", "causes", "ahead"])
def test_the_mouse_writes_a_record_for_a_model_of_other_codes(live: Live, tmp_path: Path, kind: str) -> None:
    file, model = hospital(tmp_path, kind)
    asked = listen_for_requests(live)
    own = opened(live, file)
    assert own.state == {
        "day": [0], "codes": [[]], "measured": [[None, None]], "static": [63, 0.5], "observed": False, "visit": 0
    }  # fmt: skip
    told = own.host.locator(".loaded").text_content()
    kinds = {"causes": "a CompetingRisksRNN"}
    assert f"{kinds.get(kind, 'a SurvivalRNN')} of 1504 codes, 2 static features and 2 measurements" in told
    assert f"does not know {SCHEMA.codes[1]}" in told
    assert "no true hazard" in told
    assert is_the_packages(own, model)
    find = own.host.get_by_label("Find a code")
    for sought, name in (("e0013", "DIAGNOSIS//ICD//10//E0013"), ("mellitus TYPE", LONG), ("<img", "<img src=x>")):
        find.fill(sought)
        own.host.get_by_role("checkbox", name=name, exact=True).click()
        own.settle()
        assert own.state["codes"][-1][-1] == HOSPITAL.codes.index(name)
        assert is_the_packages(own, model)
        button(own, "Add a visit").click()
        own.settle()
    before = own.out["hazard"]
    own.host.get_by_label("weight").fill("95.5")
    own.host.get_by_label("weight").blur()
    own.host.get_by_label("age").fill("81")
    own.host.get_by_label("age").blur()
    button(own, "Add a visit").click()  # after the last, where nothing is measured
    own.host.locator("[data-handle^='visit']").first.click()
    button(own, "Add a visit").click()  # between the first and the second
    own.settle()
    nothing: list[float | None] = [None, None]
    assert own.state["measured"] == [nothing] * 4 + [[None, 95.5], nothing]
    assert (own.state["visit"], own.state["day"][:3]) == (1, [0, 30, 60])
    assert is_the_packages(own, model)
    for handle in ("first", "last"):
        getattr(own.host.locator("[data-handle^='visit']"), handle).click()
        button(own, "Delete this visit").click()
        own.settle()
    assert own.state["measured"] == [nothing] * 3 + [[None, 95.5]]
    assert is_the_packages(own, model)
    own.host.locator("[data-handle^='visit']").last.click()
    own.settle()
    chosen(own, "the event, of cause 1" if kind == "causes" else "the event").check()
    handle = own.all("[data-handle^='visit']")[-1]
    handle.node.evaluate("(node) => node.scrollIntoView({ block: 'center', behavior: 'instant' })")
    x, y = (handle.see()[part] for part in ("x", "y"))
    hand = Mouse(own.page)
    hand.down(x, y)
    hand.move(x - 30, y)
    hand.up()
    own.settle()
    state = own.state
    assert (len(state["day"]), state["measured"][-1], state["static"]) == (4, [None, 95.5], [81, 0.5])
    assert state["observed"] is True
    assert state["day"][-1] < 150
    assert own.out["hazard"] != before
    assert is_the_packages(own, model)
    assert (own.out["most_moved"] > 1e-9) == (kind == "ahead")
    for _ in range(30):
        if button(own, "Undo").get_attribute("aria-disabled") == "true":
            break
        button(own, "Undo").click()
        own.settle()
    assert own.state["codes"] == [[]]
    assert is_the_packages(own, model)
    assert asked == []


@pytest.mark.browser
def test_the_keyboard_writes_one_and_a_code_that_was_found_keeps_the_focus(live: Live, tmp_path: Path) -> None:
    file, model = hospital(tmp_path)
    own = opened(live, file)
    key, typed = own.page.keyboard.press, own.page.keyboard.type
    tab_to(own, "Find a code")
    typed("e0013")
    own.settle()
    expect(own.host.locator(".codes [role=status]")).to_have_text("1 code has that in its name.")
    tab_to(own, "DIAGNOSIS//ICD//10//E0013")
    for codes in ([[14]], [[]], [[14]]):
        key("Space")
        own.settle()
        assert own.ask(NAME) == "DIAGNOSIS//ICD//10//E0013"
        assert own.state["codes"] == codes
    tab_to(own, "weight")
    typed("70.5")
    key("Enter")
    own.settle()
    assert own.state["measured"] == [[None, 70.5]]
    assert is_the_packages(own, model)
    key("Control+A")
    key("Backspace")
    key("Tab")
    own.settle()
    assert own.state["measured"] == [[None, None]]
    tab_to(own, "GENDER//F")
    key("Control+A")
    typed("1e300")
    key("Enter")
    own.settle()
    assert own.state["static"] == [63, 0.5]
    expect(own.host.locator(".whole.story[role=status]")).to_contain_text(
        "GENDER//F stays as it was: expected a number"
    )
    own.block.evaluate("(block) => { block.tabIndex = -1; block.focus(); block.removeAttribute('tabindex'); }")
    tab_to(own, "Add a visit")
    key("Enter")
    own.settle()
    assert (own.state["day"], own.state["codes"]) == ([0, 60], [[14], []])
    assert is_the_packages(own, model)
    tab_to(own, "Start again")
    key("Enter")
    own.settle()
    assert own.state["day"] == [0]
    own.block.evaluate("(block) => { block.tabIndex = -1; block.focus(); block.removeAttribute('tabindex'); }")
    tab_to(own, "Back to the simulated patients")
    key("Enter")
    live.host.locator(".picture").wait_for()
    assert live.block.locator("> [data-out]").count() == 1
    expect(chosen(live, "reads the past")).to_be_checked()
    assert live.ask(NAME) == "Load your model"
    assert live.unlike() == []


@pytest.mark.browser
@pytest.mark.parametrize("kind", ["one", "causes"])
def test_the_program_for_a_model_of_other_codes_gives_the_same_hazards(live: Live, tmp_path: Path, kind: str) -> None:
    own = opened(live, hospital(tmp_path, kind)[0])
    own.host.get_by_label("Find a code").fill("心")
    own.host.get_by_role("checkbox", name="心不全").click()
    own.host.get_by_label("weight").fill("1e-7")
    own.host.get_by_label("weight").blur()
    button(own, "Add a visit").click()
    own.settle()
    assert ran(python_of(own), tmp_path) == pytest.approx(own.out["hazard"], rel=1e-12)


@pytest.mark.browser
def test_no_address_has_a_record_of_other_codes_and_who_opens_it_is_told(live: Live, tmp_path: Path) -> None:
    own = opened(live, hospital(tmp_path)[0])
    own.host.get_by_label("Find a code").fill("e0013")
    own.host.get_by_role("checkbox", name="E0013").click()
    button(own, "Add a visit").click()
    until(own.page, "() => location.search === '?playground=model:mine'")
    own.page.wait_for_timeout(500)
    assert urlsplit(own.page.url).query == "playground=model:mine"
    other = open_figure(live.page.context, live.page.url, "playground", live.errors)
    told = other.host.locator(".story[role=status]")
    expect(told).to_contain_text("No model of yours is loaded")
    expect(told).to_contain_text("is in no address")


@pytest.mark.browser
def test_another_file_takes_its_place_or_is_refused_beside_the_record(live: Live, tmp_path: Path) -> None:
    own = opened(live, hospital(tmp_path)[0])
    button(own, "Add a visit").click()
    own.settle()
    state = own.state
    (tmp_path / "bad.safetensors").write_bytes(b"import os\n" * 20)
    field = own.host.get_by_label("Load another model")
    field.set_input_files(tmp_path / "bad.safetensors")
    expect(own.host.locator(".whole.story[role=status]")).to_contain_text("bad.safetensors was not loaded: this is no")
    assert own.state == state
    save_model(SurvivalRNN(Schema.of(["flu"]), embedding=2, hidden=2), tmp_path / "flu.safetensors")
    field.set_input_files(tmp_path / "flu.safetensors")
    expect(own.host.locator(".loaded")).to_contain_text("flu.safetensors is loaded: a SurvivalRNN of 1 code, 0 static")
    assert own.state["measured"] == [[]]
    save_model(own_model("exported"), tmp_path / "exported.safetensors")
    own.host.get_by_label("Load another model").set_input_files(tmp_path / "exported.safetensors")
    expect(live.block.locator("> [data-out]")).to_have_count(1)
    expect(chosen(live, "yours")).to_be_checked()
    assert live.ask(NAME) == "Load your model"
    assert live.out["hazard"] == pytest.approx(by_package(own_model("exported"), live.state), rel=1e-12)


@pytest.mark.browser
def test_a_look_at_a_model_of_other_codes_is_no_change_that_undo_goes_back_to(live: Live, tmp_path: Path) -> None:
    begun = live.state
    live.host.get_by_role("checkbox", name="acute kidney injury", exact=True).click()
    live.settle()
    said = live.host.locator(".effect").text_content()
    own = opened(live, hospital(tmp_path)[0])
    button(own, "Back to the simulated patients").click()
    live.settle()
    expect(chosen(live, "reads the past")).to_be_checked()
    assert live.host.locator(".effect").text_content() == said
    button(live, "Undo").click()
    live.settle()
    assert live.state == begun
    expect(button(live, "Undo")).to_have_attribute("aria-disabled", "true")


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [WIDE, NARROW], ids=["wide", "narrow"])
def test_the_figure_of_other_codes_fits_and_axe_is_silent(
    browser: Any, address: str, tmp_path: Path, scheme: str, viewport: dict[str, int]
) -> None:
    context = browser.new_context(viewport=viewport, color_scheme=scheme)
    live = open_figure(context, address, "playground", [])
    own = opened(live, hospital(tmp_path)[0])
    for sought in ("e0013", "mellitus", "心", "<img"):
        own.host.get_by_label("Find a code").fill(sought)
        own.settle()
        own.host.get_by_role("checkbox").first.click()
        own.settle()
    own.host.get_by_label("Find a code").fill("e00")
    button(own, "Copy for Python").click()
    own.host.locator("pre").wait_for()
    own.unfold()
    own.settle()
    assert len(own.state["codes"][0]) == 4
    wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert own.page.evaluate(wide) <= 0
    assert own.ask(ROOM) == []
    own.page.evaluate(AXE.read_text(encoding="utf-8"))
    answer = own.page.evaluate("(node) => axe.run(node)", own.block.element_handle())
    assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in answer["violations"]] == []
    assert live.errors == []
    context.close()


IN_A_NOTEBOOK = """async ([text, state]) => {
  const { default: figure } = await import(URL.createObjectURL(new Blob([text], { type: "text/javascript" })));
  const el = document.createElement("div");
  document.body.append(el);
  const model = { get: (key) => state[key], set: (key, value) => (state[key] = value), on() {}, off() {},
    save_changes() {} };
  figure.render({ model, el });
}"""


@pytest.mark.browser
def test_jupyter_which_loads_from_no_folder_opens_a_model_of_other_codes_too(browser: Any, tmp_path: Path) -> None:
    page = browser.new_page()
    page.set_content("<!doctype html><title>notebook</title><body>")
    play = Playground()
    page.evaluate(IN_A_NOTEBOOK, [bundle("playground"), play.state | {"given": play.given}])
    page.get_by_label("Load your model").set_input_files(hospital(tmp_path)[0])
    page.locator(".loaded").wait_for()
    page.get_by_label("Find a code").fill("e0013")
    page.get_by_role("checkbox", name="E0013").click()
    state = json.loads(page.locator("body > [data-out]").nth(1).get_attribute("data-state"))
    assert state["codes"] == [[14]]
    page.close()


# ------------------------------------------------------------------------------------------------- wherever it is read


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_narrow_screen_all_of_it_fits_and_a_patient_can_be_changed(
    browser: Any, address: str, scheme: str
) -> None:
    context = browser.new_context(viewport=NARROW, color_scheme=scheme, has_touch=True, is_mobile=True)
    live = open_figure(context, address, "playground", [])
    wide = live.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0
    before = live.out
    live.host.get_by_role("checkbox", name="sepsis", exact=True).tap()
    live.settle()
    assert live.out["hazard"] != before["hazard"]
    assert live.unlike() == []
    assert live.errors == []
    context.close()


@pytest.mark.browser
def test_without_a_script_there_are_picture_table_and_words(browser: Any, address: str) -> None:
    page = browser.new_page(java_script_enabled=False, viewport=NARROW)
    page.goto(address)
    still = page.locator(".vw-still")
    assert still.locator("svg:visible").count() == 1
    assert still.locator("table").is_visible()
    assert still.locator("tbody tr").count() >= 3
    assert still.locator("svg:visible").get_by_text("Synthetic data, not medical advice.").is_visible()
    page.close()


@pytest.mark.browser
def test_what_makes_it_move_is_asked_for_before_the_script_that_looks_for_figures_is_there(
    browser: Any, address: str
) -> None:
    page = browser.new_page()
    page.route("**/assets/mount.js", lambda route: None)  # it never comes
    with page.expect_request("**/assets/widgets/playground.js", timeout=20000):
        page.goto(address, wait_until="commit")
    page.close()


@pytest.mark.browser
def test_the_figure_with_its_weights_weighs_at_most_a_hundred_kilobytes(browser: Any, address: str) -> None:
    answers: list[Any] = []
    context = browser.new_context(viewport=WIDE)
    context.on("response", lambda answer: answers.append(answer))
    live = open_figure(context, address, "playground", [])
    loaded = {urlsplit(answer.url).path: answer.body() for answer in answers}
    scripts = [body for path, body in loaded.items() if re.search(r"/assets/(widgets/|host\.js|mount\.js)", path)]
    assert len(scripts) >= 7
    assert not any(path.endswith("own_model.js") for path in loaded)
    scripts.append((built().site / "assets" / "widgets" / "own_model.js").read_bytes())  # which a file asks for
    block = live.block.evaluate("(block) => block.cloneNode(false).outerHTML").encode()
    context.close()
    sizes = [len(gzip.compress(body, 9)) for body in [*scripts, block]]
    assert sum(sizes) <= 100 * KILOBYTE, sizes
    assert sizes[-2] <= 8 * KILOBYTE


# ------------------------------------------------------------------------------------------- what the stories say is so

SAMPLES = {sample["name"]: sample for sample in Playground().given["samples"]}


def visits_of(state: dict[str, Any], schema: Schema = SCHEMA) -> Visits:
    known_by = {name: name if name in schema.codes else "<unknown>" for name in SCHEMA.codes}
    codes = [[known_by[name] for j, name in enumerate(SCHEMA.codes[1:]) if bits >> j & 1] for bits in state["codes"]]
    age = state["age"]
    known = {"age_decades_over_60": (age - 60) / 10, "female": float(state["female"]), "age": age, "female known": 1.0}
    static = [known[name] for name in schema.static]
    return Visits.from_lists([codes], [state["day"]], schema=schema, static=[static])


def said_of(state: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """The hazards of a record, learned and true."""
    visits = visits_of(state)
    return trained.load().double().predict(visits).hazard[0], trained.world().hazard(visits)


def recorded(state: dict[str, Any], code: str, *visits: int, on: bool = True) -> dict[str, Any]:
    """The patient with a code recorded at some visits, or not recorded there."""
    bit = 1 << (SCHEMA.codes.index(code) - 1)
    codes = [(bits | bit if on else bits & ~bit) if k in visits else bits for k, bits in enumerate(state["codes"])]
    assert codes != state["codes"]
    return state | {"codes": codes}


def percent(share: Tensor) -> str:
    """As the figure writes a percentage."""
    return f"{100 * share.item():.{1 if share >= 0.00995 else 2}f}%"


def says(name: str, *shares: Tensor) -> None:
    """The story says these percentages, in this order."""
    assert re.findall(r"[0-9.]+%", SAMPLES[name]["story"]) == [percent(share) for share in shares]


def injury_after_diabetes(state: dict[str, Any]) -> None:
    true, injury = said_of(state)[1], state["visit"]
    later = said_of(recorded(state, DIABETES, 0, 1, on=False))[1]
    assert (injury, "at visit 2" in SAMPLES["injury after diabetes"]["story"]) == (2, True)
    says("injury after diabetes", true[1], true[2], later[2])
    assert true[2:].min() > 9 * true[1]
    assert recorded(state, DIABETES, 4, on=False)  # recorded again after the injury
    assert later[3:].max() < 1.1 * later[2]


def furosemide(state: dict[str, Any]) -> None:
    learned, true = said_of(state)
    other_learned, other_true = said_of(recorded(state, FUROSEMIDE, 2, on=False))
    says("furosemide", true[2], other_true[2], learned[2], other_learned[2])
    assert (other_true != true).nonzero()[:, 0].tolist() == [2]
    assert (other_learned > learned).tolist() == [False, False, True, True, True, True]


def lung_cancer(state: dict[str, Any]) -> None:
    learned, true = said_of(state)
    without = recorded(state, LUNG_CANCER, 0, on=False)
    without_learned, without_true = said_of(without)
    late = said_of(recorded(without, LUNG_CANCER, 5))[1]
    says("lung cancer, recorded early", without_true[0], true[0], without_learned[0], learned[0], late[5])
    assert ((true.logit() - without_true.logit()).diff() < 0).all()


def check_ups(state: dict[str, Any]) -> None:
    assert set(state["codes"]) == {1 << (SCHEMA.codes.index(CHECK_UP) - 1)}
    assert all((hazard - 0.001).abs().max() < 0.0002 for hazard in said_of(state))
    push = said_of(state)[0][-1].item()
    assert f"from {push:.4f} to {push - 1:.4f}.".replace("-", "−") in SAMPLES["check-ups alone"]["story"]


def thirty_visits(state: dict[str, Any]) -> None:
    bit = 1 << (SCHEMA.codes.index(PNEUMONIA) - 1)
    pneumonia = [k for k, bits in enumerate(state["codes"]) if bits & bit]
    assert (len(state["day"]), len(pneumonia), state["visit"]) == (30, 4, 19)
    assert (state["day"][19], 19 in pneumonia) == (904, True)
    assert state["day"][20] > 930
    (learned, true), moved = (
        said_of(state),
        state | {"day": [930 if k == 19 else d for k, d in enumerate(state["day"])]},
    )
    other_learned, other_true = said_of(moved)
    says("thirty visits", true[20], other_true[20], learned[20], other_learned[20])
    assert torch.equal(true[:19], other_true[:19])
    assert torch.equal(learned[:19], other_learned[:19])


def forgotten(state: dict[str, Any]) -> None:
    (learned, true), injury = said_of(state), state["visit"]
    again = said_of(recorded(state, DIABETES, 9))[0]
    says("diabetes, forgotten", true[injury], learned[injury], again[injury], again[injury + 1], true[injury + 1])
    assert torch.equal(said_of(recorded(state, DIABETES, 9))[1], true)


STORIES = {
    "injury after diabetes": injury_after_diabetes,
    "furosemide": furosemide,
    "lung cancer, recorded early": lung_cancer,
    "check-ups alone": check_ups,
    "thirty visits": thirty_visits,
    "diabetes, forgotten": forgotten,
}


@pytest.mark.parametrize("name", SAMPLES)
def test_the_story_of_a_sample_is_true(name: str) -> None:
    STORIES[name](SAMPLES[name]["state"])


@pytest.mark.parametrize("name", SAMPLES)
def test_the_terms_are_why_the_true_hazard_is_what_it_is(name: str) -> None:
    state = SAMPLES[name]["state"] | {"epoch": 7, "model": "causal"}
    terms = torch.tensor(oracle(state, {})["terms"], dtype=torch.float64)
    assert len(terms) == 1 + len(Playground().given["why"])
    assert terms.sum().sigmoid() == pytest.approx(said_of(state)[1][state["visit"]].item(), rel=1e-12)


@pytest.mark.browser
def test_each_sample_is_chosen_by_its_name_and_tells_its_story(live: Live) -> None:
    for name, sample in SAMPLES.items():
        chosen(live, name).check()
        live.settle()
        assert live.state.items() >= sample["state"].items()
        assert sample["story"] in figure_text(live)
        assert live.unlike() == []


@pytest.mark.browser
def test_a_story_stays_while_its_patient_is_changed_and_is_told_of_one_model_alone(live: Live) -> None:
    story, about = SAMPLES["injury after diabetes"]["story"], Playground().given["about"]
    live.host.get_by_role("checkbox", name="pneumonia", exact=True).click()
    assert f"Begun from “injury after diabetes”, changed. {story}" in figure_text(live)
    for model, name in (("reads ahead, too", "bidirectional"), ("two causes", "competing")):
        chosen(live, model).check()
        assert about[name] in figure_text(live)
        assert story not in figure_text(live)
    chosen(live, "reads the past").check()
    chosen(live, "furosemide").check()
    assert story not in figure_text(live)
    assert SAMPLES["furosemide"]["story"] in figure_text(live)


# --------------------------------------------------------------------------------------- what the last change has done

HISTORY = """
const { readFile } = await import("node:fs/promises");
const { follow, changeOf, atSameVisit, traceOf, figure } = await import(MODULE);
const given = JSON.parse(await readFile(GIVEN, "utf8"));
const begin = { ...given.samples[0].state, epoch: 7, model: "causal" };
const memory = {};
const see = (state) => follow(memory, state, figure.out(state, given), given);
const hazard = (state) => figure.out(state, given).hazard;
const at = (state, k, bit) => ({ ...state, codes: state.codes.with(k, state.codes[k] ^ bit) });
const moved = (state, day) => ({ ...state, day: state.day.with(5, day), visit: 5 });
const found = [];
const told = () => found.push([memory.change?.words ?? null, memory.past.length, memory.before?.hazard ?? null]);
const [flipped, dragged] = [at(begin, 2, 1024), moved(at(begin, 2, 1024), 340)];
for (const state of [begin, { ...begin, visit: 3 }, flipped, dragged, moved(flipped, 350)]) { see(state); told(); }
memory.undoing = true; memory.past = memory.past.slice(0, -1); see(flipped); told();
see({ ...flipped, age: 60, female: true }); told();
console.log(JSON.stringify({
  found,
  hazards: [begin, flipped, moved(flipped, 350)].map(hazard),
  added: changeOf(begin, { ...begin, day: [0, 60, 95, 130, 190, 250, 330],
    codes: begin.codes.toSpliced(2, 0, 0), visit: 2 }, given),
  removed: changeOf(begin, { ...begin, day: begin.day.toSpliced(2, 1), codes: begin.codes.toSpliced(2, 1) }, given),
  afterAdding: atSameVisit({ added: 2 }, [1, 2, 3], [1, 2, 0, 3]),
  afterRemoving: atSameVisit({ removed: 1 }, [1, 2, 3], [1, 3]),
  traces: [traceOf([0.1, 0.2, 0.3], [0.1, 0.21, 0.9]), traceOf([0.1, 0.2], [0.1, 0.2]),
    traceOf([0.1, undefined, 0.2], [0.1, 0.5, 0.1]), traceOf([0.001, 0.5], [0.01, 0.6])],
}));
"""

# What somebody might write instead, each of which the test below must notice.
HISTORY_MUTANTS = {
    "undo is undone": ("else if (!goesOn) memory.past", "if (!goesOn) memory.past"),
    "each step of a drag remembered": ("const goesOn = !undoing && ", "const goesOn = false && "),
    "what is undone goes on": ("const goesOn = !undoing && ", "const goesOn = "),
    "before is now": (
        "memory.before = change.other ? null : old",
        "memory.before = change.other ? null : memory.shown",
    ),
    "another patient compared": ("memory.before = change.other ? null : old", "memory.before = old"),
    "the new visit compared": ("k === added ? undefined : ", ""),
    "visits after a new one not moved on": ("k > added ? k - 1", "k > added ? k"),
    "visits after a gone one not moved back": ("k >= removed ? k + 1", "k > removed ? k + 1"),
    "the last that moved": ("now.findIndex((p, k) => before[k]", "now.findLastIndex((p, k) => before[k]"),
    "the largest difference": ("Math.abs(Math.log(p / (before[k] ?? p)))", "Math.abs(p - (before[k] ?? p))"),
}


def history(folder: Path, mutant: tuple[str, str] = ("", "")) -> dict[str, Any]:
    """What the playground remembers of some changes, with a mistake planted or none."""
    import node

    for module in figures.WIDGETS.glob("*.js"):
        text = module.read_text(encoding="utf-8")
        if module.stem == "playground" and mutant[0]:
            assert text.count(mutant[0]) == 1, mutant
            text = text.replace(*mutant)
        (folder / module.name).write_text(text, encoding="utf-8")
    (folder / "package.json").write_text('{"type": "module"}', encoding="utf-8")
    (folder / "given.json").write_text(json.dumps(Playground().given), encoding="utf-8")
    script = HISTORY.replace("MODULE", json.dumps((folder / "playground.js").as_uri()))
    script = script.replace("GIVEN", json.dumps(str(folder / "given.json")))
    command = [node.node(), "--input-type=module", "-e", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True, encoding="utf-8")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def history_problems(found: dict[str, Any]) -> list[str]:
    first, second, third = found["hazards"]
    injury = "acute kidney injury off at visit 2"
    expected = {
        "found": [
            [None, 0, None],
            [None, 0, None],  # another visit is chosen: no number has changed
            [injury, 1, first],
            ["visit 5 moved", 2, second],
            ["visit 5 moved", 2, second],  # it goes on
            ["undone: visit 5 moved", 1, third],
            ["another patient", 2, None],
        ],
        "added": {"words": "visit 2 added", "added": 2},
        "removed": {"words": "visit 2 deleted", "removed": 2},
        "afterAdding": [1, 2, None, 3],
        "afterRemoving": [1, 3],
        "traces": [{"stay": 1, "most": 2}, {"stay": 2, "most": None}, {"stay": 1, "most": 2}, {"stay": 0, "most": 0}],
    }
    return [f"{key}: {found[key]}" for key, value in expected.items() if found[key] != value]


def test_the_last_change_is_remembered_compared_and_undone(tmp_path: Path) -> None:
    assert history_problems(history(tmp_path)) == []


@pytest.mark.parametrize("mistake", HISTORY_MUTANTS)
def test_a_mistake_in_what_is_remembered_is_noticed(tmp_path: Path, mistake: str) -> None:
    assert history_problems(history(tmp_path, HISTORY_MUTANTS[mistake]))


LEARNED = "(root) => root.querySelector('.picture path.learned[data-term]').getAttribute('d')"
BEFORE = "(root) => [...root.querySelectorAll('.picture path.before')].at(-1).getAttribute('d')"


@pytest.mark.browser
def test_the_hazards_before_the_last_change_stay_dotted_until_it_is_undone(live: Live) -> None:
    assert live.ask(BEFORE) == ""
    begun, learned, hazard = live.state, live.ask(LEARNED), live.out["hazard"]
    live.host.get_by_role("checkbox", name="acute kidney injury", exact=True).click()
    live.settle()
    assert live.ask(BEFORE) == learned != live.ask(LEARNED)
    now = live.out["hazard"]
    most = max(range(6), key=lambda k: abs(torch.tensor(now[k] / hazard[k]).log().item()))
    was, is_now = (percent(torch.tensor(one[most])) for one in (hazard, now))
    said = live.host.locator(".effect").text_content()
    assert now[:2] == hazard[:2]
    assert "acute kidney injury off at visit 2" in said
    assert f"after visits 0 to 1: unchanged; after visit {most}: {was} → {is_now}" in said
    button(live, "Undo").click()
    live.settle()
    assert (live.state, live.out["hazard"]) == (begun, hazard)
    expect(button(live, "Undo")).to_have_attribute("aria-disabled", "true")


@pytest.mark.browser
def test_a_button_that_cannot_be_used_says_why(live: Live, address: str) -> None:
    url = f"{address}?playground=day:0,1;codes:1,1;visit:0"
    full = open_figure(live.page.context, url, "playground", live.errors)
    expect(button(full, "Add a visit")).to_have_attribute("aria-disabled", "true")
    assert "the next one is a day later" in figure_text(full)


@pytest.mark.browser
def test_two_causes_are_stacked_on_survival(live: Live) -> None:
    chosen(live, "two causes").check()
    live.settle()
    out = live.out
    for had, left in zip(out["incidence"], out["survival"], strict=True):
        assert sum(had) + left == pytest.approx(1, abs=1e-12)
    expect(live.host.locator(".picture path.area")).to_have_count(2)
    expect(live.host.get_by_text(f"cause 2 {percent(torch.tensor(out['incidence'][-1][1]))}").first).to_be_visible()


@pytest.mark.browser
def test_each_row_of_codes_is_named_and_none_is_empty(live: Live) -> None:
    used = sorted({j for bits in live.state["codes"] for j in range(1, len(SCHEMA.codes)) if bits >> (j - 1) & 1})
    assert live.host.locator(".picture text.code").all_text_contents() == [code_of(j) for j in used]
