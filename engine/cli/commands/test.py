"""`quantduel test`: questions with checkable answers for two models or more, without a screen."""

from pathlib import Path
from typing import TypedDict, Unpack

import click

from engine import tables
from engine.cli import long_run, print_error
from engine.cli.long_run import FILE, format_option
from engine.cli.options import FiniteRange, count_option, overwrite_option
from engine.cli.profile_name import PROFILE
from engine.errors import ExitCode
from engine.jobs.sheet import Format
from engine.testing import gate as gates
from engine.testing import lm_eval, sets
from engine.testing import settings as pairs
from engine.testing.gate import Limits
from engine.testing.report import Report
from engine.testing.run import Exam
from engine.testing.settings import NEW_TOKENS, Settings


class _Options(TypedDict):
    questions: str
    limit: int | None
    max_new_tokens: int
    again: bool
    min_accuracy: float | None
    max_drop: float | None
    junit: Path | None
    form: Format
    out: Path | None
    force: bool
    assignments: tuple[str, ...]


@click.command(short_help="Ask questions with checkable answers, and compare who is right.")
@click.argument("names", nargs=-1, type=PROFILE, required=True, metavar="A B [C…]")
@click.option(
    "--set",
    "questions",
    required=True,
    metavar="FILE|NAME",
    help=f"{', '.join(sets.SHIPPED)}, a JSONL file of your own, or {lm_eval.HELP}.",
)
@count_option("--limit", "Only the first N questions.")
@count_option("--max-new-tokens", "Longest answer to a question that sets none itself.", default=NEW_TOKENS)
@click.option("--again", is_flag=True, help="Ask everything, also what was answered in an earlier run.")
@click.option(
    "--min-accuracy",
    type=FiniteRange(0, 100),
    metavar="PERCENT",
    help="Exit code 5 unless B, C, … are shown to be right this often.",
)
@click.option(
    "--max-drop",
    type=FiniteRange(0, 100),
    metavar="POINTS",
    help="Exit code 5 unless their accuracy is shown to be at most this far below A's.",
)
@click.option("--junit", type=FILE, metavar="FILE", help="Write the gate's outcome as JUnit XML.")
@format_option
@click.option("--json", "form", flag_value="json", help="The same as --format json.")
@click.option("--out", type=FILE, metavar="FILE", help=f"Write a file after each model; {long_run.HOW}")
@overwrite_option
@click.option(
    "--setting",
    "assignments",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change a setting of all profiles, such as model.device=cpu.",
)
def test(names: tuple[str, ...], **options: Unpack[_Options]) -> ExitCode:
    """Ask A, B, … the same questions, check the answers, and compare each model with A.

    One model is loaded at a time; answers are greedy. The figures are accuracies with their intervals, flips
    (right to wrong, wrong to right) and McNemar's exact test. Every answer is kept as it comes: run the same
    command again after Ctrl-C, and it goes on.

    Exit code 3 if a model could not be loaded, 4 if one failed later, 5 if a limit is not shown to
    be kept.
    """
    out, junit = long_run.outputs(
        options["out"], options["junit"], replace=options["force"], reads=[Path(options["questions"])]
    )
    profiles = long_run.profiles(names, options["assignments"])
    pairs.require_pair(profiles)
    questions = sets.find(options["questions"], options["limit"])
    settings = Settings(profiles=profiles, max_new_tokens=options["max_new_tokens"])
    job = Exam(settings, questions, again=options["again"])
    interrupted = long_run.run(job, out)
    report, limits = job.report, _limits(options)
    for row in report.rows:
        if row.error:
            print_error(f"{row.profile}: {row.error.message}", row.error.hint)
    long_run.end(job, options["form"], out)
    if junit:
        tables.write(gates.junit(report, limits), junit)
    code = exit_code(report)
    if code == ExitCode.DONE and not interrupted:
        code = long_run.gate_code(gates.shut_by(report, limits))
    return long_run.exit_code(code, out, interrupted=interrupted)


def exit_code(report: Report) -> ExitCode:
    """What the command ends with; a question that cannot be answered is a result, no failure."""
    failed = [row for row in report.rows if row.error]
    if any(row.accuracy is None for row in failed):
        return ExitCode.NOT_LOADED
    return ExitCode.NOT_GENERATED if failed else ExitCode.DONE


def _limits(options: _Options) -> Limits:
    return Limits(min_accuracy=options["min_accuracy"], max_drop=options["max_drop"])
