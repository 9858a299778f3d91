"""`quantduel replay`: a kept or an exported duel, played on the screen without a model."""

import re
from pathlib import Path

import click

from engine.config import user_config
from engine.errors import InputError
from engine.recordings import recording as recordings
from engine.recordings.recording import Recording
from engine.recordings.store import LARGEST_ID, Duels

MOST_DIGITS = len(str(LARGEST_ID))
SLOWEST, FASTEST = 0.1, 1000.0


class Speed(click.ParamType[float]):
    """`2x`, `0.5`."""

    name = "speed"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        found = re.fullmatch(r"(\d{1,4}(?:\.\d{1,4})?)[x×]?", str(value).strip())
        if not found or not SLOWEST <= float(found[1]) <= FASTEST:
            self.fail(f"{value!r} is no speed such as 2x or 0.5x", param, ctx)
        return float(found[1])


speed_option = click.option(
    "--speed", type=Speed(), default="1x", show_default=True, help="Such as 2x or 0.5x."
)


@click.command(short_help="Play a kept or exported duel, without a model.")
@click.argument("which", metavar="FILE|ID", type=click.Path())
@speed_option
def replay(which: str, speed: float) -> int:
    """Play a duel on the screen as it was: FILE is what `history export ID duel.json` wrote.

    Nothing is loaded or downloaded. Space pauses, + and - change the speed, Enter shows all at once.
    """
    return play(found(which), speed)


def found(which: str) -> Recording:
    """The recording of that number or in that file; InputError where there is none."""
    if which.isdecimal() and len(which) <= MOST_DIGITS and not Path(which).exists():
        recording = Duels().get(int(which))
    else:
        recording = recordings.read(Path(which))
    if not recording.turns:
        raise InputError(f"{which}: nothing was asked in this duel")
    return recording


def play(recording: Recording, speed: float) -> int:
    """Play it until the user leaves."""
    from tui import terminal

    terminal.guard()
    terminal.require()
    from tui.replay_app import ReplayApp

    app = ReplayApp(recording, speed)
    app.configure(user_config.read().theme)
    app.run()
    return app.return_code or 0
