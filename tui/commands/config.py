"""`quantduel config`: the engine's, and what only the screens know is checked as well: themes, keys."""

import click

from engine.cli.commands.config import config

__all__ = ["config"]


@config.result_callback()
@click.pass_context
def _check(context: click.Context, code: int) -> int:
    """Report what would keep the screen from opening; a mere path is told in any case."""
    from tui.commands.play import check

    if context.invoked_subcommand != "path":
        check()
    return code
