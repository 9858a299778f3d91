"""`quantduel plan`: whether profiles fit, before anything is loaded; --check compares with a load."""

import asyncio
from typing import TypedDict, Unpack

import click

from engine import tables
from engine.cli import print_error, terminal
from engine.cli.options import MemorySize, chosen, set_option
from engine.cli.plan_text import show, show_check
from engine.cli.profile_name import PROFILE
from engine.config.profile import Profile
from engine.errors import ExitCode, LoadError
from engine.machine import hardware
from engine.machine.hardware import Hardware
from engine.plan.local import planned
from engine.plan.planning import Wish
from engine.plan.terms import Plan


class _Options(TypedDict):
    context: int | None
    batch: int
    device: str | None
    memory_limit: int | None
    as_json: bool
    check: bool
    assignments: tuple[str, ...]


@click.command(short_help="Whether profiles fit, before anything is loaded.")
@click.argument("names", nargs=-1, type=PROFILE, required=True, metavar="PROFILE…")
@click.option(
    "--context", type=click.IntRange(min=1), metavar="N", help="Tokens in the cache.  [default: 2048]"
)
@click.option("--batch", type=click.IntRange(min=1), default=1, show_default=True, help="Sequences at once.")
@click.option("--device", metavar="DEVICE", help="cpu, cuda, cuda:1 or split, instead of the profile's.")
@click.option(
    "--memory-limit", type=MemorySize(), metavar="SIZE", help="As if the host had only so much free."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@click.option("--check", is_flag=True, help="Load each profile too, and show how far the estimate was off.")
@set_option
def plan(names: tuple[str, ...], **options: Unpack[_Options]) -> ExitCode:
    """Tell what PROFILES will hold in memory, term by term, and whether that fits here.

    Only headers are read; of a model on the hub a few kilobytes. Exit code 3 where a profile does not fit, or
    where its headers cannot be had.
    """
    profiles = [_chosen(name, options) for name in names]
    machine = hardware.detect()
    if options["check"]:
        return _check(profiles, options, machine)
    found = [_planned(profile, options, machine) for profile in profiles]
    plans = [each for each in found if each is not None]
    if options["as_json"]:
        terminal.data(tables.json({"plans": plans}))
    else:
        for each in plans:
            show(each)
    fits = len(plans) == len(profiles) and all(each.verdict != "does not fit" for each in plans)
    return ExitCode.DONE if fits else ExitCode.NOT_LOADED


def _check(profiles: list[Profile], options: _Options, machine: Hardware) -> ExitCode:
    from engine.cli.loading import ProgressLine
    from engine.session.plan_check import checked
    from engine.session.progress import stage_text

    progress = ProgressLine()
    wish = _wish(options)
    try:
        rows = [
            asyncio.run(
                checked(
                    profile, wish, machine, lambda name, stage: progress.show(f"{name}: {stage_text(stage)}")
                )
            )
            for profile in profiles
        ]
    finally:
        progress.clear()
    if options["as_json"]:
        terminal.data(tables.json({"profiles": rows}))
    else:
        show_check(rows)
    return ExitCode.NOT_LOADED if any(row.actual is None for row in rows) else ExitCode.DONE


def _wish(options: _Options) -> Wish:
    return Wish(options["context"], options["batch"], options["memory_limit"])


def _planned(profile: Profile, options: _Options, machine: Hardware) -> Plan | None:
    """The plan; where there is none, why is said on stderr."""
    try:
        return planned(profile, _wish(options), machine)
    except LoadError as error:
        print_error(f"{profile.name}: {error.message}", error.hint)
        return None


def _chosen(name: str, options: _Options) -> Profile:
    assignments = options["assignments"]
    if options["device"]:
        assignments = (*assignments, f"model.device={options['device']}")
    return chosen(name, {"max_new_tokens": None, "seed": None, "assignments": assignments})
