"""`quantduel eval`: how far quantized models are from a reference on a text, without a screen."""

from collections.abc import Sequence
from pathlib import Path
from typing import Unpack

import click

from engine import tables
from engine.cli import long_run, print_error
from engine.cli.long_run import FILE, format_option
from engine.cli.options import (
    LimitOptions,
    MemorySize,
    count_option,
    limit_options,
    limits_of,
    overwrite_option,
    set_option,
)
from engine.cli.profile_name import PROFILE
from engine.config import text_files
from engine.config.texts import PYTHON_DOCS
from engine.errors import ExitCode, InputError
from engine.evaluation import baseline, settings
from engine.evaluation import gate as gates
from engine.evaluation.gate import Gate
from engine.evaluation.report import Report
from engine.evaluation.run import NO_GATE, Evaluation
from engine.evaluation.settings import Scored, Settings
from engine.jobs.sheet import Format
from engine.session.passages import LINE_BYTES
from engine.stats.verdict import GOOD


class _Options(LimitOptions):
    text: str
    window: int
    stride: int | None
    scored: Scored | None
    tokens: int | None
    speed: bool
    by_layer: bool
    by_depth: bool
    alone: bool
    line: int | None
    top_k: int | None
    form: Format
    out: Path | None
    force: bool
    baseline: Path | None
    junit: Path | None
    noise: bool
    assignments: tuple[str, ...]


@click.command("eval", short_help="Measure perplexity and KL divergence on a text.")
@click.argument("names", nargs=-1, type=PROFILE, required=True, metavar="A B [C…]")
@click.option(
    "--text",
    default=PYTHON_DOCS,
    show_default=True,
    metavar="TEXT",
    help="wikitext2, c4 or ptb from the hub; python-docs, which comes with Python; or a file.",
)
@count_option("--window", "Window length, in tokens.", least=2, default=512)
@count_option("--stride", "Tokens from one window to the next.  [default: the window]")
@click.option(
    "--scored",
    type=click.Choice(["half", "all"]),
    help="Which tokens of a window count: those in its second half, or all.  [default: half; "
    "all with --by-depth]",
)
@count_option("--tokens", "Use only the first N tokens of the text.", least=2)
@click.option("--speed/--no-speed", default=True, help="Also measure each model's decode speed.")
@click.option(
    "--by-layer",
    is_flag=True,
    help="Also measure what each layer of a candidate does alone, in the reference's model.",
)
@click.option(
    "--by-depth",
    is_flag=True,
    help="Also show figures by how many tokens of the window come before; try --window 8192.",
)
@click.option(
    "--alone",
    is_flag=True,
    help="Never load two models at once; logits that do not fit in memory go through the disk.",
)
@count_option(
    "--top-k",
    "Compare A's K likeliest tokens, all others as one: little to send, and KLDs are lower bounds.",
    least=2,
    metavar="K",
)
@click.option(
    "--line",
    type=MemorySize(),
    metavar="SIZE",
    help="What a comparison may send between machines: the reference's logits.  [default: 4GiB]",
)
@limit_options
@click.option(
    "--baseline",
    type=FILE,
    metavar="FILE",
    help="An earlier JSON report: exit code 5 if a candidate is worse now.",
)
@click.option(
    "--noise/--no-noise",
    default=True,
    help="With limits, first read the text with A in another precision; a limit below that is refused.",
)
@click.option("--junit", type=FILE, metavar="FILE", help="Write the gate's outcome as JUnit XML.")
@format_option
@click.option("--out", type=FILE, metavar="FILE", help=f"Write a file after each model; {long_run.HOW}")
@overwrite_option
@set_option
def eval(names: tuple[str, ...], **options: Unpack[_Options]) -> ExitCode:
    """Compare B, C, … with the reference A on a text: KL divergence, same top (how often both
    find the same token likeliest), perplexity.

    Each candidate gets a verdict: by default KLD at most 0.05, same top at least 90 %, perplexity ratio at
    most 1.05. Limits that are given replace all of these and make the run a gate: exit code 5 unless every
    candidate is shown to be within them.

    Ctrl-C prints the figures so far. Exit code 3 if a model could not be loaded, 4 if one failed later.
    """
    wanted = _settings(names, options)
    out, junit = long_run.outputs(
        options["out"], options["junit"], replace=options["force"], reads=settings.files_of(wanted.text)
    )
    gate = _gate(options, wanted)
    job = Evaluation(wanted, gate=gate or NO_GATE, together=not options["alone"])
    job.line_bytes = LINE_BYTES if options["line"] is None else options["line"]
    interrupted = long_run.run(job, out)
    report = job.report
    for row in (report.reference, *report.candidates):
        if row.error:
            print_error(f"{row.profile}: {row.error.message}", row.error.hint)
    long_run.end(job, options["form"], out)
    if junit:
        tables.write(gates.junit(report, job.failure), junit)
    code = exit_code(report)
    if job.failure and not report.reference.error:
        print_error(job.failure.message, job.failure.hint)
        code = ExitCode.BAD_INPUT
    if gate and code == ExitCode.DONE and not interrupted:
        code = long_run.gate_code(gates.shut_by(report))
    return long_run.exit_code(code, out, interrupted=interrupted)


def _gate(options: _Options, wanted: Settings) -> Gate | None:
    """The gate that was asked for, if one was."""
    limits = limits_of(options)
    known = baseline.read(options["baseline"]) if options["baseline"] else None
    if known:
        baseline.require_comparable(known, wanted)
    if not (limits or known):
        return None
    return Gate(limits or GOOD, known, with_noise=limits is not None and options["noise"])


def exit_code(report: Report) -> ExitCode:
    """What the command ends with: the worst of what happened."""
    failed = [row for row in (report.reference, *report.candidates) if row.error]
    if any(row.error and row.error.kind == "bad_input" for row in failed):
        return ExitCode.BAD_INPUT
    if any(row.weights_bytes is None for row in failed):
        return ExitCode.NOT_LOADED
    return ExitCode.NOT_GENERATED if failed else ExitCode.DONE


def _settings(names: Sequence[str], options: _Options) -> Settings:
    profiles = long_run.profiles(names, options["assignments"])
    settings.require_pair(profiles)
    window, stride = options["window"], options["stride"]
    if stride is not None and stride > window:
        raise InputError(f"--stride {stride}: expected at most {window}, the window")
    if options["by_layer"] and options["alone"]:
        raise InputError("--by-layer loads two models at once, which --alone rules out", "leave one out")
    text = settings.require_text(options["text"])
    for file in settings.files_of(text):
        text_files.texts(file)  # an error in it is reported before a model is loaded
    return Settings(
        profiles=profiles,
        text=text,
        window=window,
        stride=stride,
        scored=options["scored"] or ("all" if options["by_depth"] else "half"),
        tokens=options["tokens"],
        top_k=options["top_k"] or 0,
        decode_steps=settings.DECODE_STEPS if options["speed"] else 0,
        by_layer=options["by_layer"],
        by_depth=options["by_depth"],
    )
