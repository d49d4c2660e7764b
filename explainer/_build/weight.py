"""What a page weighs, made less once the site is written: nothing is loaded that no page uses, or before it is wanted.

A stylesheet keeps the rules that some page or script can meet, a font the letters that are set, and the fonts come
inside the stylesheets, so that no line is set twice. The search index waits until somebody searches.
"""

import base64
import hashlib
import io
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import tinycss2
from fontTools import subset
from fontTools.ttLib import TTFont
from fontTools.varLib import instancer
from tinycss2.ast import Node

LINK = re.compile(r'\s*<link rel="stylesheet" href="([^"]*?)(assets/[^"]*\.css)">')
FORMULA = 'class="katex"'
FORMULAS = "assets/katex/katex.css"
APART = "assets/figures.css"  # asked for by pages with a figure alone
FACE = re.compile(r"@font-face\s*{[^}]*}")
SOURCE = re.compile(r'url\("?([^")]+\.woff2)"?\)')
WORD = re.compile(r"[\w-]+")
ATTRIBUTE = re.compile(r' (?:class|id|name|for|type|rel|dir|role|data-(?!given|start|lights)[\w-]+)="([^"]*)"')
NAME = re.compile(r"""(?<=["'`.])[A-Za-z_][\w-]*(?=["'`])|[\w-]*-[\w-]+""")  # quoted whole, or with a hyphen
WRAPPED = '<div class="md-typeset__scrollwrap" tabindex="0"><div class="md-typeset__table">'
MAKERS = re.compile(r'<meta name="generator"[^>]*>\s*')
THEME = re.compile(r'<script defer src="([^"]*assets/javascripts/bundle\.[^"]*)"></script>\s*')
SCRIPT = re.compile(r'<script (?:defer )?src="([^"]*assets/[\w-]+\.js)"[^>]*></script>')
CODE = re.compile(r"<pre(?=[^>]*><span></span><code>)(.*?)</pre>", re.DOTALL)
DRAWING = re.compile(
    r'(?<=<figure class="vw-figure">)<svg[^>]*? width="([\d.]+)pt" height="([\d.]+)pt".*?</svg>', re.DOTALL
)
CLAIM = re.compile(r'<section class="vw-claim"(.*?)</section>', re.DOTALL)
# The letters of English prose, and the signs it is set with. Whatever else the font has comes in a file of its own.
LETTERS = {
    *range(0x20, 0x7F),
    0xA0,
    0xB6,
    0xB7,
    0xD7,
    0xF7,
    *range(0x2009, 0x200C),
    0x2013,
    0x2014,
    0x2018,
    0x2019,
    0x201C,
    0x201D,
    0x2022,
    0x2026,
    0x2032,
    0x2191,
    0x2193,
    0x2212,
}
WEIGHTS = {"normal": (400, 600), "italic": 400}
GROUPS = ("media", "supports", "layer")
SPARE = re.compile(r"--|-webkit-mask|-ms-|-moz-")  # variables, and what older browsers want said twice
# What the theme's script adds where a page asks for it: how its names begin, and how a word of such a page does.
ASKED = {
    "mermaid": "mermaid",
    "md-annotation": "annotate",
    "md-source_": "md-source_",
    "md-status": "md-status",
    "md-tag": "md-tag",
    "md-version": "provider",
    "tabbed": "tabbed",
    "md-consent": "md-consent",
    "keys": "keys",
    "md-tabs": "md-tabs",
}
SETTINGS = re.compile(r'"(?:features|version)": *(\[[^\]]*\]|{[^}]*})')
Report = Callable[[str], None]


def lighten(site: Path, letters: tuple[set[str], set[str]], report: Report) -> None:
    """Rewrite a built site: fewer stylesheets, which hold what is used, and a script that searches when it is asked to.

    Args:
        site: the folder.
        letters: those of all formulas, the slanted ones and the upright ones.
        report: told when the theme is not as expected.
    """
    pages = {path: path.read_text(encoding="utf-8") for path in sorted(site.rglob("*.html"))}
    scripts = [path.read_text(encoding="utf-8") for path in sorted(site.rglob("*.js"))]
    used = words_of(pages.values(), scripts)
    asked = dict.fromkeys(match[2] for page in pages.values() for match in LINK.finditer(page))
    plain = [sheet for sheet in asked if sheet not in (FORMULAS, APART)]
    text = "\n".join((site / sheet).read_text(encoding="utf-8") for sheet in plain)
    rules, faces = _apart(_prose_inside(needed(text, used), site / "assets"))
    style = [_written(site, "site", rules), _written(site, "letters", faces)]
    formulas = needed((site / FORMULAS).read_text(encoding="utf-8"), used)
    formulas = _written(site, "formulas", _formulas_inside(formulas, site / "assets/katex", *letters))
    for path, page in pages.items():
        path.write_text(starting_later(sized(_relinked(page, formulas, style))), encoding="utf-8")
    for left in (*map(site.joinpath, plain), site / FORMULAS, *site.glob("assets/katex/fonts/*"), *site.rglob("*.map")):
        left.unlink()
    shutil.rmtree(site / "assets/javascripts/lunr", ignore_errors=True)  # the search's other languages
    for module in (*site.glob("assets/*.js"), *site.glob("assets/widgets/*.js")):
        module.write_text(unannotated(module.read_text(encoding="utf-8")), encoding="utf-8")
    for bundle in site.glob("assets/javascripts/bundle.*.js"):
        bundle.write_text(searching_later(bundle.read_text(encoding="utf-8"), report), encoding="utf-8")


