"""`quantduel bench`: a matrix of context lengths and batch sizes for any profiles, without a screen."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path
from typing import TypedDict, Unpack, get_args

import click

from engine import tables
from engine.bench import document, plan
from engine.bench import text as texts
from engine.bench.events import Advanced, BenchEvent, Checked, Filled, Loading, Noted
from engine.bench.run import Bench
from engine.cli import terminal
from engine.cli.loading import ProgressLine
from engine.cli.options import chosen, force_option
from engine.cli.out_file import OutFile
from engine.errors import ExitCode
from engine.protocol import Generator
from engine.session.progress import stage_text
from engine.session.schedule import Schedule
from engine.units import seconds_text


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
            self.fail(f"{value!r} is no list of positive numbers such as 32,64,128", param, ctx)
        return tuple(dict.fromkeys(int(part) for part in parts))


class _Options(TypedDict):
    contexts: tuple[int, ...]
    steps: int
    batches: tuple[int, ...]
    repeat: int
    depth: bool
    generator: Generator
    schedule: Schedule
    form: texts.Format
    out: Path | None
    resume: Path | None
    force: bool
    self_check: bool
    assignments: tuple[str, ...]


@click.command(short_help="Speed and memory over context lengths and batch sizes.")
@click.argument("names", nargs=-1, required=True, metavar="A [B…]")
@click.option(
    "--contexts", type=Numbers(), default=plan.CONTEXTS, metavar="N,…", help="Prompt lengths, in tokens."
)
@click.option(
    "--steps", type=click.IntRange(min=2), default=128, show_default=True, help="Tokens decoded behind them."
)
@click.option("--batch", "batches", type=Numbers(), default=(1,), metavar="N,…", help="Sequences at once.")
@click.option("--repeat", type=click.IntRange(min=1), default=5, show_default=True, help="Timed runs a row.")
@click.option(
    "--depth",
    is_flag=True,
    help=f"Fill the cache with the context off the clock; time a prompt of {plan.FOLLOW_UP_TOKENS} "
    "tokens behind it, and decode from there.",
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
    help="Repeats in turn; all profiles at once (speeds on a shared device are then marked); or one profile "
    "loaded at a time.",
)
@click.option("--format", "form", type=click.Choice(texts.FORMATS), default="table", help="What stdout gets.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write a file after each row; its name's end says how: " + " ".join(texts.SUFFIXES),
)
@click.option(
    "--resume",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Go on with a .json file that --out wrote, and write into it.",
)
@force_option
@click.option(
    "--self-check", is_flag=True, help="Measure all twice, the other way round too; look for traps."
)
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Change the profiles.")
def bench(names: tuple[str, ...], **options: Unpack[_Options]) -> ExitCode:
    """Measure prefill, decode and memory of profiles A, B, … at every context length and batch size.

    Out of memory, and a context longer than the model's window, are rows like others. Ctrl-C keeps what is
    done. Exit code 3 where a profile could not be loaded, 4 where a worker or the self-check failed.
    """
    out = _out(options)
    form = texts.format_of(out) if out else None
    found = _document(_settings(names, options), options["resume"])
    if out and form:
        tables.write(texts.text(found, form), out)  # a file that cannot be written is told now
    kept = OutFile(out) if out else None
    running, interrupted = Bench(found, self_check=options["self_check"]), False
    try:
        asyncio.run(_run(running, kept, form))
    except KeyboardInterrupt:
        interrupted = True
    terminal.data(texts.text(running.document, options["form"]))
    if kept and form and kept.failed and form != options["form"]:
        terminal.data(texts.text(running.document, form))
    code = ExitCode.INTERRUPTED if interrupted else exit_code(running.document)
    return kept.exit_code(code) if kept else code


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
    given = options["assignments"]
    profiles = [chosen(name, {"max_new_tokens": None, "seed": None, "assignments": given}) for name in names]
    return plan.Settings(
        profiles=plan.distinct(profiles),
        contexts=options["contexts"],
        batches=options["batches"],
        steps=options["steps"],
        repeat=options["repeat"],
        depth=options["depth"],
        generator=options["generator"],
        schedule=options["schedule"],
    )


def _document(settings: plan.Settings, resume: Path | None) -> document.Document:
    return document.resumed(document.read(resume), settings) if resume else document.begun(settings)


async def _run(running: Bench, out: OutFile | None, form: texts.Format | None) -> None:
    progress = ProgressLine()
    try:
        async with aclosing(running.run()) as events:
            async for event in events:
                progress.show(_shown(event))
                if out and form and isinstance(event, Filled | Checked):
                    progress.clear()
                    out.write(texts.text(running.document, form))
    finally:
        progress.clear()


def _shown(event: BenchEvent) -> str:
    match event:
        case Loading(profile, stage):
            return f"{profile}: {stage_text(stage)}"
        case Advanced(profile, shape, doing, share, left_s):
            left = f", about {seconds_text(left_s)} left" if left_s else ""
            return f"{share:.0%}{left}: {profile}, context {shape.context}, batch {shape.batch}, {doing}"
        case Filled(row):
            return f"{row.profile}, context {row.context}, batch {row.batch}: done"
        case Noted(text):
            return text
        case Checked():
            return "checked"
