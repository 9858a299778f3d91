"""`quantduel doctor`: what this machine can run, what is missing, and the command that fixes it."""

from itertools import groupby

import click

from engine import tables
from engine.cli import terminal
from engine.cli.terminal import Styled, say
from engine.errors import ExitCode
from engine.machine.doctor import Check, Diagnosis, diagnose

COLOURS = {"ok": "green", "note": "yellow", "missing": "red"}


@click.command(short_help="Check what this machine can run.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def doctor(as_json: bool) -> ExitCode:
    """Look at packages, devices, memory, caches, the model hub and the terminal.

    Exit code 0 where models can be run here, 3 where something is missing for that. Notes do not count.
    """
    found = diagnose()
    if as_json:
        terminal.data(tables.json(found))
    else:
        _print(found)
    return ExitCode.DONE if found.can_run_models else ExitCode.NOT_LOADED


def _print(found: Diagnosis) -> None:
    width = max(len(check.name) for check in found.checks)
    for area, checks in groupby(found.checks, key=lambda check: check.area):
        say(Styled(area.capitalize(), bold=True))
        for check in checks:
            _print_check(check, width)
        say()
    say("Models can be run here." if found.can_run_models else "Models cannot be run here yet.")


def _print_check(check: Check, width: int) -> None:
    state = Styled(f"{check.state:<7}", colour=COLOURS[check.state])
    say("  ", state, f"  {check.name:<{width}}  {check.detail}")
    if check.fix:
        say(f"  {'':7}  {'':{width}}  → {check.fix}")