def _written(site: Path, name: str, css: str) -> str:
    """Writes a stylesheet and gives its address, which changes with what it holds."""
    address = f"assets/{name}.{hashlib.sha256(css.encode()).hexdigest()[:8]}.css"
    (site / address).write_text(css, encoding="utf-8")
    return address


def _apart(css: str) -> tuple[str, str]:
    """The rules, and the fonts: two files of half the size come sooner than one."""
    return FACE.sub("", css), "".join(FACE.findall(css))


def _relinked(page: str, formulas: str, style: list[str]) -> str:
    """The page's HTML with the new stylesheets, not indented, and tables wrapped before the theme's script does it."""
    page = MAKERS.sub("", page)
    own = [formulas, *style] if FORMULA in page else style
    first = LINK.search(page)
    if first is None:
        return page
    own = [*own, APART] if f"{first[1]}{APART}" in page else own
    links = "".join(f'\n<link rel="stylesheet" href="{first[1]}{sheet}">' for sheet in own)
    page = page[: first.start()] + links + LINK.sub("", page[first.start() :])
    parts = re.split(r"(<pre.*?</pre>)", page, flags=re.DOTALL)
    parts[::2] = [re.sub(r"\n\s+", "\n", part) for part in parts[::2]]
    return re.sub(r"<table>.*?</table>", rf"{WRAPPED}\g<0></div></div>", "".join(parts), flags=re.DOTALL)


# ----------------------------------------------------------------------------------------------------- first contact


def starting_later(page: str) -> str:
    """The page with scripts that are asked for once it is painted, by the theme's `base.html`; its own by `site.js`."""
    page = THEME.sub("", page.replace("</head>", _late_theme(page) + "</head>", 1))
    page = page.replace('<link rel="modulepreload" fetchpriority="low"', '<link rel="late"')
    return SCRIPT.sub(r'<script type="late" src="\1"></script>', page)


def _late_theme(page: str) -> str:
    script = THEME.search(page)
    return f'<link rel="late" as="script" href="{script[1]}">\n' if script else ""


def sized(page: str) -> str:
    """Says how high code, drawings and claims are, so that the browser lays them out when they come near the screen."""
    page = CODE.sub(lambda code: f'<pre style="--lines:{_lines(code[1])}"{code[1]}</pre>', page)
    page = DRAWING.sub(
        lambda drawing: (
            f'<div class="vw-drawn" style="aspect-ratio:{drawing[1]}/{drawing[2]};max-width:{drawing[1]}pt">'
            f"{drawing[0]}</div>"
        ),
        page,
    )
    return CLAIM.sub(
        lambda claim: f'<section class="vw-claim" style="--letters:{len(_text(claim[0]))}"{claim[1]}</section>', page
    )


def _lines(code: str) -> int:
    return _text(code[code.index("<code>") :]).rstrip("\n").count("\n") + 1


def _text(part: str) -> str:
    return re.sub(r"<[^>]*>", "", part)


# ------------------------------------------------------------------------------------------------------------ search

# A worker that begins with the first message sent to it. Its address is relative to the page that was loaded: the theme
# may have put another one in its place by then.
LATER = (
    "(e=>{let w,u=new URL(e,location),o=new EventTarget;o.postMessage=m=>{w||(w=new Worker(u),"
    'w.onmessage=r=>o.dispatchEvent(new MessageEvent("message",{data:r.data})));w.postMessage(m)};return o})'
)
TABLES = '"table:not([class])"'


