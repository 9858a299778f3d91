"""Prompts of a command: an argument, stdin, or a file with one a line or one JSON object a line.

Everything is UTF-8 text of at most `MOST_BYTES`, and is refused in one line before a model is loaded.
"""

import json
import sys

import msgspec
from msgspec import Struct

from engine import input_files, paths
from engine.config.chat_rows import Content, text_of
from engine.errors import InputError
from engine.protocol.answers import Message, Role
from engine.sanitize import is_text

MOST_BYTES = 16 << 20


class Conversation(Struct, frozen=True):
    """What is asked, and what was said before it."""

    prompt: str
    history: tuple[Message, ...] = ()


class _Turn(Struct):
    role: Role
    content: Content


class _Line(Struct, forbid_unknown_fields=False):
    """A line of a JSONL file: `prompt`, or `messages` of which the last is the user's."""

    prompt: str | None = None
    messages: tuple[_Turn, ...] = ()


def of_argument(text: str) -> Conversation:
    """The prompt given with `-p`; `-` is all of stdin."""
    return Conversation(_not_empty(of_stdin() if text == "-" else text, "the prompt"))


def of_stdin() -> str:
    """All of stdin as text, the last line's end left out."""
    return _stdin().rstrip("\n")


def of_file(name: str) -> list[Conversation]:
    """The prompts of a file (`-` is stdin): a prompt a line, or JSON objects where the first line is one.

    Lines end at newlines alone: U+2028 and its like are part of a prompt.
    """
    text = _stdin() if name == "-" else _read(name)
    lines = [(n, line.strip()) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not lines:
        raise InputError(f"{name}: no prompt in it", 'one prompt a line, or JSONL with {"prompt": …}')
    if name.lower().endswith(".jsonl") or lines[0][1].startswith("{"):
        return [_of_json(line, f"{name}:{number}") for number, line in lines]
    return [Conversation(line) for _, line in lines]


def _read(name: str) -> str:
    return input_files.read_text(paths.expanded(name), MOST_BYTES, allow_pipe=True)


def _stdin() -> str:
    if sys.stdin is None:  # closed by who started this
        raise InputError("stdin is closed", "give the prompt with -p TEXT")
    return input_files.text(input_files.read_stream(sys.stdin.buffer, "stdin", MOST_BYTES), "stdin")


def _of_json(line: str, place: str) -> Conversation:
    try:
        read = msgspec.convert(json.loads(line), _Line)
    except json.JSONDecodeError as error:  # it counts lines in the row
        raise InputError(f"{place}: not JSON: {error.msg}, column {error.colno}") from None
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise InputError(f"{place}: {error}", 'expected {"prompt": …} or {"messages": […]}') from None
    if not all(map(is_text, (read.prompt or "", *(text_of(turn.content) for turn in read.messages)))):
        raise InputError(f"{place}: a lone surrogate is in it, which no UTF-8 text has")
    if read.prompt is not None:
        return Conversation(_not_empty(read.prompt, f"{place}: prompt"))
    if not read.messages or read.messages[-1].role != "user":
        hint = 'expected {"prompt": …} or {"messages": […]} with the user\'s message last'
        raise InputError(f"{place}: nothing to answer", hint)
    *before, last = (Message(turn.role, text_of(turn.content)) for turn in read.messages)
    return Conversation(_not_empty(last.content, f"{place}: the last message"), tuple(before))


def _not_empty(text: str, what: str) -> str:
    if not text.strip():
        raise InputError(f"{what} is empty")
    return text
