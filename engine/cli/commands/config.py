"""`quantduel config`: the user's settings file, shown, found and edited."""

import click

from engine import paths
from engine.cli import terminal
from engine.config import user_config
from engine.config.atomic import replacing
from engine.errors import ExitCode


@click.group(short_help="Show or edit your settings file.")
def config() -> None:
    """Colours, keys, folders and what the screen starts with: one YAML file, checked like a profile."""


@config.command(short_help="Print every setting, defaults included.")
def show() -> ExitCode:
    """Print every setting as YAML, defaults included. Exit code 2 if the file has an error."""
    terminal.write(user_config.to_yaml(user_config.read()))
    return ExitCode.DONE


@config.command()
def path() -> ExitCode:
    """Print where the file is, or would be."""
    terminal.data(str(paths.user_config()))
    return ExitCode.DONE


@config.command(short_help="Open the file in an editor, then check it.")
def edit() -> ExitCode:
    """Open the file in $VISUAL or $EDITOR; afterwards report what is wrong with it, if anything."""
    file = paths.user_config()
    if not file.exists():
        with replacing(file) as unfinished:
            unfinished.write_text(user_config.TEMPLATE, encoding="utf-8")
    click.edit(filename=str(file))
    user_config.read()
    return ExitCode.DONE
