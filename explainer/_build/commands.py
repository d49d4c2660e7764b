"""A command's own help on a page: `[help](help:visitwise train)` alone on a line becomes what `--help` prints."""

import re
from collections.abc import Callable

import click
from click.testing import CliRunner

ALONE = re.compile(r"^\[[^\]\[]*\]\(help:([^)]*)\) *$", re.MULTILINE)
ANYWHERE = re.compile(r"\[[^\]\[]*\]\(help:[^)]*\)")
WIDTH = 76  # what a page shows without scrolling
Report = Callable[[str], None]


def show(markdown: str, report: Report) -> str:
    """The Markdown with each command's help as a block of text; an unknown command is reported."""

    def replace(match: re.Match[str]) -> str:
        try:
            text = help_of(match[1])
        except LookupError as error:
            report(str(error.args[0]))
            return ""
        return f'```text title="{match[1]} --help"\n{text}\n```'

    text = ALONE.sub(replace, markdown)
    for left_over in ANYWHERE.findall(text):
        report(f"`{left_over}` shows a command's help and has to stand alone on its line")
    return text


def help_of(command: str) -> str:
    """What `command --help` prints.

    Raises:
        LookupError: if the package has no such command.
    """
    from visitwise.cli import main  # needed by one page alone

    place: click.Command = main
    program, *rest = command.split() or [""]
    for name in rest:
        place = (place.commands if isinstance(place, click.Group) else {}).get(name) or _unknown(command)
    if program != "visitwise":
        _unknown(command)
    done = CliRunner().invoke(main, [*rest, "--help"], prog_name=program, terminal_width=WIDTH)
    if done.exit_code:
        _unknown(command)
    return done.output.strip()


def _unknown(command: str) -> click.Command:
    raise LookupError(f"`help:{command}` names no command of this package")
