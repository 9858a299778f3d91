"""`quantduel leaderboard`: what the kept blind votes say, as a table, JSON or CSV."""

from pathlib import Path

import click

from engine import tables
from engine.cli import terminal
from engine.cli.options import overwrite_option
from engine.errors import ExitCode
from engine.results import Results
from engine.votes import leaderboard as boards
from engine.votes import leaderboard_text as texts
from engine.votes.leaderboard_text import Format


@click.command(short_help="Rank profiles by your blind votes.")
@click.argument("names", nargs=-1, metavar="[PROFILE…]")
@click.option("--format", "form", type=click.Choice(["table", "json", "csv"]), default="table")
@click.option(
    "--export",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Also write a file; its extension sets the format: " + " ".join(texts.SUFFIXES),
)
@overwrite_option
@click.option("--seed", type=int, default=0, show_default=True, metavar="S", help="Seed of the bootstrap.")
def leaderboard(
    names: tuple[str, ...], form: Format, export: Path | None, force: bool, seed: int
) -> ExitCode:
    """Wins, ties and an exact test for each pair; with three profiles or more, strengths with 95 % intervals.

    If PROFILEs are given, only votes between them count.
    """
    wanted = texts.format_of(export) if export else None
    if export:
        export = tables.require_free(export, replace=force)
    turns = [
        turn
        for turn in Results().turns()
        if not names or all(answer.profile in names for answer in turn.answers)
    ]
    board = boards.leaderboard(turns, seed=seed)
    if export and wanted:
        tables.write(texts.text(board, wanted), export)
    terminal.data(texts.text(board, form))
    return ExitCode.DONE
