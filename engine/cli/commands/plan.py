"""`quantduel plan`: whether profiles fit, before anything is loaded; --check compares with a load.

Owns the ledger on stdout: every term, the rule of thumb next to it, the verdict.
"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import TypedDict, Unpack

import click

from engine import tables
from engine.cli import print_error, terminal
from engine.cli.options import MemorySize, chosen, count_option, set_option
from engine.cli.profile_name import PROFILE
from engine.cli.terminal import Styled, say, say_lines
from engine.config.profile import Profile
from engine.errors import ExitCode, LoadError
from engine.machine import hardware
from engine.machine.hardware import Hardware
from engine.plan.local import planned
from engine.plan.planning import Wish
from engine.plan.terms import Plan, Term, total
from engine.plan.text import error_text, verdict_text
from engine.session import far_questions
from engine.session.plan_check import Checked, checked
from engine.session.progress import stage_text
from engine.units import bytes_text

COLOURS = {"fits": "green", "tight": "yellow", "does not fit": "red"}
NAME_WIDTH, SIZE_WIDTH = 32, 12


class _Options(TypedDict):
    context: int | None
    batch: int
    device: str | None
    memory_limit: int | None
    as_json: bool
    check: bool
    assignments: tuple[str, ...]


@click.command(short_help="Check whether profiles fit in memory, without loading anything.")
@click.argument("names", nargs=-1, type=PROFILE, required=True, metavar="PROFILE…")
@count_option("--context", "Tokens in the cache.  [default: 2048]")
@count_option("--batch", "Batch size.", default=1)
@click.option("--device", metavar="DEVICE", help="cpu, cuda, cuda:1 or split, instead of the profile's.")
@click.option(
    "--memory-limit", type=MemorySize(), metavar="SIZE", help="Plan as if the host had only SIZE free."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@click.option("--check", is_flag=True, help="Also load each profile, and show how far off the estimate was.")
@set_option
def plan(names: tuple[str, ...], **options: Unpack[_Options]) -> ExitCode:
    """Show how much memory PROFILES will take, term by term, and whether they fit here.

    Only headers are read; a few kilobytes for a model on the hub. Exit code 3 if a profile does not fit,
    or where its headers cannot be read.
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
            _show(each)
    fits = len(plans) == len(profiles) and all(each.verdict != "does not fit" for each in plans)
    return ExitCode.DONE if fits else ExitCode.NOT_LOADED


def _check(profiles: list[Profile], options: _Options, machine: Hardware) -> ExitCode:
    from engine.cli.loading import ProgressLine

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
        _show_check(rows)
    return ExitCode.NOT_LOADED if any(row.actual is None for row in rows) else ExitCode.DONE


def _wish(options: _Options) -> Wish:
    return Wish(options["context"], options["batch"], options["memory_limit"])


def _planned(profile: Profile, options: _Options, machine: Hardware) -> Plan | None:
    """The plan, of the machine that would run it; where there is none, why is said on stderr."""
    try:
        if profile.worker.is_elsewhere:
            return asyncio.run(far_questions.planned(profile, _wish(options)))
        return planned(profile, _wish(options), machine)
    except LoadError as error:
        source = profile.model.source  # what a message on its files begins with
        is_named = profile.name == source and error.message.startswith(source)
        print_error(error.message if is_named else f"{profile.name}: {error.message}", error.hint)
        return None


def _chosen(name: str, options: _Options) -> Profile:
    assignments = options["assignments"]
    if options["device"]:
        assignments = (*assignments, f"model.device={options['device']}")
    return chosen(name, {"max_new_tokens": None, "seed": None, "assignments": assignments})


def _show(found: Plan) -> None:
    """Every term, then what they add up to."""
    head = f"{found.profile}  ({found.label}, {found.dtype}, {found.device}; {found.origin})"
    say(Styled(head, bold=True))
    _group(f"Weights, {parameters_text(found)}", found.weights)
    _group(f"KV cache, context {found.context} × batch {found.batch}", found.kv_cache)
    _group("Activations, at most", found.activations)
    _group("Besides the model", found.runtime)
    _line("Answering", found.running_bytes, "all of the above", bold=True)
    _group("Peak while loading", found.loading)
    if found.quantizing:
        _group("Peak while quantizing (once, in the host's memory)", found.quantizing)
    _line("Rule of thumb", found.rule_of_thumb.bytes, found.rule_of_thumb.text)
    _line("", None, found.rule_of_thumb.difference)
    say()
    _verdict(found)
    say()


def _verdict(found: Plan) -> None:
    say(Styled(verdict_text(found), bold=True, colour=COLOURS[found.verdict]))
    for note in found.notes:
        say(f"  {note}")
    if found.verdict != "does not fit":
        return
    if not found.would_fit:
        say("  no smaller profile of this model is known here: another model, device or machine is needed")
    for each in found.would_fit:
        say(f"  would fit: {each.what}, {bytes_text(each.needs_bytes)} needed")


def _group(title: str, terms: Iterable[Term]) -> None:
    listed = list(terms)
    _line(title, total(listed), bold=True)
    for term in listed:
        _line(f"  {term.name}", term.bytes, term.origin)


def _line(name: str, size: int | None, origin: str = "", *, bold: bool = False) -> None:
    amount = bytes_text(size) if size is not None else ""
    text = f"{name:<{NAME_WIDTH}} {amount:>{SIZE_WIDTH}}"
    quiet = ("  ", Styled(origin, dim=True)) if origin else ()
    say(Styled(text if origin else text.rstrip(), bold=bold), *quiet)


def _show_check(rows: Sequence[Checked]) -> None:
    """Estimate, actual and error of each figure, a line a profile."""
    say_lines(tables.table([_row(row) for row in rows]))
    for row in rows:
        if row.failure:
            say(f"{row.profile}: {row.failure}", err=True)


def _row(row: Checked) -> tables.Row:
    cells: dict[str, tables.Cell] = {"profile": row.profile}
    for name, title in (("weights", "weights"), ("kv_cache", "KV cache"), ("load_peak", "load peak")):
        estimate = getattr(row.estimate, f"{name}_bytes")
        actual = getattr(row.actual, f"{name}_bytes") if row.actual else None
        cells[title] = f"{bytes_text(estimate)} : {bytes_text(actual)}"
        cells[f"{title} error"] = error_text(estimate, actual)
    return cells


def parameters_text(found: Plan) -> str:
    """`8,190.7 M parameters`, and of a mixture how many of them a token uses."""
    total = f"{found.parameters / 1e6:,.1f} M parameters"
    is_mixture = found.active_parameters < found.parameters
    return f"{total}, {found.active_parameters / 1e6:,.1f} M active a token" if is_mixture else total
