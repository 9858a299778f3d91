"""`quantduel profiles`: list, show and check."""

import shutil
import sys
from pathlib import Path

import click

from engine import tables
from engine.cli import print_error, terminal
from engine.cli.profile_name import PROFILE
from engine.config.profile import Profile
from engine.config.profiles import finding, origin, reading
from engine.errors import ExitCode, ProfileError
from engine.tables import Row


@click.group(short_help="List, show and check profiles.")
def profiles() -> None:
    """Profiles are looked up in ./profiles, in your configuration folder, and among the shipped ones."""


@profiles.command("list", short_help="Every profile by name.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def list_profiles(as_json: bool) -> ExitCode:
    """List every profile by name. One that cannot be read is reported on stderr."""
    rows: list[Row] = []
    for name, file in finding.available().items():
        if remark := origin.remark(name):
            terminal.say(remark, err=True)
        try:
            rows.append(_row(reading.read(file), file, with_file=as_json))
        except ProfileError as error:
            print_error(error.message, error.hint)
    if as_json:
        terminal.data(tables.json(rows))
    else:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        terminal.say_lines(tables.table(rows, width))
    return ExitCode.DONE


@profiles.command()
@click.argument("name", type=PROFILE)
def show(name: str) -> ExitCode:
    """The profile as YAML, with every default written out. NAME can also be a file or a model."""
    terminal.write(reading.to_yaml(finding.find(name, allowed=finding.CODE_KEYS)))
    return ExitCode.DONE


@profiles.command()
@click.argument("files", nargs=-1, metavar="[FILE…]", type=click.Path(path_type=Path))
def check(files: tuple[Path, ...]) -> ExitCode:
    """Check the FILEs, or every profile there is. One line per error, and exit code 2 if there is any."""
    chosen = files or tuple(finding.available().values())
    faults = [fault for file in chosen for fault in reading.faults(file)]
    for fault in faults:
        print_error(str(fault))
    if not faults:
        terminal.say(f"{len(chosen)} {'profile' if len(chosen) == 1 else 'profiles'}, no errors", err=True)
    return ExitCode.BAD_INPUT if faults else ExitCode.DONE


def _row(found: Profile, file: Path, *, with_file: bool) -> Row:
    row: dict[str, tables.Cell] = {
        "name": found.name,
        "method": found.label,
        "source": found.model.source,
        "device": found.model.device,
        "from": origin.of(file),
        "description": found.description,
    }
    return row | {"file": str(file.absolute())} if with_file else row