def searching_later(bundle: str, report: Report) -> str:
    """The theme's script, which fetches the search index on every page, fetching it once the search box is opened.

    A page that is opened from a hit marks the words that were sought (`?h=`), and needs the index, too. Tables that are
    wrapped already are left alone.
    """
    asked = re.search(
        r'(\w+\(\$\()location\.protocol!=="file:"(\),\w+\("search"\)\)\.pipe\(\w+\(o=>o\),\w+\(\(\)=>)t\)', bundle
    )
    index = re.search(r'\w+\(new URL\("search/search_index\.json",\w+\.base\)\)', bundle)
    shared = re.search(r"JSON\.parse\(r\)\),(\w+\(1\))\)", bundle)
    worker = "t=new Worker(e)"
    if not (asked and index and shared and bundle.count(worker) == bundle.count(TABLES) == 1):
        report("the theme's script is not as explainer/_build/weight.py expects it: it searches on every page")
        return bundle
    sought = f"{asked[1]}/[?&]h=/.test(location.search){asked[2]}{index[0]}),{shared[1]})"
    bundle = re.sub(r"\n//# sourceMappingURL=.*", "", bundle)
    bundle = bundle.replace(TABLES, '"table:not([class],.md-typeset__table>*)"')
    return bundle.replace(index[0], sought).replace(worker, f"t={LATER}(e)")


# ------------------------------------------------------------------------------------------------------------- rules


def words_of(pages: Iterable[str], scripts: Iterable[str]) -> set[str]:
    """Every word that a selector may ask for: the attributes' of a page, and what may be a name in a script."""
    pages = list(pages)
    own = _words(value for page in pages for value in ATTRIBUTE.findall(page))
    said = own | _words(settings for page in pages for settings in SETTINGS.findall(page))
    idle = tuple(name for name, word in ASKED.items() if not any(one.startswith(word) for one in said))
    names = _words(name for script in scripts for name in NAME.findall(script))
    return own | {name for name in names - {"rtl"} if not name.startswith(idle)}


def _words(texts: Iterable[str]) -> set[str]:
    return {word for text in texts for word in WORD.findall(text)}


def needed(css: str, used: set[str]) -> str:
    """The stylesheet without rules that ask for words unknown to the site, and without variables nobody reads."""
    css = "".join(_matching(_rules(css), used))
    read = set(re.findall(r"var\(\s*(--[\w-]+)", css)) | {word for word in used if word.startswith("--")}
    return "".join(_read(_rules(css), read))


def _matching(rules: list[Node], used: set[str]) -> Iterator[str]:
    for rule in rules:
        if rule.type == "qualified-rule":
            selectors = [text for text in _parts(rule.prelude) if _can_match(text, used)]
            if selectors:
                yield f"{','.join(selectors)}{{{_short(rule.content)}}}"
        elif rule.lower_at_keyword in GROUPS and rule.content:
            yield _group(rule, "".join(_matching(_rules(rule.content), used)))
        elif rule.lower_at_keyword != "charset":
            yield rule.serialize()


def _read(rules: list[Node], read: set[str]) -> Iterator[str]:
    for rule in rules:
        if rule.type == "qualified-rule":
            kept = [one for one in _declarations(rule.content) if one.split(":")[0] in read or not SPARE.match(one)]
            if kept:
                yield f"{tinycss2.serialize(rule.prelude)}{{{';'.join(kept)}}}"
        elif rule.lower_at_keyword in GROUPS and rule.content:
            yield _group(rule, "".join(_read(_rules(rule.content), read)))
        else:
            yield rule.serialize()


def _group(rule: Node, inner: str) -> str:
    return f"@{rule.lower_at_keyword} {tinycss2.serialize(rule.prelude).strip()}{{{inner}}}" if inner else ""


def _rules(css: str | list[Node]) -> list[Node]:
    return tinycss2.parse_rule_list(css, skip_comments=True, skip_whitespace=True)


def _declarations(content: list[Node]) -> list[str]:
    """A rule's declarations; where rules are nested in it, all of it is one."""
    if any(part.type == "{} block" for part in content):
        return [tinycss2.serialize(content)]
    return [text for text in _parts(content, ";") if text]


def _parts(content: list[Node], separator: str = ",") -> list[str]:
    parts: list[list[Node]] = [[]]
    for part in content:
        if part == separator:
            parts.append([])
        else:
            parts[-1].append(part)
    return [_short(part) for part in parts]


def _short(content: list[Node]) -> str:
    """The same as text, without comments and with one space where there were several."""
    text = "".join(" " if part.type == "whitespace" else part.serialize() for part in content if part.type != "comment")
    return text.strip()


