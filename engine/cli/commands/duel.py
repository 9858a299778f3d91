"""`quantduel duel`: one prompt, two models or more, their answers and figures, without a screen."""

import asyncio
import sys
from collections.abc import Sequence
from contextlib import aclosing
from typing import Unpack

import click
from msgspec.structs import replace

from engine import tables
from engine.cli import loading, print_error, prompts, terminal, transcript
from engine.cli.loading import LoadedSide
from engine.cli.options import (
    Settings,
    SideLimit,
    SideMemorySize,
    chosen,
    chosen_schedule,
    force_option,
    more_sides,
    schedule_option,
    settings_options,
    side_limits,
)
from engine.cli.profile_name import PROFILE
from engine.cli.prompts import Conversation
from engine.config.profile import Profile
from engine.duel import turn
from engine.duel.duel import Duel
from engine.duel.lens import Lens
from engine.duel.looking import look, on_the_line
from engine.duel.sides import LETTERS
from engine.duel.swap import return_text
from engine.duel.turn import Side, Turn
from engine.errors import ExitCode, HistoryError, InputError
from engine.protocol.answers import Message, Rendered
from engine.protocol.loading import Loaded, Staged, Started
from engine.recordings.keeper import Keeper
from engine.session.progress import stage_text
from engine.session.schedule import AskedSchedule, Schedule


class _Options(Settings):
    prompt: str | None
    prompt_file: str | None
    as_json: bool
    schedule: AskedSchedule
    show_prompt: bool
    lens: bool
    lens_side: str
    no_history: bool
    force: bool
    memory_limits: tuple[SideLimit, ...]


@click.command(short_help="One prompt, two to six models.")
@click.argument("a", type=PROFILE)
@click.argument("b", type=PROFILE)
@more_sides
@click.option("-p", "--prompt", metavar="TEXT", help="The prompt; `-` reads it from stdin.")
@click.option(
    "--prompt-file",
    metavar="FILE",
    help='One prompt a line, or JSONL with {"prompt": …} or {"messages": […]}. Each is a fresh conversation.',
)
@click.option(
    "--json", "as_json", is_flag=True, help="One JSON document on stdout: a turn, or a list for a file."
)
@settings_options
@schedule_option(default="auto")
@click.option(
    "--memory-limit",
    "memory_limits",
    type=SideMemorySize(),
    multiple=True,
    metavar="[A=|B=|…]SIZE",
    help="Host memory that a worker may use, libraries included, such as 900MiB or A=400MiB.",
)
@force_option
@click.option("--show-prompt", is_flag=True, help="Also show the text that the model reads.")
@click.option("--lens", is_flag=True, help="Score both answers with both models: where and why they diverge.")
@click.option(
    "--lens-side",
    type=click.Choice(LETTERS[1:], case_sensitive=False),
    default="B",
    show_default=True,
    help="Of more than two sides, the one that the lens reads next to A.",
)
@click.option("--no-history", is_flag=True, help="Do not save this duel.")
def duel(a: str, b: str, more: tuple[str, ...], **options: Unpack[_Options]) -> ExitCode:
    """Give the same prompt to A and B, or to as many as six. The sampling settings of A hold for all.

    A is the reference: every other side is compared with it. Exit code 3 if a model could not be loaded,
    4 if an answer failed; the other sides still answer.
    """
    conversations = _conversations(options["prompt"], options["prompt_file"])
    profiles = [chosen(name, options) for name in (a, b, *more)]
    _lens_side(options, len(profiles))
    limits = side_limits(options["memory_limits"], len(profiles))
    schedule = chosen_schedule(options["schedule"], profiles, limits)
    turns = asyncio.run(_duel(profiles, conversations, options, schedule, limits))
    if options["as_json"]:
        terminal.data(tables.json(turns if options["prompt_file"] else turns[0]))
    return exit_code(turns)


async def _duel(
    profiles: Sequence[Profile],
    conversations: Sequence[Conversation],
    options: _Options,
    schedule: Schedule,
    limits: Sequence[int | None],
) -> list[Turn]:
    swaps = schedule == "swap"
    async with loading.loaded(profiles, limits, force=options["force"], later=swaps) as sides:
        transcript.failed_loads(sides)
        duel = Duel([side.session for side in sides], schedule)
        duel.lens_side = _lens_side(options, len(sides))
        duel.refused = {number for number, side in enumerate(sides) if side.failure}
        unkept: list[HistoryError] = []  # reported between answers, never within a line of one
        keeper = None if options["no_history"] else Keeper(on_error=unkept.append)
        turns: list[Turn] = []
        try:
            for asked in conversations:
                turns.append(await _turn(duel, sides, asked, options, keeper))
                _report(unkept)
        finally:
            _follow(duel, sides)  # so that the last worker is ended too
            if keeper:
                await keeper.aclose()
                _report(unkept)
        return turns


