"""`quantduel demo`: the recording that comes with QuantDuel."""

import click

from engine.recordings.recording import shipped
from tui.commands.replay import play, speed_option


@click.command(short_help="Play the duel that comes with QuantDuel.")
@speed_option
def demo(speed: float) -> int:
    """A real duel, recorded: SmolLM2 135M in bf16 against 4-bit NF4. Nothing is loaded or downloaded."""
    return play(shipped(), speed)
