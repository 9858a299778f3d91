"""The command line: the group of commands, the one error printer and the exit codes.

Every command is a file in `commands`, imported when it is called. A front end adds its own command as the
default one, for `quantduel [A] [B]`; the engine does not know which.

Exit codes: 0 done, 2 bad input, 3 a model could not be loaded, 4 a generation failed, 5 a gate stays shut,
130 interrupted, 128 + n ended by signal n.
"""

from __future__ import annotations

import errno
import importlib
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from engine import paths
from engine.cli import process, terminal
from engine.config.faults import nearest
from engine.errors import ExitCode, InputError, QuantDuelError
from engine.sanitize import is_text, without_userinfo

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

COMMANDS = {
    "duel": "One prompt, two to six models, their answers and figures.",
    "chat": "Chat with one model, in a terminal or in a pipe.",
    "prompt": "Show a prompt as the model reads it: text and token ids.",
    "plan": "Check whether profiles fit in memory; loads nothing.",
    "bench": "Measure speed and memory over context lengths and batch sizes.",
    "eval": "Measure how far models are from a reference, on a text.",
    "pick": "The fastest quantization of a model that is good enough.",
    "test": "Ask questions with checkable answers, and compare who is right.",
    "arena": "Vote blind on the answers to a file of prompts.",
    "leaderboard": "Rank profiles by your blind votes.",
    "quantize": "Quantize a profile's model and keep the checkpoint.",
    "store": "List, show and remove quantized checkpoints.",
    "env": "Make, check and remove environments for the original packages.",
    "history": "List, show, export and delete past duels.",
    "profiles": "List, show and check profiles.",
    "config": "Show or edit your settings file.",
    "completion": "Print shell completion for bash, zsh or fish.",
    "worker": "The other end of a profile's worker.launch.",
    "doctor": "Check what this machine can run and what is missing.",
}
HELP = """Is the quantized model good enough, and what do I gain?

\b
  quantduel                            the duel on the screen
  quantduel smollm2-bf16 smollm2-nf4   … with these two sides
  quantduel duel A B -p "Hello" --json … without a screen

A and B are profiles (`quantduel profiles list`), profile files, or models: a hub id, a folder, a
.gguf file, random:SHAPE.
"""


class Own(NamedTuple):
    """A command that a front end adds: its help in a line, and the module that has it under its name."""

    help: str
    module: str


