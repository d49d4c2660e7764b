"""The report of a run: one page that stands alone, from the numbers and pictures that lie in the run's folder."""

import json
import re
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from visitwise.run.choices import CHOICES
from visitwise.run.describe import GROUPS
from visitwise.run.figures import FEWEST_ROWS, FIGURES, slug
from visitwise.run.scores import ORACLE, TIE, difference, verdict
from visitwise.run.whole import write_text

METRICS, REPORT = "metrics.json", "report.html"
HELD_OUT, TUNING = "held out", "tuning"
PARTS = {
    "train": "teach the model",
    "tuning": "decide when training stops",
    "held_out": "judge it; nothing is learned or chosen by them",
}


def read_metrics(folder: Path) -> dict[str, Any]:
    """What stands in a run's `metrics.json`.

    Raises:
        FileNotFoundError: There is none.
        ValueError: It cannot be read; names the file.

    Examples:
        >>> read_metrics(Path("nowhere"))
        Traceback (most recent call last):
        FileNotFoundError: nowhere holds no metrics.json; expected a folder written by `visitwise train`
    """
    path = folder / METRICS
    if not path.is_file():
        raise FileNotFoundError(f"{folder} holds no {METRICS}; expected a folder written by `visitwise train`")
    try:
        metrics: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    return metrics


def write_report(folder: Path) -> None:
    """Write `report.html` anew from `metrics.json`, `choices.toml` and the pictures.

    Raises:
        FileNotFoundError: One of them is not there.

    Examples:
        >>> write_report(Path("nowhere"))
        Traceback (most recent call last):
        FileNotFoundError: nowhere holds no metrics.json; expected a folder written by `visitwise train`
    """
    metrics = read_metrics(folder)
    scores = {name: metrics["scores"][name] for name in _in_order(metrics["scores"])}
    sections = {
        "verdict": ("What came out", _verdict(metrics, scores)),
        "patients": ("Who was in it", _patients(metrics)),
        "table-one": ("Table one", _table_one(metrics["table_one"])),
        **{f"scores-{slug(name)}": _scores(folder, name, record) for name, record in scores.items()},
        "training": ("Training", _figure(folder, "training", _TRAINING)),
        "leaks": ("Does it look into the future?", _leaks(metrics["leaks"])),
        "choices": ("Every choice", _choices((folder / CHOICES).read_text(encoding="utf-8"))),
        "limits": ("What this is not", _LIMITS),
    }
    title = f"Run {folder.resolve().name}"
    links = "".join(f'<li><a href="#{name}">{escape(head)}</a></li>' for name, (head, _) in sections.items())
    body = "".join(
        f'<section aria-labelledby="{name}"><h2 id="{name}">{escape(head)}</h2>{content}</section>\n'
        for name, (head, content) in sections.items()
    )
    write_text(
        folder / REPORT,
        _PAGE.format(
            title=escape(title), style=_style(), contents=f"<ol>{links}</ol>", body=body, kind=metrics["model"]
        ),
    )


_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title} – Visitwise</title>
<style>
{style}</style>
</head>
<body>
<header><p class="kicker">Visitwise, report of a run</p><h1>{title}</h1>
<p>A survival {kind} on visit sequences, beside its baselines. No single patient is shown on this page.</p>
<nav aria-label="Contents">{contents}</nav></header>
<main>
{body}</main>
<footer><p>Written by <code>visitwise train</code> and <code>visitwise evaluate</code>; all numbers stand in
<code>metrics.json</code> beside this page.</p></footer>
</body>
</html>
"""

_TRAINING = (
    "Negative log-likelihood per row, epoch by epoch. The weights kept are those of the epoch that was best on the "
    "tuning patients. The dotted line is the life table: a model above it has learned nothing of the patient."
)

_LIMITS = """<ul>
<li>A hazard is a probability among patients like these, with the same way of being seen and recorded. Elsewhere it may
be wrong; score it there first.</li>
<li>It says what tends to follow, not what a treatment would change.</li>
<li>It has not been tested for use on patients, and must not decide about anybody's care.</li>
</ul>"""


def _in_order(scores: Mapping[str, Any]) -> list[str]:
    """Held-out patients first: theirs are the scores to quote."""
    return sorted(scores, key=lambda name: (name != HELD_OUT, name == TUNING))


def _style() -> str:
    """The report's own rules, and the colours of meaning, of which the package has one table."""
    tokens = files("visitwise").joinpath("widgets", "tokens.css").read_text(encoding="utf-8")
    light, dark = (re.findall(r"(--vw-[\w-]+: #\w+);", part) for part in tokens.split("@media screen"))
    rules = files("visitwise.run").joinpath("report.css").read_text(encoding="utf-8")
    night = "@media screen and (prefers-color-scheme: dark)"
    return f":root {{ {'; '.join(light)} }}\n{night} {{ :root {{ {'; '.join(dark)} }} }}\n{rules}"


