"""`quantduel chat`: a plain chat with one model in a terminal, or one answer in a pipe.

Lines are read while no event loop runs, so that Ctrl-C at the prompt clears the line, and Ctrl-C during an
answer stops the answer.
"""

import asyncio
import signal
import sys
from contextlib import aclosing
from typing import Unpack

import click

from engine.cli import loading, prompts, terminal, transcript
from engine.cli.loading import LoadedSide
from engine.cli.options import Settings, chosen, force_option, settings_options
from engine.cli.profile_name import PROFILE
from engine.duel.answer import Answer
from engine.duel.duel import Duel
from engine.errors import ExitCode, InputError
from engine.protocol.answers import Decoded, Finished
from engine.sanitize import is_text

KEYS = "/clear starts over, /quit or Ctrl-D leaves, Ctrl-C stops an answer, a second Ctrl-C the model"


@click.command(short_help="Chat with one model, in a terminal or in a pipe.")
@click.argument("name", metavar="PROFILE", type=PROFILE)
@settings_options
@force_option
def chat(name: str, force: bool, **settings: Unpack[Settings]) -> ExitCode:
    """Chat with PROFILE. In a pipe, stdin is one prompt and stdout is the answer.

    In a terminal: /clear starts a new conversation, /quit or Ctrl-D leaves, Ctrl-C stops an answer.
    """
    profile = chosen(name, settings)
    prompt = None if sys.stdin and sys.stdin.isatty() else prompts.of_stdin()
    if prompt is not None and not prompt.strip():
        raise InputError("the prompt is empty", "such as: echo hi | quantduel chat " + name)
    with asyncio.Runner() as runner:
        model = loading.loaded([profile], force=force)
        (side,) = runner.run(model.__aenter__())
        try:
            return _with_model(runner, side, prompt)
        finally:
            runner.run(model.__aexit__(None, None, None))


def _with_model(runner: asyncio.Runner, side: LoadedSide, prompt: str | None) -> ExitCode:
    if side.failure:
        transcript.failed_loads([side])
        return ExitCode.NOT_LOADED
    duel = Duel([side.session])
    if prompt is not None:
        return runner.run(_answer(duel, prompt))
    return _converse(runner, duel)


def _converse(runner: asyncio.Runner, duel: Duel) -> ExitCode:
    """Lines from the terminal until the user leaves or the worker is gone."""
    import readline  # noqa: F401  # editing and history for input()

    terminal.say(f"{duel.sessions[0].profile.name}: {KEYS}", err=True)
    while duel.sessions[0].ready:
        match _line():
            case None | "/quit":
                return ExitCode.DONE
            case "/clear":
                duel.forget()
                terminal.say("forgotten", err=True)
            case "":
                continue
            case text:
                runner.run(_answer(duel, text))
    return ExitCode.NOT_GENERATED


def _line() -> str | None:
    """The next line; None at the end of input, nothing where Ctrl-C took it back or it is no text."""
    try:
        line = input("> ").strip()
        if is_text(line):
            return line
        terminal.say("not UTF-8 text", err=True)
        return ""
    except EOFError:
        terminal.say()
        return None
    except KeyboardInterrupt:
        terminal.say()
        return ""


async def _answer(duel: Duel, prompt: str) -> ExitCode:
    interrupts: list[int] = []

    def interrupt() -> None:
        interrupts.append(signal.SIGINT)
        duel.cancel()

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, interrupt)
    try:
        async with aclosing(duel.ask(prompt)) as events:
            async for _, event in events:
                if isinstance(event, Decoded | Finished):
                    terminal.write(event.text)
    finally:
        loop.remove_signal_handler(signal.SIGINT)
    terminal.say()
    return _outcome(duel, duel.answers[0], bool(interrupts))


def _outcome(duel: Duel, answer: Answer, interrupted: bool) -> ExitCode:
    session = duel.sessions[0]
    if answer.failure and answer.failure.kind != "cancelled":
        transcript.report(answer.failure.message, answer.failure.hint, session.profile.name)
        return ExitCode.NOT_GENERATED
    if session.info and sys.stdout.isatty():
        speeds = transcript.figures(answer, session.info)[0]
        terminal.say(terminal.Styled(f"   {speeds}", dim=True), err=True)
    return ExitCode.INTERRUPTED if interrupted else ExitCode.DONE
