"""`quantduel serve`: the screen in a browser of this machine."""

import asyncio

import click

from engine.cli import terminal
from engine.cli.profile_name import PROFILE
from engine.errors import ExitCode, InputError
from engine.machine import packages


class _Serve(click.Command):
    """A command whose other options are another's: `--port` is its own wherever it stands."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, _port_first(args))


def _port_first(args: list[str]) -> list[str]:
    """The arguments with `--port PORT` or `--port=PORT` before all others."""
    for place, arg in enumerate(args):
        if arg == "--":
            break
        if arg.partition("=")[0] == "--port":
            end = place + (1 if "=" in arg else 2)
            return [*args[place:end], *args[:place], *args[end:]]
    return args


@click.command(
    cls=_Serve,
    short_help="The screen in a browser of this machine.",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8000,
    show_default=True,
    metavar="PORT",
    help="0 takes one that is free.",
)
@click.argument("arguments", nargs=-1, type=PROFILE, metavar="[A] [B] [OPTION…]")
def serve(port: int, arguments: tuple[str, ...]) -> ExitCode:
    """Serve `quantduel A B OPTION…` to a browser. Each tab is a process of its own, with its own models.

    Only this machine can reach it, and only the address with its token is let in. From another machine:
    `ssh -L 8000:127.0.0.1:8000 HOST`, then open the same address there.
    """
    from tui.commands.play import check

    check(arguments)  # here, not in each tab
    try:
        from tui.serving.server import DuelServer, listening
    except ImportError as error:
        raise InputError(f"serving needs {error.name}", packages.install_command("serve")) from None

    server = DuelServer(arguments, listening(port))
    asyncio.run(server.run(_tell))
    return ExitCode.DONE


def _tell(address: str) -> None:
    terminal.data(address)
    terminal.say("open this in a browser of this machine; Ctrl+C ends it", err=True)