def _can_match(selector: str, used: set[str]) -> bool:
    """Whether every class, name and value that the selector asks for is a word of the site."""
    asked = re.sub(r":(?:not|is|where|has)\((?:[^()]|\([^()]*\))*\)", "", selector)  # `:not(.a)` asks for no `a`
    names = re.findall(r"[.#]((?:[\w-]|\\.)+)", re.sub(r"\[[^\]]*\]", "", asked))
    values = re.findall(r"\[[\w-]+[*^$~|]?=[\"']?([\w-]+)", asked)
    return all(name.replace("\\", "") in used for name in (*names, *values))


# ----------------------------------------------------------------------------------------------------------- scripts


def unannotated(script: str) -> str:
    """A module without what its authors say to each other: types, lines that are a comment, and indents."""
    script = re.sub(r"/\*\* .*?\*/[ \t]*|/\*\*\n.*?\*/[ \t]*", "", script, flags=re.DOTALL)
    return re.sub(r"\n\s+", "\n", re.sub(r"^[ \t]*//.*\n", "", script, flags=re.MULTILINE))


# ------------------------------------------------------------------------------------------------------------- fonts


def _prose_inside(css: str, assets: Path) -> str:
    """Each face of the prose twice: English letters inside the stylesheet, and a file with the other ones."""

    def inside(match: re.Match[str]) -> str:
        source = SOURCE.search(match[0])
        if source is None or "unicode-range" in match[0]:
            return match[0]
        font = TTFont(assets / source[1], recalcTimestamp=False)
        style = "italic" if "italic" in source[1] else "normal"
        font = instancer.instantiateVariableFont(font, {"wght": WEIGHTS[style]})
        whole = set(font.getBestCmap())
        weight = WEIGHTS[style]
        face = re.sub(r"font-weight:[^;]+", f"font-weight:{weight if style == 'italic' else '400 600'}", match[0])
        near, far = (_subset(font, letters) for letters in (LETTERS & whole, whole - LETTERS))
        (assets / source[1]).write_bytes(far)
        return "".join(
            SOURCE.sub(lambda _, url=url: f"url({url})", face).removesuffix("}")
            + f";unicode-range:{_ranges(letters)}}}"
            for url, letters in ((_data(near), LETTERS & whole), (source[1], whole - LETTERS))
        )

    return FACE.sub(inside, css)


def _formulas_inside(css: str, katex: Path, italic: set[str], upright: set[str]) -> str:
    """KaTeX's fonts with the letters of our formulas, inside the stylesheet; a font for which no rule asks goes."""
    rules = FACE.sub("", css)
    asked = {_face(match[0]) for match in re.finditer(r"{[^{}]*KaTeX_[^{}]*}", rules)}

    def inside(match: re.Match[str]) -> str:
        face, source = _face(match[0]), SOURCE.search(match[0])
        if face not in asked or source is None:
            return ""
        letters = italic if face[0] == "KaTeX_Math" else upright
        font = _subset(TTFont(katex / source[1], recalcTimestamp=False), set(map(ord, letters)))
        return SOURCE.sub(lambda _: f"url({_data(font)})", match[0])

    return FACE.sub(inside, css)


def _face(rule: str) -> tuple[str, bool, bool]:
    """Which of KaTeX's families a rule is about, whether slanted, and whether bold."""
    family = re.search(r"KaTeX_\w+", rule)
    return family[0] if family else "", "italic" in rule, bool(re.search(r"font-weight:\s*(?:700|bold)", rule))


def _subset(font: TTFont, letters: set[int]) -> bytes:
    """The font with these letters alone, without pairs that move together: they are a sixth of it."""
    copy = io.BytesIO()
    font.flavor = None
    font.save(copy)
    copy.seek(0)
    smaller = TTFont(copy, recalcTimestamp=False)
    options = subset.Options(layout_features=[], hinting=False, name_IDs=[])
    subsetter = subset.Subsetter(options)
    subsetter.populate(unicodes=sorted(letters & set(font.getBestCmap())))
    subsetter.subset(smaller)
    smaller.flavor = "woff2"
    out = io.BytesIO()
    smaller.save(out)
    return out.getvalue()


def _data(font: bytes) -> str:
    return "data:font/woff2;base64," + base64.b64encode(font).decode()


def _ranges(letters: set[int]) -> str:
    """Numbers as a `unicode-range`: `U+20-7E,U+A0`."""
    runs: list[list[int]] = []
    for letter in sorted(letters):
        if runs and letter == runs[-1][1] + 1:
            runs[-1][1] = letter
        else:
            runs.append([letter, letter])
    return ",".join(f"U+{first:X}" if first == last else f"U+{first:X}-{last:X}" for first, last in runs)
