"""`quantduel worker`: the other end of a profile's `worker.launch`. Commands on stdin, events on stdout."""

import os
import stat

import click

from engine.errors import InputError


@click.command(short_help="The other end of a profile's worker.launch.")
@click.option(
    "--patience",
    type=click.FloatRange(min=1, max=86_400),
    default=4.0,
    show_default=True,
    metavar="SECONDS",
    help="How long the line may be silent before the model is unloaded; the other side waits as long.",
)
def worker(patience: float) -> None:
    """Run a model for a QuantDuel elsewhere, over stdin and stdout, until they end.

    A profile starts it: `worker: {launch: ssh gpu2 quantduel worker}`.
    """
    mode = os.fstat(0).st_mode
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
        hint = "a profile starts it: `worker: {launch: ssh HOST quantduel worker}`"
        raise InputError("`quantduel worker` is spoken to by another QuantDuel, not by a person", hint)
    from engine.session import far_end

    far_end.main(patience)
