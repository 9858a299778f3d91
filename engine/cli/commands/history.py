"""`quantduel history`: the kept duels, listed, shown, exported, renamed, deleted, brought back."""

import shutil
import sys
from pathlib import Path

import click

from engine import tables
from engine.cli import terminal, transcript
from engine.cli.options import count_option, overwrite_option
from engine.cli.terminal import Styled
from engine.duel.duel import Duel
from engine.duel.sides import LETTERS
from engine.errors import ExitCode
from engine.recordings.rebuilt import rebuilt
from engine.recordings.recording import RecordedTurn
from engine.recordings.store import KEPT_AFTER_DELETION, Duels, KeptDuel
from engine.tables import Row
from engine.units import time_text


@click.group(short_help="List, show, export and delete past duels.")
def history() -> None:
    """Every duel is kept as it happens. ID is a duel's number in `quantduel history list`."""


@history.command("list", short_help="The latest duels; WORDS search them.")
@click.argument("words", nargs=-1, metavar="[WORD…]")
@click.option("--deleted", is_flag=True, help="List deleted duels that `restore` can still bring back.")
@count_option("--limit", "List N duels at most.", default=50)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def list_duels(words: tuple[str, ...], deleted: bool, limit: int, as_json: bool) -> ExitCode:
    """List the latest duels, newest first; with WORDs, those whose prompts, answers or names contain them."""
    duels = Duels()
    found = duels.found(" ".join(words), limit=limit, deleted=deleted)
    if as_json:
        terminal.data(tables.json(found))
        return ExitCode.DONE
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    if found:
        sides = max(len(duel.profiles) for duel in found)
        terminal.say_lines(tables.table([_row(duel, sides) for duel in found], width))
    count = "1 duel" if len(found) == 1 else f"{len(found)} duels"
    terminal.say(f"{count}, in {duels.file}", err=True)
    return ExitCode.DONE


@history.command(short_help="Prompts, answers, figures and comparisons.")
@click.argument("duel", type=int, metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout, as `export` writes it.")
def show(duel: int, as_json: bool) -> ExitCode:
    """A duel's prompts, answers, figures and comparisons."""
    found = Duels().get(duel)
    if as_json:
        from engine.recordings.document import json_text

        terminal.data(json_text(found))
        return ExitCode.DONE
    terminal.say(Styled(found.title, bold=True), f"   {time_text(found.created, with_zone=True)}")
    terminal.say()
    for number, (turn, after) in enumerate(zip(found.turns, rebuilt(found), strict=True), 1):
        _show_turn(number, turn, after)
    return ExitCode.DONE


@history.command(short_help="Write a duel to a .html, .md or .json file.")
@click.argument("duel", type=int, metavar="ID")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@overwrite_option
def export(duel: int, file: Path, force: bool) -> ExitCode:
    """Write a duel to FILE: .html (one page), .md, or .json (which `replay` plays)."""
    from engine.recordings import export as exports

    exports.format_of(file)
    file = tables.require_free(file, replace=force)
    exports.export(Duels().get(duel), file)
    terminal.say(f"written: {file}", err=True)
    return ExitCode.DONE


@history.command(short_help="Name a duel.")
@click.argument("duel", type=int, metavar="ID")
@click.argument("title", nargs=-1, metavar="[TITLE]")
def rename(duel: int, title: tuple[str, ...]) -> ExitCode:
    """Name a duel TITLE; without TITLE its name is its first prompt."""
    Duels().rename(duel, " ".join(title))
    return ExitCode.DONE


@history.command(short_help="Delete duels; restore brings them back.")
@click.argument("duels", type=int, nargs=-1, required=True, metavar="ID…")
@click.option("--for-good", is_flag=True, help="Delete for good: `restore` cannot bring them back.")
def delete(duels: tuple[int, ...], for_good: bool) -> ExitCode:
    """Delete duels; for seven days `quantduel history restore` brings them back."""
    kept = Duels()
    for duel in duels:
        kept.remove(duel) if for_good else kept.delete(duel)
    days = KEPT_AFTER_DELETION.days
    numbers = " ".join(map(str, duels))
    back = f"`quantduel history restore {numbers}` brings back what was deleted, for {days} days"
    terminal.say("removed for good" if for_good else back, err=True)
    return ExitCode.DONE


@history.command()
@click.argument("duels", type=int, nargs=-1, required=True, metavar="ID…")
def restore(duels: tuple[int, ...]) -> ExitCode:
    """Bring deleted duels back."""
    kept = Duels()
    for duel in duels:
        kept.restore(duel)
    return ExitCode.DONE


def _row(duel: KeptDuel, sides: int) -> Row:
    names = (*duel.profiles, *[""] * (sides - len(duel.profiles)))
    return {
        "id": duel.id,
        "last": time_text(duel.last),
        "turns": duel.turns,
        **{letter.lower(): name for letter, name in zip(LETTERS, names, strict=False)},
        "title": duel.title,
    }


def _show_turn(number: int, turn: RecordedTurn, duel: Duel) -> None:
    terminal.say(Styled(f"{number}  ", dim=True), Styled("Prompt", bold=True))
    terminal.write(turn.prompt)
    terminal.say()
    terminal.say()
    page = transcript.Transcript(duel)
    page.write_whole()
    page.end()
    if turn.lens:
        page.add_lens(turn.lens)
