"""`quantduel bench`: a matrix of context lengths and batch sizes for any profiles, without a screen."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict, Unpack, get_args

import click

from engine import tables
from engine.bench import document, plan
from engine.bench.run import Bench
from engine.cli import long_run
from engine.cli.long_run import FILE, OutFile, format_option
from engine.cli.options import count_option, overwrite_option
from engine.cli.profile_name import PROFILE
from engine.errors import ExitCode
from engine.jobs.sheet import Format
from engine.protocol.runs import Generator
from engine.session.schedule import Schedule


class Numbers(click.ParamType[tuple[int, ...]]):
    """`32,64,128`: positive integers, each once."""

    name = "numbers"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        parts = [part.strip() for part in str(value).split(",")]
        if not all(part.isascii() and part.isdigit() and int(part) for part in parts):
            self.fail(f"{value!r} is not a list of positive numbers such as 32,64,128", param, ctx)
        return tuple(dict.fromkeys(int(part) for part in parts))


class _Options(TypedDict):
    contexts: tuple[int, ...] | None
    steps: int
    batches: tuple[int, ...]
    concurrency: tuple[int, ...]
    requests: int
    repeat: int
    depth: bool
    generator: Generator
    schedule: Schedule
    form: Format
    out: Path | None
    resume: Path | None
    force: bool
    self_check: bool
    assignments: tuple[str, ...]


@click.command(short_help="Measure speed and memory over context lengths and batch sizes.")
@click.argument("names", nargs=-1, type=PROFILE, required=True, metavar="A [B…]")
@click.option("--contexts", type=Numbers(), default=None, metavar="N,…", help="Prompt lengths, in tokens.")
@count_option("--steps", "Tokens to decode after the prompt.", least=2, default=128)
@click.option("--batch", "batches", type=Numbers(), default=(1,), metavar="N,…", help="Batch sizes.")
@click.option(
    "--concurrency",
    type=Numbers(),
    default=(),
    metavar="N,…",
    help="Of served models: so many requests at once, level after level, in place of repeats.",
)
@count_option(
    "--requests", "With --concurrency: requests a level, or twice the level where that is more.", default=16
)
@count_option("--repeat", "Timed runs per row.", default=5)
@click.option(
    "--depth",
    is_flag=True,
    help=f"Fill the cache with the context first, untimed; then time a prompt of {plan.FOLLOW_UP_TOKENS} "
    "tokens after it, and decode from there.",
)
@click.option(
    "--generator",
    type=click.Choice(["engine", "hf"]),
    default="engine",
    show_default=True,
    help="The engine's own loop, or transformers' generate.",
)
@click.option(
    "--schedule",
    type=click.Choice(get_args(Schedule)),
    default="sequential",
    show_default=True,
    help="sequential: repeats alternate between profiles; concurrent: all profiles at once, and speeds on a "
    "shared device are marked; swap: one profile loaded at a time.",
)
@format_option
@click.option("--out", type=FILE, metavar="FILE", help=f"Write a file after each row; {long_run.HOW}")
@click.option(
    "--resume",
    type=FILE,
    metavar="FILE",
    help="Resume from a .json file that --out wrote, and keep writing to it.",
)
@overwrite_option
@click.option(
    "--self-check",
    is_flag=True,
    help="Measure everything again in reverse order, and check for measurement errors.",
)
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change a setting of all profiles, such as temperature=0.7.",
)
def bench(names: tuple[str, ...], **options: Unpack[_Options]) -> ExitCode:
    """Measure prefill, decode and memory of profiles A, B, … at every context length and batch size.

    With --concurrency: served models under many requests at once.

    Out of memory, and a context longer than the model's window, are rows like any other. Ctrl-C keeps what is
    done. Exit code 3 if a profile could not be loaded, 4 if a worker or the self-check failed.
    """
    file = _out(options)
    out = OutFile(file) if file else None
    job = Bench(_document(_settings(names, options), options["resume"]), self_check=options["self_check"])
    if out:
        out.begin(job.sheet)  # a file that cannot be written is reported now
    interrupted = long_run.run(job, out)
    long_run.end(job, options["form"], out)
    return long_run.exit_code(exit_code(job.document), out, interrupted=interrupted)


def _out(options: _Options) -> Path | None:
    """The file to write: --out, or what is resumed."""
    resume = options["resume"]
    if options["out"] is None or options["out"] == resume:
        return resume
    return tables.require_free(options["out"], replace=options["force"])


def exit_code(done: document.Document) -> ExitCode:
    """What the command ends with; what does not fit is a result, no failure."""
    kinds = {row.error.kind for row in done.rows if row.error}
    if any(row.error and row.profile not in done.header.models for row in done.rows):
        return ExitCode.NOT_LOADED
    broken = kinds - document.RESULTS or any(check.verdict == "failed" for check in done.checks)
    return ExitCode.NOT_GENERATED if broken else ExitCode.DONE


def _settings(names: Sequence[str], options: _Options) -> plan.Settings:
    settings = plan.Settings(
        profiles=long_run.profiles(names, options["assignments"]),
        contexts=options["contexts"] or plan.contexts(at_once=bool(options["concurrency"])),
        batches=options["batches"],
        steps=options["steps"],
        repeat=options["repeat"],
        depth=options["depth"],
        generator=options["generator"],
        schedule=options["schedule"],
        concurrency=options["concurrency"],
        requests=options["requests"],
    )
    return plan.checked(settings, self_check=options["self_check"])


def _document(settings: plan.Settings, resume: Path | None) -> document.Document:
    return document.resumed(document.read(resume), settings) if resume else document.begun(settings)