class Group(click.Group):
    """Commands by name; any other word goes to the default command, where there is one."""

    default: click.Command | None = None
    own: Mapping[str, Own] = {}

    @property
    def known(self) -> dict[str, str]:
        """All commands, and what they do."""
        return COMMANDS | {name: own.help for name, own in self.own.items()}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.known)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.known:
            return None
        module = self.own[cmd_name].module if cmd_name in self.own else f"engine.cli.commands.{cmd_name}"
        command: click.Command = getattr(importlib.import_module(module), cmd_name)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Commands, and for the default one the profiles."""
        from click.shell_completion import CompletionItem

        from engine.cli.profile_name import completions

        own = [
            CompletionItem(name, help=text)
            for name, text in self.known.items()
            if name.startswith(incomplete)
        ]
        if self.default is None or incomplete.startswith("-"):
            return [*own, *(self.default.shell_complete(ctx, incomplete) if self.default else [])]
        return [*own, *completions(incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table above, so that no command is imported for it."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self.known.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        word = args[0]
        if word in self.known:
            return super().resolve_command(ctx, args)
        if word.startswith("-") and self.default is not None:
            return "", self.default, args
        hint = nearest(word, self.known)
        asks = {"-h", "--help"} & set(args)
        if self.default is None or ((hint or asks) and not _means_a_model(word)):
            hint = hint.replace("did you mean ", "did you mean the command `").replace("?", "`?")
            raise InputError(f"no command named {word!r}", hint or "`quantduel --help` shows all")
        return "", self.default, args


def build_group(default: click.Command | None = None, own: Mapping[str, Own] | None = None) -> click.Group:
    """The commands, a front end's `own` among them.

    `default` is called for `quantduel` alone and for words that name no command.
    """

    def call_default(ctx: click.Context) -> object:
        if ctx.invoked_subcommand is not None:
            return None
        if default is None:
            terminal.say_lines(ctx.get_help())
            return None
        with default.make_context("", [], parent=ctx) as inner:
            return default.invoke(inner)

    group = Group(
        "quantduel",
        callback=click.pass_context(call_default),
        invoke_without_command=True,
        help=HELP,
        context_settings={
            "help_option_names": ["-h", "--help"],
            "max_content_width": 100,
            "ignore_unknown_options": default is not None,
        },
    )
    group.default, group.own = default, own or {}
    version = click.option(
        "--version",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_print_version,
        help="Show the version and exit.",
    )
    return version(group)


def run(
    args: Sequence[str], default: click.Command | None = None, own: Mapping[str, Own] | None = None
) -> int:
    """Do what the arguments say and return the exit code; errors become one line on stderr."""
    group = build_group(default, own)
    try:
        _require_text(args)
        colour = None if paths.terminal().wants_colour else False  # None: where stdout is a terminal
        with group.make_context("quantduel", list(args), color=colour) as ctx:
            code = group.invoke(ctx)
        process.flush()
        return int(code) if isinstance(code, int) else ExitCode.DONE
    except click.exceptions.Exit as done:
        return done.exit_code
    except (KeyboardInterrupt, click.Abort):
        return ExitCode.INTERRUPTED
    except BrokenPipeError:  # the reader has seen enough
        process.silence()
        return ExitCode.DONE
    except (click.ClickException, QuantDuelError, OSError) as error:
        return _told(error)


def _told(error: click.ClickException | QuantDuelError | OSError) -> ExitCode:
    """Print the error and return what the command ends with."""
    if isinstance(error, QuantDuelError):
        print_error(error.message, error.hint)
        return error.exit_code
    if isinstance(error, FileNotFoundError) and not process.has_folder():
        print_error(
            "the folder that this was started in is gone", "`cd` to one that is there, and start again"
        )
    elif isinstance(error, OSError):  # a full disk behind stdout, no descriptor left
        process.silence()
        print_error(": ".join(filter(None, (_place(error), error.strerror or str(error)))))
    else:
        print_error(error.format_message().rstrip("."), _usage_hint(error))
    return ExitCode.BAD_INPUT


def _place(error: OSError) -> str:
    """The file that the error names; an error without one is stdout's."""
    is_full = error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EBADF}
    return str(error.filename or ("stdout" if is_full else ""))


def main(default: click.Command | None = None, own: Mapping[str, Own] | None = None) -> None:
    """The console script."""
    process.open_streams()
    process.end_in_order()
    if wanted := paths.completion():
        from click.shell_completion import shell_complete  # what shells ask for alone

        sys.exit(shell_complete(build_group(default, own), {}, "quantduel", "_QUANTDUEL_COMPLETE", wanted))
    code = run(sys.argv[1:], default, own)
    process.flush_talk()
    sys.exit(code)


def print_error(message: str, hint: str = "") -> None:
    """What went wrong and what to do about it, on stderr."""
    first, *more = without_userinfo(message).splitlines() or [""]
    with suppress(OSError):  # a stderr that takes nothing
        terminal.say(f"quantduel: {first}", err=True)
        for line in (*more, *without_userinfo(hint).splitlines()):
            terminal.say(f"  {line}", err=True)


def _require_text(args: Sequence[str]) -> None:
    """InputError where an argument's bytes are no UTF-8: models, events and JSON hold nothing else."""
    for place, arg in enumerate(args, 1):
        if not is_text(arg):
            raise InputError(f"argument {place} is not UTF-8 text: {arg[:80]}")


def _usage_hint(error: click.ClickException) -> str:
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f"`{context.command_path.strip()} --help` shows how it is used" if context else ""


def _means_a_model(word: str) -> bool:
    from engine.config import profiles

    is_there = paths.answers(Path.exists, paths.expanded(word))
    return "/" in word or ":" in word or is_there or word in profiles.available()


def _print_version(ctx: click.Context, _param: click.Parameter, wanted: bool) -> None:
    if wanted:
        terminal.say(f"quantduel {_version()}")
        ctx.exit()


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version  # 40 ms that only --version pays

    try:
        return version("quantduel")
    except PackageNotFoundError:
        return "of a source tree that is not installed"
