"""`quantduel config`: the user's settings file, shown, found and edited."""

import click

from engine import paths
from engine.cli import terminal
from engine.config import user_config
from engine.config.atomic import replacing
from engine.errors import ExitCode


@click.group(short_help="Your settings file: show, path, edit.")
def config() -> None:
    """Colours, keys, what the screen begins with, folders: one YAML file, read as strictly as a profile."""


@config.command()
def show() -> ExitCode:
    """Every setting as YAML, defaults written out. Exit code 2 where the file has a fault."""
    terminal.write(user_config.to_yaml(user_config.read()))
    return ExitCode.DONE


@config.command()
def path() -> ExitCode:
    """Where the file is, or would be."""
    terminal.data(str(paths.user_config()))
    return ExitCode.DONE


@config.command()
def edit() -> ExitCode:
    """Open the file in $VISUAL or $EDITOR; afterwards say what is wrong with it, if anything is."""
    file = paths.user_config()
    if not file.exists():
        with replacing(file) as unfinished:
            unfinished.write_text(user_config.TEMPLATE, encoding="utf-8")
    click.edit(filename=str(file))
    user_config.read()
    return ExitCode.DONE
