"""A long run on the command line: a line of progress, a file that grows with it, the results at the end."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path

import click

from engine.cli import print_error, terminal
from engine.cli.loading import ProgressLine
from engine.cli.options import Settings, chosen
from engine.config.profile import Profile
from engine.errors import ExitCode, InputError
from engine.jobs import sheet as sheets
from engine.jobs.events import Completed, line
from engine.jobs.job import Job
from engine.jobs.profiles import distinct
from engine.jobs.sheet import SUFFIXES, Format, Sheet, format_of
from engine.tables import require_free, write

format_option = click.option(
    "--format", "form", type=click.Choice(sheets.FORMATS), default="table", help="Format on stdout."
)
FILE = click.Path(path_type=Path, dir_okay=False)
HOW = "its extension sets the format: " + " ".join(SUFFIXES)


class OutFile:
    """The file of a run, written again and again while work goes on. A disk that fills costs no result.

    Reported once if it cannot be written; tried again each time, because a disk may have space again.
    """

    def __init__(self, file: Path) -> None:
        """InputError for a name that asks for no known format."""
        self.file, self.form = file, format_of(file)
        self.failed = False
        """Whether the last results are not in it."""
        self._told = False

    def begin(self, found: Sheet) -> None:
        """Write for the first time; InputError where that cannot be."""
        write(sheets.text(found, self.form), self.file)

    def write(self, found: Sheet) -> None:
        """Put these results in place of the ones before."""
        try:
            self.begin(found)
            self.failed = False
        except InputError as error:
            self.failed = True
            if not self._told:
                print_error(
                    error.message, "the work goes on, and what is not in the file is printed at the end"
                )
            self._told = True


def outputs(
    out: Path | None, junit: Path | None, *, replace: bool, reads: Sequence[Path] = ()
) -> tuple[OutFile | None, Path | None]:
    """The places of --out and --junit; InputError for one that is there, or is the other, or is read."""
    found = OutFile(require_free(out, replace=replace, taken=reads)) if out else None
    taken = [*reads, found.file] if found else reads
    return found, require_free(junit, replace=replace, taken=taken) if junit else None


def run(job: Job, out: OutFile | None) -> bool:
    """Do the work, a line of progress meanwhile; the file grows with it. Whether it was interrupted."""
    try:
        asyncio.run(_run(job, out))
    except KeyboardInterrupt:
        return True
    return False


def end(job: Job, form: Format, out: OutFile | None, width: int | None = None) -> None:
    """Write and print what there is; a table of at most `width` characters, where that is given."""
    found = job.sheet
    if out:
        out.write(found)
    if found.above or found.rows or (form == "json" and found.document is not None):
        terminal.data(sheets.text(found, form, width))
    if out and out.failed and out.form != form:
        terminal.data(sheets.text(found, out.form))


def exit_code(code: ExitCode, out: OutFile | None, *, interrupted: bool) -> ExitCode:
    """The command's own, unless it was interrupted, or all is well and the file is not."""
    if interrupted:
        return ExitCode.INTERRUPTED
    return ExitCode.BAD_INPUT if out and out.failed and code == ExitCode.DONE else code


def gate_code(shut_by: Sequence[str]) -> ExitCode:
    """Whether the gate opens; what keeps it shut is said on stderr."""
    for fault in shut_by:
        print_error(fault)
    return ExitCode.NOT_GOOD_ENOUGH if shut_by else ExitCode.DONE


def profiles(names: Sequence[str], assignments: tuple[str, ...]) -> tuple[Profile, ...]:
    """The profiles of these names with the settings of the command line."""
    given = Settings(max_new_tokens=None, seed=None, assignments=assignments)
    return distinct([chosen(name, given) for name in names])


async def _run(job: Job, out: OutFile | None) -> None:
    progress = ProgressLine()
    try:
        async with aclosing(job.run()) as events:
            async for event in events:
                progress.show(line(event))
                if out and isinstance(event, Completed):
                    progress.clear()
                    out.write(job.sheet)
    finally:
        progress.clear()
