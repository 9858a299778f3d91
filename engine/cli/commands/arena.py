"""`quantduel arena`: blind votes without a screen. Answers without names, a key for a vote, then the reveal.

Keys are read while no event loop runs, so that Ctrl-C ends the command at once.
"""

import asyncio
import sys
from collections.abc import Sequence
from contextlib import aclosing
from typing import Unpack

import click
from msgspec.structs import replace

from engine import tables
from engine.cli import loading, print_error, prompts, terminal, transcript
from engine.cli.loading import LoadedSide, ProgressLine
from engine.cli.options import Settings, chosen, more_sides, settings_options
from engine.cli.profile_name import PROFILE
from engine.cli.prompts import Conversation
from engine.cli.terminal import Styled
from engine.duel.duel import Duel
from engine.duel.sides import LETTERS
from engine.ending import ending_text
from engine.errors import ExitCode, HistoryError, InputError
from engine.results import Results
from engine.units import speed_text
from engine.votes import leaderboard, leaderboard_text
from engine.votes.blind import Blind
from engine.votes.votes import BlindTurn, Choice, exclusion_of, verdict_of

KEYS: dict[str, Choice] = {"l": "left", "r": "right", "t": "tie", "b": "both bad"}
SKIP, QUIT = "s", "q"
QUESTION = "l left is better · r right · t tie · b both bad · s skip · q quit: "


class _Options(Settings):
    prompts: str
    shuffle_seed: int | None
    as_json: bool


@click.command(short_help="Vote blind on the answers to a file of prompts.")
@click.argument("a", type=PROFILE)
@click.argument("b", type=PROFILE)
@more_sides
@click.option(
    "--prompts",
    metavar="FILE",
    required=True,
    help='One prompt a line, or JSONL with {"prompt": …} or {"messages": […]}. Each is a fresh conversation.',
)
@click.option("--shuffle-seed", type=int, metavar="S", help="Seed of the order of the sides.")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print turns and votes as one JSON document on stdout; everything else on stderr.",
)
@settings_options
def arena(a: str, b: str, more: tuple[str, ...], **options: Unpack[_Options]) -> ExitCode:
    """Vote blind on the answers of A and B: which of the two texts is better? Then see who was who.

    Of more sides, two are drawn for each prompt. The sampling settings of A hold for all. In a pipe, stdin
    has a vote a line: l, r, t, b, s or q. Votes are kept, and `quantduel leaderboard` adds them up. Exit code
    3 if a model could not be loaded, 4 if an answer failed.
    """
    if options["prompts"] == "-":
        raise InputError("the prompts cannot come from stdin", "votes are read from stdin")
    asked = prompts.of_file(options["prompts"])
    profiles = [chosen(name, options) for name in (a, b, *more)]
    with asyncio.Runner() as runner:
        models = loading.loaded(profiles)
        sides = runner.run(models.__aenter__())
        try:
            return _arena(runner, sides, asked, options)
        finally:
            runner.run(models.__aexit__(None, None, None))


def _arena(
    runner: asyncio.Runner, sides: list[LoadedSide], asked: Sequence[Conversation], options: _Options
) -> ExitCode:
    if any(side.failure for side in sides):
        transcript.failed_loads(sides)
        return ExitCode.NOT_LOADED
    blind = Blind(Duel([side.session for side in sides]), options["shuffle_seed"])
    voting = Voting(runner, blind, on_stderr=options["as_json"])
    voting.run(asked)
    if options["as_json"]:
        terminal.data(tables.json(voting.turns))
    elif voting.turns:
        board = leaderboard.leaderboard(voting.turns)
        terminal.say()
        terminal.say_lines(leaderboard_text.text(board, "table"))
    failed = any(exclusion_of(turn) == "failed" for turn in voting.turns)
    return ExitCode.NOT_GENERATED if failed else ExitCode.DONE


class Voting:
    """Turn after turn: ask, show, take the vote, keep it, reveal."""

    def __init__(self, runner: asyncio.Runner, blind: Blind, *, on_stderr: bool) -> None:
        self.turns: list[BlindTurn] = []
        self._runner = runner
        self._blind = blind
        self._on_stderr = on_stderr
        self._results: Results | None = Results()

    def run(self, asked: Sequence[Conversation]) -> None:
        """All prompts, or until the voter has had enough."""
        for number, conversation in enumerate(asked, 1):
            self._say(f"\n{number} of {len(asked)}  {conversation.prompt}", bold=True)
            self._runner.run(_ask(self._blind, conversation))
            turn = self._blind.turn()
            failed = exclusion_of(turn) == "failed"
            key = SKIP if failed else self._vote(turn)
            if key in KEYS:
                turn = replace(turn, verdict=verdict_of(KEYS[key], turn.left))
            self._keep(turn)
            if failed:
                self._tell_failure(turn)
            if key == QUIT or not self._blind.ready:
                return
            if key in KEYS:
                self._reveal(turn)

    def _vote(self, turn: BlindTurn) -> str:
        for name, side in (("Left", turn.left), ("Right", 1 - turn.left)):
            self._say(f"\n{name}", bold=True)
            self._say(turn.answers[side].text.strip())
        self._say("")
        while (key := self._key()) not in {*KEYS, SKIP, QUIT}:
            self._say(f"{key!r} is not one of l, r, t, b, s, q")
        return key

    def _key(self) -> str:
        """A key on a terminal, a line in a pipe; the end of the input is `q`."""
        terminal.say(QUESTION, err=True, end="")
        if sys.stdin.isatty():
            key = click.getchar().lower()
            terminal.say(key if key.isprintable() else "", err=True)
            return QUIT if key in {"", "\x04"} else key
        line = sys.stdin.readline()
        terminal.say(err=True)
        return line.strip().lower() if line else QUIT

    def _keep(self, turn: BlindTurn) -> None:
        self.turns.append(turn)
        if self._results is None:
            return
        try:
            self._results.keep_turn(turn)
        except HistoryError as error:
            print_error(error.message, error.hint)
            self._results = None  # said once

    def _reveal(self, turn: BlindTurn) -> None:
        for name, side in (("Left", turn.left), ("Right", 1 - turn.left)):
            answer = turn.answers[side]
            speed = answer.metrics.decode_tok_s if answer.metrics else None
            tokens = answer.metrics.new_tokens if answer.metrics else 0
            ending = ending_text(answer.finish_reason, tokens, turn.generation.max_new_tokens)
            spent = ", ".join(part for part in (f"{tokens} tokens", ending) if part)
            words = f"{answer.profile}  ({answer.label}, decode {speed_text(speed)}, {spent})"
            self._say(f"{name:5} was {LETTERS[self._blind.pair[side]]}  {words}")
        if exclusion_of(turn):
            self._say(f"The vote does not count: {exclusion_of(turn)}")

    def _tell_failure(self, turn: BlindTurn) -> None:
        for answer in turn.answers:
            if answer.failure is not None:
                transcript.report(answer.failure, "this turn does not count", answer.profile)

    def _say(self, text: str, *, bold: bool = False) -> None:
        for line in text.splitlines() or [""]:
            terminal.say(Styled(line, bold=bold), err=self._on_stderr)


async def _ask(blind: Blind, asked: Conversation) -> None:
    """Both answers, with a line meanwhile that reveals nothing of either."""
    progress = ProgressLine()
    progress.show("both are answering")
    async with aclosing(blind.ask(asked.prompt, asked.history)) as events:
        async for _ in events:
            pass
    progress.clear()