# ---------------------------------------------------------------------------------------------------------- sections


def _verdict(metrics: Mapping[str, Any], scores: Mapping[str, Any]) -> str:
    name = next(iter(scores))
    record = scores[name]
    caution = ""
    if name == TUNING:
        caution = _paragraph(
            "These are the tuning patients, who also decided when training stopped; that flatters the model a little. "
            "Run visitwise evaluate for the patients who are held out."
        )
    found = len(metrics["leaks"]["findings"])
    leak = f"The leak check has {_count(found, 'finding')}." if found else "The leak check found nothing."
    several = "".join(_paragraph(one) for one in metrics["causes"])
    where = (
        f"{record['patients']:,} {_told(name)} patients, {record['rows']:,} rows at risk, {record['events']:,} events."
    )
    return f'<p class="verdict">{_minus(escape(verdict(record)))}</p>{_paragraph(f"{where} {leak}")}{caution}{several}'


def _patients(metrics: Mapping[str, Any]) -> str:
    return _flow(metrics["flow"], metrics["parts"]) + _warnings(metrics["flow"])


def _flow(flow: Mapping[str, Any] | None, parts: Mapping[str, Any]) -> str:
    """The flow chart as lists, drawn by the style sheet: it reads aloud in the right order as it is."""
    steps = []
    if flow is not None:
        steps.append(f"<li><div class='box'><strong>Read</strong> {_listed(flow['read'])}</div></li>")
        for name, what in (("excluded", "patient"), ("dropped", "record")):
            counts = {reason: count for reason, count in flow[name].items() if count}
            total = _count(sum(counts.values()), what) if counts else f"no {what}s"
            total += " of the patients kept" if name == "dropped" else ""
            reasons = "".join(f"<li>{count:,} {escape(reason)}</li>" for reason, count in counts.items())
            inside = f"<ul>{reasons}</ul>" if reasons else ""
            steps.append(
                f"<li class='aside'><div class='box'><strong>{name.capitalize()}</strong> {total}{inside}</div></li>"
            )
        steps.append(f"<li><div class='box'><strong>Kept</strong> {_listed(flow['kept'])}</div></li>")
    told = []
    for part, does in PARTS.items():
        size = parts[part]
        sizes = (
            f"{_count(size['patients'], 'patient')}, {_count(size['rows'], 'row')}, {_count(size['events'], 'event')}"
        )
        told.append(
            f"<li><div class='box'><strong>{part.replace('_', ' ').capitalize()}</strong> {sizes}<br>"
            f"<span class='muted'>{does}</span></div></li>"
        )
    steps.append(f"<li class='split'><ul>{''.join(told)}</ul></li>")
    return f'<ol class="flow">{"".join(steps)}</ol>'


def _warnings(flow: Mapping[str, Any] | None) -> str:
    warnings = [] if flow is None else flow["warnings"]
    return "".join(
        f'<p class="warning"><strong>Warning.</strong> {escape(one[:1].upper() + one[1:])}.</p>' for one in warnings
    )


def _table_one(lines: Sequence[Mapping[str, str]]) -> str:
    rows, before = [], ""
    for line in lines:
        if line["part"] != before:
            before = line["part"]
            rows.append(f'<tr class="part"><th scope="colgroup" colspan="{1 + len(GROUPS)}">{escape(before)}</th></tr>')
        cells = "".join(f"<td>{_minus(escape(line[group]))}</td>" for group in GROUPS)
        rows.append(f'<tr><th scope="row">{escape(line["name"])}</th>{cells}</tr>')
    caption = (
        "All patients, and by outcome: mean (standard deviation), median (5 to 95 %), or count (share). What was ever "
        "recorded is counted up to the last row at risk, and a longer record holds more: no line here is a comparison."
    )
    return _table("Table one", caption, ["", *GROUPS], "".join(rows))


