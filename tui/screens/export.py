"""Files that a user names: where to, and what became of it. Knows nothing of what is written."""

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from textual.screen import Screen

from engine import tables
from engine.errors import QuantDuelError
from engine.sanitize import visible
from tui.screens.ask import SaveDialog

TOLD_S = 8


def stamped(what: str, suffix: str) -> str:
    """A name to propose: `quantduel-bench-20261128-0930.md`."""
    parts = ("quantduel", what, f"{datetime.now():%Y%m%d-%H%M}")
    return "-".join(part for part in parts if part) + suffix


def ask_for_file(
    screen: Screen[Any], proposal: str, suffixes: Sequence[str], write: Callable[[Path], object]
) -> None:
    """Ask for a name that ends in one of these, write, and say on this screen what became of it."""

    def named(file: Path | None) -> None:
        if file is None:
            return
        try:
            write(file)
        except QuantDuelError as error:
            screen.notify(visible(str(error)), severity="error", markup=False, timeout=TOLD_S)
        else:
            screen.notify(visible(f"Written: {file}"), markup=False, timeout=TOLD_S)

    screen.app.push_screen(SaveDialog(proposal, suffixes), named)


def screenshot(screen: Screen[Any]) -> None:
    """What is seen, into an SVG file."""
    picture = screen.app.export_screenshot(title="quantduel")
    ask_for_file(screen, stamped("", ".svg"), [".svg"], partial(tables.write, picture))
