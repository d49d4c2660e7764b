"""What a page may do, said to the browser: scripts, styles and data come from the site itself, and nothing else runs.

A page says so in its head, for hosts that send no headers; `_headers` says the same, and more, to hosts that read it.
The scripts that stand inside a page are the theme's, each named by its hash; any other one stops the build.
"""

import base64
import functools
import hashlib
import re
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path

THEME = Path(__file__).with_name("theme")
ATTRIBUTES = r"""((?:[^>"']|"[^"]*"|'[^']*')*)"""
# A page's parts in order, so that what stands in an attribute or a comment is taken for nothing else.
PART = re.compile(
    rf"<!--.*?-->|<script\b{ATTRIBUTES}>(.*?)</script\s*>|<([a-z][^\s/>]*){ATTRIBUTES}>", re.DOTALL | re.IGNORECASE
)
GIVEN = re.compile(r"""([^\s"'>/=]+)(?:\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+)))?""")
NOT_RUN = ("application/json", "application/ld+json", "late")
LEADS = ("href", "xlink:href", "src", "action", "formaction", "data", "srcset", "poster", "background")
LINKED = ("canonical", "prev", "next", "alternate")  # named by a page, and not loaded
# Elements by which a page would bring in another one, or a style or an address that holds for all of it.
FOREIGN = ("base", "embed", "frame", "iframe", "object", "portal", "style")
CHARSET = '<meta charset="utf-8">'

# `style-src-elem` forbids each rule that is not in a file. The attribute `style` stays allowed: formulas, still
# pictures and room that is kept free are set by it, at ten thousand places with five hundred values. No script sets it,
# so classes could take its place, for some 6 kB a page; but what it can do ends with its element, and it loads nothing.
# Browsers that know of no `style-src-elem` (before 2022) read `style-src` alone.
POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self' 'unsafe-inline'",
    "style-src-elem": "'self'",
    "img-src": "'self' data:",  # the theme's icons are inside its stylesheet
    "font-src": "'self' data:",  # and so are our letters
    "connect-src": "'self'",  # the search's index, the sitemap, what a figure needs later
    "worker-src": "'self'",  # the search
    "base-uri": "'none'",
    "form-action": "'self'",
}
# What a page cannot say of itself.
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": ", ".join(
        f"{power}=()"
        for power in (
            *("accelerometer", "browsing-topics", "camera", "display-capture", "geolocation"),
            *("gyroscope", "hid", "magnetometer", "microphone", "midi", "payment", "serial", "usb"),
        )
    ),
}
Report = Callable[[str], None]


def protect(site: Path) -> None:
    """Write the policy into every page of a built site, where it stands before all that it is about, and `_headers`."""
    pages = {path: path.read_text(encoding="utf-8") for path in sorted(site.rglob("*.html"))}
    policy = text(sorted({hash_of(script) for page in pages.values() for script in scripts(page)}))
    said = f'<meta http-equiv="Content-Security-Policy" content="{policy}"><meta name="referrer" content="no-referrer">'
    for path, page in pages.items():
        path.write_text(page.replace(CHARSET, CHARSET + said, 1), encoding="utf-8")
    headers = {"Content-Security-Policy": f"{policy}; frame-ancestors 'self'", **HEADERS}
    lines = ["/*", *(f"  {name}: {value}" for name, value in headers.items())]
    (site / "_headers").write_text("\n".join(lines) + "\n", encoding="utf-8")


def text(hashes: list[str]) -> str:
    """The policy with the scripts of these hashes."""
    allowed = POLICY | {"script-src": " ".join([POLICY["script-src"], *hashes])}
    return "; ".join(f"{directive} {sources}" for directive, sources in allowed.items())


def hash_of(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def scripts(page: str) -> list[str]:
    """The scripts that stand inside a page's HTML and run."""
    return [script for _, attributes, script in _parts(page) if script is not None and _runs(attributes)]


def check(page: str, report: Report) -> None:
    """Tell what of a page's HTML its policy would stop, or what would make a hole in it."""
    own = {_close(script) for file in THEME.rglob("*.html") for script in scripts(file.read_text(encoding="utf-8"))}
    if CHARSET not in page:
        report(f"the page has no `{CHARSET}`, after which its policy is put")
    for tag, attributes, script in _parts(page):
        for problem in _problems(tag, attributes):
            report(problem)
        if script is not None and _runs(attributes) and _close(script) not in own:
            report(f"a script stands in the page that is not the theme's: `{script.strip()[:60]}`; put it in a file")


@functools.lru_cache(maxsize=100_000)  # pages have most of their elements in common
def _problems(tag: str, attributes: str) -> tuple[str, ...]:
    """What is wrong with an element as it begins."""
    found, given = [], _given(attributes)
    if tag in FOREIGN:
        found.append(f"the policy of a page does not allow `<{tag}>`")
    if tag == "meta" and given.get("http-equiv", "").lower() in ("refresh", "content-security-policy", "set-cookie"):
        found.append(f"a page must not say `{given['http-equiv']}` of itself")
    for name, value in given.items():
        address = re.sub(r"[\x00-\x20]", "", value).lower()  # browsers do without them, too
        if name.startswith("on"):
            found.append(f"the policy of a page does not allow `{name}` at `<{tag}>`; listen for it in a script")
        if name == "srcdoc":
            found.append("the policy of a page does not allow `srcdoc`")
        if name in LEADS and address.startswith(("javascript:", "vbscript:", "data:text")):
            found.append(f"`<{tag}>` leads to a script: `{value[:60]}`")
        if _loads(tag, name, given) and re.match(r"(?:[a-z][a-z0-9+.-]*:)?//|blob:|https?:", address):
            found.append(f"`<{tag}>` loads from another origin: `{value[:60]}`")
    return tuple(found)


def _loads(tag: str, name: str, given: dict[str, str]) -> bool:
    """Whether an attribute names what is loaded with the page, and not where a reader may go from it."""
    if name in ("href", "xlink:href"):
        return tag in ("use", "image") or (tag == "link" and given.get("rel") not in LINKED)
    return name in LEADS


def _parts(page: str) -> Iterator[tuple[str, str, str | None]]:
    """Each element of a page as it begins: its name, its attributes, and what a script holds."""
    for match in PART.finditer(page):
        of_script, script, name, attributes = match.groups()
        if script is not None:
            yield "script", of_script, script
        elif name:
            yield name.lower(), attributes, None


def _runs(attributes: str) -> bool:
    given = _given(attributes)
    return "src" not in given and given.get("type") not in NOT_RUN


def _given(attributes: str) -> dict[str, str]:
    return {name.lower(): unescape("".join(values)) for name, *values in GIVEN.findall(attributes)}


def _close(script: str) -> str:
    """A script without the theme's notes, and without its indents, which `weight.py` takes away."""
    return " ".join(re.sub(r"{#.*?#}", "", script, flags=re.DOTALL).split())