async def _turn(
    duel: Duel, sides: list[LoadedSide], asked: Conversation, options: _Options, keeper: Keeper | None
) -> Turn:
    if duel.schedule != "swap":
        transcript.failed_loads(await loading.newly_lost(sides))
    generation = duel.generation
    rendered = await _rendered(sides, asked) if options["show_prompt"] else [None] * len(sides)
    page = None if options["as_json"] else transcript.Transcript(duel)
    if page:
        page.begin(rendered)
    duel.forget(asked.history)
    progress = loading.ProgressLine()
    answers = duel.ask(asked.prompt, generation)
    if keeper:
        answers = keeper.keep(duel, asked.prompt, answers, generation)
    async with aclosing(answers) as events:
        async for number, event in events:
            if isinstance(event, Started | Staged | Loaded):
                progress.show(_loading_text(duel, number, event))
            elif page:
                page.add(number, event)
    if page:
        page.end()
    if options["lens"] and (line := on_the_line(duel)):
        terminal.say(line, err=True)
    lens = await look(duel) if options["lens"] else None
    if keeper and isinstance(lens, Lens):
        keeper.add_lens(lens)
    if page and lens:
        page.add_lens(lens)
    _follow(duel, sides)
    for found in duel.swap.returns:
        terminal.say(return_text(found), err=True)
    records = _records(duel, sides, rendered)
    _note_lost_workers(duel, sides)
    return replace(turn.record(duel, asked.prompt, generation, records), lens=lens)


def _lens_side(options: _Options, sides: int) -> int:
    """Which side the lens reads next to A; InputError where there is none of that letter."""
    letter = options["lens_side"].upper()
    if letter not in LETTERS[:sides]:
        raise InputError(
            f"--lens-side {letter}: there is no such side", f"the last one is {LETTERS[sides - 1]}"
        )
    return LETTERS.index(letter)


def _report(unkept: list[HistoryError]) -> None:
    """Say why the duel is not kept, once."""
    while unkept:
        error = unkept.pop()
        sys.stdout.flush()
        print_error(f"this duel is not kept: {error.message}", error.hint)


def _loading_text(duel: Duel, number: int, event: Started | Staged | Loaded) -> str:
    """How far a side is that is loaded within a turn; nothing once it is."""
    if isinstance(event, Loaded):
        return ""
    doing = stage_text(event) if isinstance(event, Staged) else "starting"
    return f"{duel.sessions[number].profile.name}: {doing}"


def _follow(duel: Duel, sides: list[LoadedSide]) -> None:
    """Take over the sessions that swapping put into the duel."""
    for number, session in enumerate(duel.sessions):
        sides[number].session = session
        sides[number].load_s = duel.swap.load_s.get(number, sides[number].load_s)


def _note_lost_workers(duel: Duel, sides: list[LoadedSide]) -> None:
    """A worker that died answering explains the turns after it, too."""
    for number, answer in duel.answers.items():
        if answer.failure and not sides[number].session.ready:
            sides[number].failure = answer.failure


def exit_code(turns: Sequence[Turn]) -> ExitCode:
    """What the command ends with: the worst of what happened."""
    sides = [side for answered in turns for side in answered.sides]
    if any(side.error and side.model is None for side in sides):
        return ExitCode.NOT_LOADED
    return ExitCode.NOT_GENERATED if any(side.error for side in sides) else ExitCode.DONE


def _conversations(prompt: str | None, prompt_file: str | None) -> list[Conversation]:
    if (prompt is None) == (prompt_file is None):
        raise InputError(
            "expected one of -p TEXT and --prompt-file FILE", "`-p -` reads the prompt from stdin"
        )
    return prompts.of_file(prompt_file) if prompt_file else [prompts.of_argument(prompt or "")]


async def _rendered(sides: list[LoadedSide], asked: Conversation) -> list[str | None]:
    messages = (*asked.history, Message("user", asked.prompt))
    results = [await side.session.render(messages) if side.session.ready else None for side in sides]
    return [result.text if isinstance(result, Rendered) else None for result in results]


def _records(duel: Duel, sides: list[LoadedSide], rendered: Sequence[str | None]) -> list[Side]:
    return [
        turn.side(
            side.session,
            duel.answers.get(number),
            load_s=side.load_s,
            failure=side.failure,
            rendered_prompt=rendered[number],
        )
        for number, side in enumerate(sides)
    ]
