"""Everything that a command prints passes here, and is made safe to show: no name, note or answer acts on a
terminal.

Owns the calls of click.echo and the streams; a test looks for others. stdout is data, stderr is talk. Knows
nothing of what is said.
"""

import shutil
import sys
from typing import NamedTuple

import click

from engine.sanitize import visible


class Styled(NamedTuple):
    """Text in a style of its own."""

    text: str
    bold: bool = False
    dim: bool = False
    colour: str | None = None


def say(*parts: str | Styled, err: bool = False, end: str = "\n") -> None:
    """Print one line; whatever controls a terminal, a newline included, is shown as a picture."""
    click.echo("".join(map(_shown, parts)) + end, err=err, nl=False)


def say_lines(text: str, *, err: bool = False) -> None:
    """Print text that has lines of its own, such as a table."""
    click.echo(visible(text), err=err)


def write(text: str) -> None:
    """Data on stdout: as it is into a pipe or a file, made safe to show on a terminal."""
    sys.stdout.write(visible(text) if sys.stdout.isatty() else text)
    sys.stdout.flush()


def data(text: str) -> None:
    """Like `write`, a document with its last newline."""
    write(text + "\n")


def width() -> int | None:
    """How many characters a line of the terminal has that stdout is; None where it is a pipe or a file."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def rewrite(text: str) -> None:
    """Replace the line of a terminal that stderr is; what is too long for it is cut off."""
    most = shutil.get_terminal_size().columns - 1
    sys.stderr.write(f"\r\x1b[2K{visible(text, keep_newlines=False)[:most]}")
    sys.stderr.flush()


def _shown(part: str | Styled) -> str:
    if isinstance(part, str):
        return visible(part, keep_newlines=False)
    text = visible(part.text, keep_newlines=False)
    return click.style(text, bold=part.bold or None, dim=part.dim or None, fg=part.colour)
