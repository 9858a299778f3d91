"""`quantduel quantize`: make a profile's quantized checkpoint, with progress, and say what it lost."""

from pathlib import Path
from typing import TypedDict, Unpack

import click

from engine.checkpoints import export
from engine.cli import long_run, print_error, terminal
from engine.cli.long_run import FILE, format_option
from engine.cli.options import Settings, chosen, set_option
from engine.cli.profile_name import PROFILE
from engine.errors import ExitCode
from engine.jobs.sheet import Format
from engine.protocol.failure import FailureKind
from engine.quantize.run import Quantizing, files_read, require_savable

EXIT_CODES: dict[FailureKind, ExitCode] = {
    "bad_input": ExitCode.BAD_INPUT,
    "cancelled": ExitCode.INTERRUPTED,
}


class _Options(TypedDict):
    out: str | None
    report: Path | None
    force: bool
    form: Format
    as_json: bool
    assignments: tuple[str, ...]


@click.command(short_help="Quantize a profile's model and keep the checkpoint.")
@click.argument("profile", type=PROFILE)
@click.option("--out", metavar="DIR", help="Also copy the checkpoint to this folder.")
@click.option(
    "--report", type=FILE, metavar="FILE", help=f"Write the loss of each layer to a file; {long_run.HOW}"
)
@click.option("--force", is_flag=True, help="Quantize again, and replace the files of --report and --out.")
@format_option
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@set_option
def quantize(profile: str, **options: Unpack[_Options]) -> ExitCode:
    """Quantize PROFILE's model and keep the checkpoint in the store, from which it is loaded from then on.

    A checkpoint that exists is shown; --force makes it again. Exit code 2 if the profile's method makes
    no checkpoint, 3 if it could not be made.
    """
    given = Settings(max_new_tokens=None, seed=None, assignments=options["assignments"])
    wanted, force = chosen(profile, given), options["force"]
    require_savable(wanted)
    folder, file = options["out"], options["report"]
    copy = str(export.require_free(Path(folder), replace=force)) if folder else None
    report, _ = long_run.outputs(file, None, replace=force, reads=files_read(wanted))
    job = Quantizing(wanted, copy, force=force)
    interrupted = long_run.run(job, report)
    if job.failure:
        print_error(f"{wanted.name}: {job.failure.message}", job.failure.hint)
        return EXIT_CODES.get(job.failure.kind, ExitCode.NOT_LOADED)
    form: Format = "json" if options["as_json"] else options["form"]
    long_run.end(job, form, report if job.result else None, terminal.width())
    return long_run.exit_code(ExitCode.DONE, report, interrupted=interrupted)
