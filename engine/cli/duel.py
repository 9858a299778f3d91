"""`quantduel duel`: one prompt, two models, both answers and their figures, without a screen."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from typing import Unpack

import click

from engine import report, turn
from engine.cli import loading, prompts, transcript
from engine.cli.loading import LoadedSide
from engine.cli.options import Settings, chosen, settings_options
from engine.cli.prompts import Conversation
from engine.duel import Duel
from engine.errors import ExitCode, InputError
from engine.profile import Profile
from engine.protocol import Message, Rendered
from engine.schedule import Schedule
from engine.turn import Side, Turn


class _Options(Settings):
    prompt: str | None
    prompt_file: str | None
    as_json: bool
    schedule: Schedule
    show_prompt: bool


@click.command(short_help="One prompt, two models.")
@click.argument("a")
@click.argument("b")
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
@click.option(
    "--schedule",
    type=click.Choice(["sequential", "concurrent"]),
    default="sequential",
    show_default=True,
    help="One after the other, or both at once: speeds on a shared device are then marked contended.",
)
@click.option("--show-prompt", is_flag=True, help="Show the text that the model reads, too.")
def duel(a: str, b: str, **options: Unpack[_Options]) -> ExitCode:
    """Put the same prompt to A and B. The sampling settings of A hold for both.

    Exit code 3 where a model could not be loaded, 4 where an answer failed; the other side still answers.
    """
    conversations = _conversations(options["prompt"], options["prompt_file"])
    turns = asyncio.run(_duel([chosen(a, options), chosen(b, options)], conversations, options))
    if options["as_json"]:
        click.echo(report.json(turns if options["prompt_file"] else turns[0]))
    return exit_code(turns)


async def _duel(
    profiles: Sequence[Profile], conversations: Sequence[Conversation], options: _Options
) -> list[Turn]:
    async with loading.loaded(profiles) as sides:
        transcript.failed_loads(sides)
        duel = Duel([side.session for side in sides], options["schedule"])
        return [await _turn(duel, sides, asked, options) for asked in conversations]


async def _turn(duel: Duel, sides: list[LoadedSide], asked: Conversation, options: _Options) -> Turn:
    generation = duel.sessions[0].profile.generation
    rendered = await _rendered(sides, asked) if options["show_prompt"] else [None] * len(sides)
    page = None if options["as_json"] else transcript.Transcript(duel)
    if page:
        page.begin(rendered)
    duel.forget(asked.history)
    async with aclosing(duel.ask(asked.prompt, generation)) as events:
        async for number, event in events:
            if page:
                page.add(number, event)
    if page:
        page.end()
    records = _records(duel, sides, rendered)
    _note_lost_workers(duel, sides)
    return turn.record(duel, asked.prompt, generation, records)


def _note_lost_workers(duel: Duel, sides: list[LoadedSide]) -> None:
    """A worker that died answering explains the turns after it, too."""
    for number, answer in duel.answers.items():
        if answer.failure and not sides[number].session.ready:
            sides[number].failure = answer.failure


def exit_code(turns: Sequence[Turn]) -> ExitCode:
    """What the command ends with: the worst of what happened."""
    sides = [side for answered in turns for side in answered.sides]
    if any(side.error and side.device is None for side in sides):
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
