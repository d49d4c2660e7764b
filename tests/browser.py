"""A built site in a real browser: where the browser is, how the folder is served, which pages it has."""

import functools
import gzip
import http.server
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


def find_chromium() -> str | None:
    """The Chromium on the PATH, or the one that Playwright downloaded, or None."""
    for name in ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"):
        found = shutil.which(name)
        if found:
            return found
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
    return own if Path(own).exists() else None


def page_urls(site: Path) -> list[str]:
    """Every page of a built site as a path below its root, the page for wrong addresses left out."""
    found = (path.relative_to(site) for path in site.rglob("*.html"))
    return sorted("/" + path.as_posix().removesuffix("index.html") for path in found if path.name != "404.html")


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


class _Host(_Quiet):
    """Serves as the hosts of static pages do: text gzipped, connections kept, files fresh for ten minutes."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        path = path / "index.html" if path.is_dir() else path
        found = path.exists()
        body = packed(path if found else Path(self.directory, "404.html"))
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", self.guess_type(str(path)))
        if path.suffix in TEXT:
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Cache-Control", "max-age=600")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


TEXT = (".html", ".css", ".js", ".json", ".svg", ".xml", ".txt")


def packed(path: Path) -> bytes:
    """A file as it goes over the wire: text is gzipped, fonts and pictures are small already."""
    return _packed(path, path.stat().st_mtime_ns)


@functools.cache
def _packed(path: Path, changed: int) -> bytes:
    content = path.read_bytes()
    return gzip.compress(content, 6, mtime=0) if path.suffix in TEXT else content


@contextmanager
def served(site: Path, *, as_hosts_do: bool = False) -> Iterator[str]:
    """The folder on a free port of this machine; gives the address without a slash at its end."""
    handler = functools.partial(_Host if as_hosts_do else _Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


BRING_TO_LIFE = """async () => {
  const end = Date.now() + 20000;
  for (const block of document.querySelectorAll("[data-live]")) {
    block.scrollIntoView({ block: "center", behavior: "instant" });
    while (!("mounted" in block.dataset)) {
      if (Date.now() > end) throw new Error(`${block.dataset.live} was not brought to life`);
      await new Promise(requestAnimationFrame);
    }
  }
  scrollTo({ top: 0, behavior: "instant" });
}"""


def bring_to_life(page: Any) -> None:
    """Scroll past everything on a page that can be moved, as a reader does, and wait until it can be."""
    page.evaluate(BRING_TO_LIFE)


def until(page: Any, condition: str, arg: Any = None, seconds: float = 30.0) -> None:
    """Wait until an expression is true on a page.

    Playwright's own `wait_for_function` evaluates text inside the page, which the pages' policy forbids.
    """
    end = time.monotonic() + seconds
    while not page.evaluate(condition, arg):
        assert time.monotonic() < end, f"{page.url}: this did not become true: {condition}"
        page.wait_for_timeout(20)


def restyle(page: Any, css: str) -> None:
    """Add rules to a page as a script may; Playwright's `add_style_tag` is forbidden, too."""
    page.evaluate(
        """(css) => {
          const sheet = new CSSStyleSheet();
          sheet.replaceSync(css);
          document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
        }""",
        css,
    )


def start_theme(page: Any) -> None:
    """Show the page a hand, for which the theme's script waits, and wait until it runs."""
    until(page, "!document.querySelector('link[rel=late][as=script]')")
    page.mouse.move(1, 1)
    page.mouse.move(2, 2)
    until(page, "Boolean(window.document$)")
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