def _scores(folder: Path, name: str, record: Mapping[str, Any]) -> tuple[str, str]:
    yours = record["yours"]
    rows = []
    for model, one in record["models"].items():
        more = "" if model == yours else difference(one)
        cells = [
            f"{one['nll']:.5f}",
            "–" if one["auc"] is None else f"{one['auc']:.3f}",
            "–" if one["expected_over_seen"] is None else f"{one['expected_over_seen']:.3f}",
            f"{one['calibration_error']:.4f}",
            more,
        ]
        mark = ' class="yours"' if model == yours else ""
        told = "".join(f"<td>{_minus(cell)}</td>" for cell in cells)
        rows.append(f'<tr{mark}><th scope="row">{escape(model)}</th>{told}</tr>')
    caption = (
        f"NLL: lower is better. AUC: 0.5 is chance. Expected over seen: above 1 the hazards are too high. Calibration "
        f"error: mean distance of predicted and observed hazard. The last column is how much more NLL a model has than "
        f"the {yours} on the same patients, ± its standard error; within {TIE} of them it is a tie."
    )
    head = ["", "NLL per row", "AUC", "expected / seen", "calibration error", f"more NLL than the {yours}"]
    heading = f"Scores on {_told(name)} patients"
    parts = [_paragraph(verdict(record)), _table(heading, caption, head, "".join(rows))]
    parts += [_paragraph(note) for note in record["notes"]]
    if "share_explained" in record:
        share = 100 * record["share_explained"]
        parts.append(_paragraph(f"{share:.1f} % of what can be known beyond the life table was learned."))
    pictures = {
        "differences": "More NLL per row than the model: right of the line the model is better. Bars are 95 % "
        "intervals; one that crosses the line is a tie.",
        "calibration": "Rows grouped by predicted hazard, and the share that had the event with its 95 % interval.",
        "hazards": "Mean predicted hazard by visit (line) and the share observed with its 95 % interval (dots), where "
        f"at least {FEWEST_ROWS} patients are at risk.",
    }
    drawn = "".join(_figure(folder, f"{slug(name)}-{kind}", words) for kind, words in pictures.items())
    sizes = f"{record['patients']:,} patients, {record['rows']:,} rows, {_count(record['events'], 'event')}"
    oracle = ""
    if ORACLE in record["models"]:
        oracle = _paragraph("The oracle knows the true hazard of simulated patients. No model beats it but by luck.")
    return heading, f'{_paragraph(f"{sizes}.")}{"".join(parts)}{oracle}<div class="figures">{drawn}</div>'


def _leaks(leaks: Mapping[str, Any]) -> str:
    findings = "".join(f'<p class="warning"><strong>Finding.</strong> {escape(one)}.</p>' for one in leaks["findings"])
    nothing = (
        ""
        if findings
        else _paragraph("Nothing was found. That is no proof: a leak spread over weak columns leaves no trace.")
    )
    looked = "".join(f"<li>looked at {escape(one)}</li>" for one in leaks["looked_at"])
    looked += "".join(f"<li>note: {escape(one)}</li>" for one in leaks["notes"])
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{auc:.3f}</td></tr>' for name, auc in leaks["strongest"]
    )
    table = (
        _table(
            "Single columns", "The single columns furthest from chance: the AUC of each alone.", ["column", "AUC"], rows
        )
        if rows
        else ""
    )
    return f"{findings}{nothing}<p>Of {leaks['patients']:,} training patients:</p><ul>{looked}</ul>{table}"


def _choices(text: str) -> str:
    return (
        "<p>Give this file to <code>visitwise train --config</code> and the run is done again.</p>"
        f'<pre tabindex="0" role="region" aria-label="choices.toml">{escape(text)}</pre>'
    )


# -------------------------------------------------------------------------------------------------------------- parts


def _figure(folder: Path, name: str, caption: str) -> str:
    path = folder / FIGURES / f"{name}.svg"
    if not path.is_file():
        return ""
    drawn = path.read_text(encoding="utf-8")
    width = re.search(r'\bwidth="([0-9.]+)pt"', drawn)  # at one scale, so that all words are of one size
    size = f' style="max-width: {0.058 * float(width[1]):.2f}rem"' if width else ""
    return f"<figure{size}>{drawn}<figcaption>{escape(caption)}</figcaption></figure>"


def _table(name: str, caption: str, head: Sequence[str], rows: str) -> str:
    columns = "".join(f'<th scope="col">{escape(name)}</th>' if name else "<td></td>" for name in head)
    title = f'aria-label="{escape(name, quote=True)}"'
    return (  # the words stand beside what scrolls, or a narrow screen would cut them off
        f'<div class="wide" tabindex="0" role="group" {title}><table {title}>'
        f"<thead><tr>{columns}</tr></thead><tbody>{rows}</tbody></table></div>"
        f'<p class="caption">{escape(caption)}</p>'
    )


def _paragraph(text: str) -> str:
    return f"<p>{_minus(escape(text))}</p>"


def _told(name: str) -> str:
    return {HELD_OUT: "held-out", TUNING: "tuning"}.get(name, name)


def _minus(text: str) -> str:
    """A minus sign instead of the hyphen that a number begins with."""
    return re.sub(r"(?<![\w.-])-(?=\d)", "−", text)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {escape(name)}" for name, count in counts.items())
