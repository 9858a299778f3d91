"""`quantduel store`: the quantized checkpoints that are kept, listed, shown, removed."""

import click

from engine import tables
from engine.checkpoints import store as checkpoints
from engine.checkpoints.store import Entry
from engine.cli import terminal
from engine.errors import ExitCode, InputError
from engine.jobs import sheet
from engine.quantize.text import checkpoint_sheet
from engine.tables import Row
from engine.units import bytes_text, time_text


@click.group(short_help="List, show and remove quantized checkpoints.")
def store() -> None:
    """Quantized checkpoints are made once and kept. KEY is a checkpoint's key, or the beginning of one."""


@store.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def list_checkpoints(as_json: bool) -> ExitCode:
    """Every checkpoint, the newest first."""
    found = checkpoints.entries()
    if as_json:
        terminal.data(tables.json([_document(entry) for entry in found]))
        return ExitCode.DONE
    if found:
        terminal.say_lines(tables.table([_row(entry) for entry in found], terminal.width()))
    total = bytes_text(sum(entry.size_bytes for entry in found))
    terminal.say(f"{_count(found)}, {total}, in {checkpoints.folder()}", err=True)
    return ExitCode.DONE


@store.command(short_help="How a checkpoint was made, and what it lost.")
@click.argument("key")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def show(key: str, as_json: bool) -> ExitCode:
    """How a checkpoint was made, what it lost, and the loss of each layer."""
    entry = checkpoints.entry(key)
    if as_json:
        terminal.data(tables.json(_document(entry)))
    else:
        found = checkpoint_sheet(entry.record, entry.path, entry.size_bytes)
        terminal.say_lines(sheet.text(found, "table", terminal.width()))
    return ExitCode.DONE


@store.command(short_help="Remove KEYS, or what is no longer used.")
@click.argument("keys", nargs=-1, metavar="[KEY…]")
@click.option("--all", "everything", is_flag=True, help="Remove every checkpoint.")
@click.option("--dry-run", is_flag=True, help="Only show what would be removed.")
def prune(keys: tuple[str, ...], everything: bool, dry_run: bool) -> ExitCode:
    """Remove these checkpoints; without a KEY, those of other package versions, which are not used."""
    if keys and everything:
        raise InputError("expected KEYS or --all, not both")
    if keys:
        doomed = [checkpoints.entry(key) for key in keys]
    else:
        doomed = [entry for entry in checkpoints.entries() if everything or not checkpoints.is_current(entry)]
    for entry in doomed:
        if not dry_run:
            checkpoints.remove(entry)
        terminal.say(f"{entry.key}  {_label(entry)} of {entry.record.recipe.model}")
    freed = bytes_text(sum(entry.size_bytes for entry in doomed))
    terminal.say(f"{_count(doomed)}, {freed}, {'would be removed' if dry_run else 'removed'}", err=True)
    return ExitCode.DONE


@store.command(short_help="Print a checkpoint's folder, or the store's.")
@click.argument("key", required=False)
def path(key: str | None) -> ExitCode:
    """Print the folder of the checkpoint KEY, or of the store."""
    terminal.data(str(checkpoints.folder() if key is None else checkpoints.entry(key).path))
    return ExitCode.DONE


def _row(entry: Entry) -> Row:
    record, check = entry.record, entry.record.check
    return {
        "key": entry.key,
        "method": _label(entry),
        "size": bytes_text(entry.size_bytes),
        "perplexity": check.perplexity if check else None,
        "source's": check.source_perplexity if check else None,
        "made": time_text(record.created)[:10],
        "profile": record.profile,
        "model": record.recipe.model,
    }


def _document(entry: Entry) -> dict[str, object]:
    return {
        "key": entry.key,
        "path": str(entry.path),
        "size_bytes": entry.size_bytes,
        "is_current": checkpoints.is_current(entry),
        "record": entry.record,
    }


def _label(entry: Entry) -> str:
    return entry.record.recipe.method.label(entry.record.recipe.dtype)


def _count(entries: list[Entry]) -> str:
    return "1 checkpoint" if len(entries) == 1 else f"{len(entries)} checkpoints"
