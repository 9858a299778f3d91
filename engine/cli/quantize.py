"""`quantduel quantize`: make a profile's quantized checkpoint, with progress, and say what it lost."""

import asyncio
from pathlib import Path

import click

from engine import tables
from engine.checkpoints import export, store
from engine.cli import checkpoint_text, print_error, terminal
from engine.cli.loading import ProgressLine
from engine.cli.options import Settings, chosen, set_option
from engine.config.methods import Savable, tag
from engine.config.profile import Profile
from engine.errors import ExitCode, InputError
from engine.protocol import Failed, FailureKind, Quantized, Staged
from engine.session.client import Session
from engine.session.progress import stage_text

EXIT_CODES: dict[FailureKind, ExitCode] = {
    "bad_input": ExitCode.BAD_INPUT,
    "cancelled": ExitCode.INTERRUPTED,
}


@click.command(short_help="Make a quantized checkpoint.")
@click.argument("profile")
@click.option("--out", metavar="DIR", help="Copy the checkpoint to this folder, too.")
@click.option("--force", is_flag=True, help="Make it anew, and replace what an earlier run wrote to --out.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@set_option
def quantize(
    profile: str, out: str | None, force: bool, as_json: bool, assignments: tuple[str, ...]
) -> ExitCode:
    """Make PROFILE's quantized checkpoint and keep it in the store; it is loaded from there from then on.

    What is there already is shown, and made anew with --force. Exit code 2 where the profile's method makes
    no checkpoint, 3 where it could not be made.
    """
    wanted = chosen(profile, Settings(max_new_tokens=None, seed=None, assignments=assignments))
    method = wanted.quantization
    if not isinstance(method, Savable):
        hint = "rtn, gptq, awq and bitsandbytes do: see `quantization.method` in docs/profiles.md"
        raise InputError(f"{wanted.name}: method {tag(method)} makes no checkpoint", hint)
    if out:
        out = str(export.require_free(Path(out), replace=force))
    ended = asyncio.run(_quantize(wanted, out, force))
    if isinstance(ended, Failed):
        print_error(f"{wanted.name}: {ended.message}", ended.hint)
        return EXIT_CODES.get(ended.kind, ExitCode.NOT_LOADED)
    _show(ended, as_json)
    return ExitCode.DONE


async def _quantize(profile: Profile, out: str | None, force: bool) -> Quantized | Failed:
    session, progress = Session(profile), ProgressLine()
    progress.show(f"{profile.name}: starting")
    try:
        async for event in session.quantize(out, force=force):
            if isinstance(event, Staged):
                progress.show(f"{profile.name}: {stage_text(event)}")
            elif isinstance(event, Quantized | Failed):
                return event
    finally:
        progress.clear()
        await session.close()
    raise AssertionError("quantizing ends with its last event")


def _show(ended: Quantized, as_json: bool) -> None:
    path = Path(ended.path)
    size_bytes = store.size_bytes(path)
    if as_json:
        key = ended.record.recipe.key
        figures = {"key": key, "path": ended.path, "was_there": ended.was_there, "size_bytes": size_bytes}
        terminal.data(tables.json({**figures, "record": ended.record}))
        return
    if ended.was_there:
        terminal.say("It was made before; --force makes it anew.")
        terminal.say()
    checkpoint_text.show(ended.record, path, size_bytes)
