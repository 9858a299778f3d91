"""`quantduel eval`: how far quantized models are from a reference on a text, without a screen."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path
from typing import TypedDict, Unpack

import click

from engine import tables as files
from engine.bench import plan
from engine.cli import print_error, terminal
from engine.cli.loading import ProgressLine
from engine.cli.options import chosen, force_option, set_option
from engine.cli.out_file import OutFile
from engine.config import text_files
from engine.config.texts import PYTHON_DOCS
from engine.errors import ExitCode, InputError
from engine.evaluation import settings
from engine.evaluation import text as texts
from engine.evaluation.events import Advanced, EvaluationEvent, Finished, Loading, Noted, Timing
from engine.evaluation.report import Report
from engine.evaluation.run import Evaluation
from engine.evaluation.settings import Scored, Settings
from engine.session.progress import stage_text
from engine.units import seconds_text, speed_text


class _Options(TypedDict):
    text: str
    window: int
    stride: int | None
    scored: Scored
    tokens: int | None
    speed: bool
    alone: bool
    form: texts.Format
    out: Path | None
    force: bool
    assignments: tuple[str, ...]


@click.command("eval", short_help="Perplexity and KL divergence on a text.")
@click.argument("names", nargs=-1, required=True, metavar="A B [C…]")
@click.option(
    "--text",
    default=PYTHON_DOCS,
    show_default=True,
    metavar="TEXT",
    help="wikitext2, c4 or ptb from the hub; python-docs, which comes with Python; or a file.",
)
@click.option("--window", type=click.IntRange(min=2), default=512, show_default=True, help="Tokens at once.")
@click.option(
    "--stride", type=click.IntRange(min=1), metavar="N", help="From window to window; else the window."
)
@click.option(
    "--scored",
    type=click.Choice(["half", "all"]),
    default="half",
    show_default=True,
    help="Which tokens of a window count: those with half a window before them, or all.",
)
@click.option(
    "--tokens", type=click.IntRange(min=2), metavar="N", help="Of the text, from its beginning; else all."
)
@click.option("--speed/--no-speed", default=True, help="Take each model's decode speed, too.")
@click.option(
    "--alone",
    is_flag=True,
    help="Never load two models at once; logits too many to be held go over the disk.",
)
@click.option("--format", "form", type=click.Choice(texts.FORMATS), default="table", help="What stdout gets.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write a file after each model; its name's end says how: " + " ".join(texts.SUFFIXES),
)
@force_option
@set_option
def eval(names: tuple[str, ...], **options: Unpack[_Options]) -> ExitCode:
    """Compare B, C, … with the reference A on a text: KL divergence, equal first choices, perplexity.

    Ctrl-C prints the figures so far. Exit code 3 where a model could not be loaded, 4 where one failed later.
    """
    out = options["out"]
    form = texts.format_of(out) if out else None
    if out:
        out = files.require_free(out, replace=options["force"])
    kept = OutFile(out) if out else None
    running, interrupted = Evaluation(_settings(names, options), together=not options["alone"]), False
    try:
        asyncio.run(_run(running, kept, form))
    except KeyboardInterrupt:
        interrupted = True
    report = running.report
    if kept and form:
        kept.write(texts.text(report, form))
    for row in (report.reference, *report.candidates):
        if row.error:
            print_error(f"{row.profile}: {row.error.message}", row.error.hint)
    if report.convention or options["form"] == "json":
        terminal.data(texts.text(report, options["form"]))
    if kept and form and kept.failed and form != options["form"]:
        terminal.data(texts.text(report, form))
    code = ExitCode.INTERRUPTED if interrupted else exit_code(report)
    return kept.exit_code(code) if kept else code


def exit_code(report: Report) -> ExitCode:
    """What the command ends with: the worst of what happened."""
    failed = [row for row in (report.reference, *report.candidates) if row.error]
    if any(row.error and row.error.kind == "bad_input" for row in failed):
        return ExitCode.BAD_INPUT
    if any(row.weights_bytes is None for row in failed):
        return ExitCode.NOT_LOADED
    return ExitCode.NOT_GENERATED if failed else ExitCode.DONE


def _settings(names: Sequence[str], options: _Options) -> Settings:
    given = options["assignments"]
    profiles = [chosen(name, {"max_new_tokens": None, "seed": None, "assignments": given}) for name in names]
    settings.require_pair(profiles)
    window, stride = options["window"], options["stride"]
    if stride is not None and stride > window:
        raise InputError(f"--stride {stride}: expected at most {window}, the window")
    text = settings.require_text(options["text"])
    if text not in settings.TEXTS:
        text_files.texts(Path(text))  # a fault in it is told before a model is loaded
    return Settings(
        profiles=plan.distinct(profiles),
        text=text,
        window=window,
        stride=stride,
        scored=options["scored"],
        tokens=options["tokens"],
        decode_steps=settings.DECODE_STEPS if options["speed"] else 0,
    )


async def _run(running: Evaluation, out: OutFile | None, form: texts.Format | None) -> None:
    progress = ProgressLine()
    try:
        async with aclosing(running.run()) as events:
            async for event in events:
                progress.show(_shown(event))
                if out and form and isinstance(event, Finished):
                    progress.clear()
                    out.write(texts.text(running.report, form))
    finally:
        progress.clear()


def _shown(event: EvaluationEvent) -> str:
    match event:
        case Loading(profile, stage):
            return f"{profile}: {stage_text(stage)}"
        case Timing(profile):
            return f"{profile}: decode speed"
        case Advanced(profile, done, total, read_tok_s, share, left_s):
            left = f", about {seconds_text(left_s)} left" if left_s else ""
            return f"{share:.0%}{left}: {profile}, {done} of {total} tokens scored, {speed_text(read_tok_s)}"
        case Finished(profile):
            return f"{profile}: done"
        case Noted(text):
            return text
