"""What `make site` serves: files of the site's folder, to a browser on this machine, and nothing else.

MkDocs' own server answers every method alike, follows links out of its folder, and believes whatever name it is called
by: a page of somebody else, whose name leads to 127.0.0.1, could then read along.
"""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

NAMES = ("127.0.0.1", "localhost", "[::1]")
HEADERS = [("X-Content-Type-Options", "nosniff"), ("Referrer-Policy", "no-referrer"), ("Cache-Control", "no-store")]
Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def guard(application: Application, root: Path, mounted: str = "/") -> Application:
    """The application that MkDocs serves with, asked only for what may be served.

    Args:
        application: answers with files below `root`, and with `/livereload/...` when one of them has changed.
        root: the folder of the site.
        mounted: where in an address the folder begins.
    """

    def answer(request: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        def begin(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            return start(status, [*headers, *HEADERS], *rest)

        def refuse(status: str, *headers: tuple[str, str]) -> list[bytes]:
            begin(status, [("Content-Type", "text/plain"), *headers])
            return [status.encode()]

        if re.sub(r":\d+$", "", request.get("HTTP_HOST", "")).lower() not in NAMES:
            return refuse(f"421 Misdirected Request: expected {', '.join(NAMES)}")
        if request["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return refuse("405 Method Not Allowed", ("Allow", "GET, HEAD"))
        if not _is_inside(request["PATH_INFO"], root, mounted):
            return refuse("404 Not Found")
        found = application(request, begin)
        if request["REQUEST_METHOD"] == "GET":
            return found
        getattr(found, "close", bool)()
        return []

    return answer


def _is_inside(path: str, root: Path, mounted: str) -> bool:
    """Whether an address leads to a place below the folder, links followed; the file need not be there."""
    asked = path.encode("latin-1").decode("utf-8", "ignore")  # as MkDocs reads it
    if re.search(r"[\x00-\x1f\\]|(?:^|/)\.\.(?:/|$)", asked):
        return False
    folder = root.resolve()
    below = asked.removeprefix(mounted).strip("/")
    return all((root / below / index).resolve().is_relative_to(folder) for index in ("", "index.html"))
