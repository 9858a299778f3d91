"""`quantduel doctor`: what this machine can run, what is missing, and the command that fixes it."""

import asyncio
from itertools import groupby

import click

from engine import tables
from engine.cli import terminal
from engine.cli.options import NOTHING_SET, chosen, set_option
from engine.cli.profile_name import PROFILE
from engine.cli.terminal import Styled, say
from engine.errors import ExitCode, InputError
from engine.machine.doctor import Check, Diagnosis, diagnose

COLOURS = {"ok": "green", "note": "yellow", "missing": "red"}


@click.command(short_help="Check what a machine can run.")
@click.argument("name", type=PROFILE, required=False, metavar="[PROFILE]")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@set_option
def doctor(name: str | None, as_json: bool, assignments: tuple[str, ...]) -> ExitCode:
    """Look at packages, devices, memory, caches, the model hub and the terminal.

    With a PROFILE whose worker is launched elsewhere: of that machine. Exit code 0 if models can be run
    there, 3 if something is missing for that. Notes do not count.
    """
    found, host = _there(name, assignments) if name else (diagnose(), "")
    if as_json:
        terminal.data(tables.json(found))
    else:
        _print(found, host)
    return ExitCode.DONE if found.can_run_models else ExitCode.NOT_LOADED


def _there(name: str, assignments: tuple[str, ...]) -> tuple[Diagnosis, str]:
    """Of the machine at the other end of a profile's worker.launch, and that machine's name."""
    wanted = chosen(name, {**NOTHING_SET, "assignments": assignments})
    if not wanted.worker.is_elsewhere:
        raise InputError(f"{wanted.name} runs on this machine", "`quantduel doctor` checks that")
    from engine.session import far_questions

    return asyncio.run(far_questions.diagnosed(wanted.worker))


def _print(found: Diagnosis, host: str) -> None:
    width = max(len(check.name) for check in found.checks)
    for area, checks in groupby(found.checks, key=lambda check: check.area):
        say(Styled(area.capitalize(), bold=True))
        for check in checks:
            _print_check(check, width)
        say()
    where = f"on {host}" if host else "here"
    say(f"Models can be run {where}." if found.can_run_models else f"Models cannot be run {where} yet.")


def _print_check(check: Check, width: int) -> None:
    state = Styled(f"{check.state:<7}", colour=COLOURS[check.state])
    say("  ", state, f"  {check.name:<{width}}  {check.detail}")
    if check.fix:
        say(f"  {'':7}  {'':{width}}  → {check.fix}")
