"""A built site in a real browser: where the browser is, how the folder is served, which pages it has."""

import functools
import http.server
import shutil
import threading
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


@contextmanager
def served(site: Path) -> Iterator[str]:
    """The folder on a free port of this machine; gives the address without a slash at its end."""
    handler = functools.partial(_Quiet, directory=str(site))
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
