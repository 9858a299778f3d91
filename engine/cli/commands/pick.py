"""`quantduel pick`: which quantization of a model is the fastest that is good enough, without a screen."""

from pathlib import Path
from typing import Unpack

import click

from engine.cli import long_run, print_error
from engine.cli.commands.eval import exit_code
from engine.cli.long_run import FILE, format_option
from engine.cli.options import (
    NOTHING_SET,
    LimitOptions,
    MemorySize,
    chosen,
    count_option,
    limit_options,
    limits_of,
    overwrite_option,
    set_option,
)
from engine.cli.profile_name import PROFILE
from engine.config.texts import PYTHON_DOCS
from engine.errors import ExitCode, InputError
from engine.evaluation import candidates as tried
from engine.evaluation import settings
from engine.evaluation.candidates import Candidate, Declined
from engine.evaluation.pick import Pick
from engine.evaluation.settings import Settings
from engine.jobs.profiles import distinct
from engine.jobs.sheet import Format
from engine.stats.verdict import GOOD

TOKENS = 2048


class _Options(LimitOptions):
    fits: int | None
    text: str
    tokens: int
    all_: bool
    form: Format
    out: Path | None
    force: bool
    assignments: tuple[str, ...]


@click.command(short_help="The fastest quantization that is good enough.")
@click.argument("source", type=PROFILE)
@click.option(
    "--fits", type=MemorySize(), metavar="SIZE", help="Only what runs in this much memory, such as 24GiB."
)
@limit_options
@click.option(
    "--text", default=PYTHON_DOCS, show_default=True, metavar="TEXT", help="As for `quantduel eval`."
)
@count_option("--tokens", "Use only the first N tokens of the text.", least=2, default=TOKENS)
@click.option(
    "--all", "all_", is_flag=True, help="Try GPTQ and AWQ, too, even if something cheaper is good enough."
)
@format_option
@click.option("--out", type=FILE, metavar="FILE", help=f"Write a file after each model; {long_run.HOW}")
@overwrite_option
@set_option
def pick(source: str, **options: Unpack[_Options]) -> ExitCode:
    """Try the methods for SOURCE that fit this machine, and name the fastest that is good enough.

    SOURCE is a profile or a model; its full precision is the reference. LLM.int8, NF4 and round to nearest
    come first; GPTQ and AWQ, which calibrate for minutes to hours, only if none of these will do. Good
    enough is what it is for `quantduel eval`. Exit code 5 if none is.
    """
    job = _job(source, options)
    text = job.settings.text
    out, _ = long_run.outputs(options["out"], None, replace=options["force"], reads=settings.files_of(text))
    interrupted = long_run.run(job, out)
    for row in (job.report.reference, *job.report.candidates):
        if row.error:
            print_error(f"{row.profile}: {row.error.message}", row.error.hint)
    long_run.end(job, options["form"], out)
    code = ExitCode.DONE if job.choice else exit_code(job.report) or ExitCode.NOT_GOOD_ENOUGH
    return long_run.exit_code(code, out, interrupted=interrupted)


def _job(source: str, options: _Options) -> Pick:
    reference = tried.reference(chosen(source, {**NOTHING_SET, "assignments": options["assignments"]}))
    text = settings.require_text(options["text"])
    planned = list(tried.fitting(tried.candidates(reference), options["fits"]))
    found = [each for each in planned if isinstance(each, Candidate)]
    declined = [each for each in planned if isinstance(each, Declined)]
    if not found:
        reasons = "; ".join(f"{each.name} {each.why}" for each in declined)
        raise InputError(f"nothing to try for {reference.name}: {reasons}", "`quantduel plan` has the sums")
    profiles = distinct([reference, *(each.profile for each in found)])
    wanted = Settings(profiles=profiles, text=text, tokens=options["tokens"])
    job = Pick(wanted, found, limits_of(options) or GOOD, try_all=options["all_"])
    job.declined += declined
    return job
