"""`quantduel env`: Python environments for the original packages, made of pinned lists."""

import click

from engine import tables
from engine.cli import long_run, print_error, terminal
from engine.config import environments
from engine.config.environments import Environment
from engine.environments import build
from engine.errors import ExitCode, InputError
from engine.tables import Row


@click.group(short_help="Make, check and remove environments for the original packages.")
def env() -> None:
    """Environments are Pythons with other libraries than QuantDuel's own; `worker.environment` names one.

    The lists autoawq and auto-gptq are shipped: the original code of AWQ and GPTQ, with the versions of
    torch and transformers that it works with.
    """


@env.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def list_environments(as_json: bool) -> ExitCode:
    """The shipped lists, and every environment that is there."""
    rows = list(_rows())
    if as_json:
        terminal.data(tables.json(rows))
    else:
        terminal.say_lines(tables.table(rows, terminal.width()))
    return ExitCode.DONE


@env.command(short_help="Make an environment out of its pinned list.")
@click.argument("name")
@click.option("--python", metavar="PATH", help="The Python to make it with, if QuantDuel's own is too new.")
@click.option("--force", is_flag=True, help="Make it again where it is there.")
def create(name: str, python: str | None, force: bool) -> ExitCode:
    """Make the environment NAME out of its pinned list, through pip: minutes, and GiB of disk space.

    Interrupted, it leaves nothing. Exit code 3 if it could not be made.
    """
    wanted, found = environments.pinned(name), environments.environment(name)
    if found.mark is not None and not force:
        terminal.say(f"{name} is there: {found.folder}", err=True)
        return _check(found)
    build.require_own(found)
    job = build.Build(wanted, build.python_for(wanted, python))
    interrupted = long_run.run(job, None)
    if job.failure:
        print_error(f"{name}: {job.failure.message}", job.failure.hint)
        return ExitCode.NOT_LOADED
    if interrupted:
        return ExitCode.INTERRUPTED
    terminal.say(f"{name} is ready: {found.folder}", err=True)
    return ExitCode.DONE


@env.command(short_help="Compare an environment with its pinned list.")
@click.argument("name")
def check(name: str) -> ExitCode:
    """Compare the packages of NAME with its pinned list, and import what it is for.

    Exit code 3 if it is broken.
    """
    return _check(_there(name))


@env.command()
@click.argument("name")
def remove(name: str) -> ExitCode:
    """Delete the environment NAME. Checkpoints that were made with it stay."""
    found = _there(name)
    build.remove(found)
    terminal.say(f"{name} was removed", err=True)
    return ExitCode.DONE


def _there(name: str) -> Environment:
    found = next((each for each in environments.here() if each.name == name), None)
    if found is None:
        raise InputError(f"there is no environment named {name!r}", "`quantduel env list` shows all")
    return found


def _check(found: Environment) -> ExitCode:
    faults = build.faults(found)
    for fault in faults:
        print_error(f"{found.name}: {fault}")
    if not faults:
        terminal.say(f"{found.name} works", err=True)
    elif found.name in environments.SHIPPED:
        terminal.say(f"quantduel env create --force {found.name} makes it again", err=True)
    return ExitCode.NOT_LOADED if faults else ExitCode.DONE


def _rows() -> list[Row]:
    there = {found.name: found for found in environments.here()}
    return [_row(name, there.get(name)) for name in sorted({*environments.SHIPPED, *there})]


def _row(name: str, found: Environment | None) -> Row:
    if found is None:
        state = "not made"
    elif found.mark:
        state = "ready" if not environments.wrong(found) else "not as pinned"
    else:
        state = "unfinished" if build.is_own(found) else "not made by QuantDuel"
    wanted = environments.SHIPPED.get(name)
    shown = {key: wanted.versions[key] for key in ("torch", "transformers")} if wanted else {}
    return {"name": name, "state": state, **shown, "folder": str(found.folder) if found else None}
