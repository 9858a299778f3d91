"""Prompts of a command: an argument, stdin, or a file with one a line or one JSON object a line."""

import sys
from pathlib import Path

import msgspec
from msgspec import Struct

from engine.errors import InputError
from engine.protocol import Message


class Conversation(Struct, frozen=True):
    """What is asked, and what was said before it."""

    prompt: str
    history: tuple[Message, ...] = ()


class _Line(Struct, forbid_unknown_fields=False):
    """A line of a JSONL file: `prompt`, or `messages` of which the last is the user's."""

    prompt: str | None = None
    messages: tuple[Message, ...] = ()


def of_argument(text: str) -> Conversation:
    """The prompt given with `-p`; `-` is all of stdin."""
    return Conversation(_not_empty(sys.stdin.read().rstrip("\n") if text == "-" else text, "the prompt"))


def of_file(name: str) -> list[Conversation]:
    """The prompts of a file (`-` is stdin): a prompt a line, or JSON objects where the first line is one."""
    lines = [(n, line.strip()) for n, line in enumerate(_read(name).splitlines(), 1) if line.strip()]
    if not lines:
        raise InputError(f"{name}: no prompt in it", 'one prompt a line, or JSONL with {"prompt": …}')
    if name.endswith(".jsonl") or lines[0][1].startswith("{"):
        return [_of_json(line, f"{name}:{number}") for number, line in lines]
    return [Conversation(line) for _, line in lines]


def _read(name: str) -> str:
    try:
        return sys.stdin.read() if name == "-" else Path(name).expanduser().read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{name}: is not UTF-8 text") from None
    except OSError as error:
        raise InputError(f"{name}: {error.strerror}") from None


def _of_json(line: str, place: str) -> Conversation:
    try:
        read = msgspec.json.decode(line, type=_Line)
    except msgspec.MsgspecError as error:
        raise InputError(f"{place}: {error}", 'expected {"prompt": …} or {"messages": […]}') from None
    if read.prompt is not None:
        return Conversation(_not_empty(read.prompt, f"{place}: prompt"))
    if not read.messages or read.messages[-1].role != "user":
        hint = 'expected {"prompt": …} or {"messages": […]} with the user\'s message last'
        raise InputError(f"{place}: nothing to answer", hint)
    return Conversation(
        _not_empty(read.messages[-1].content, f"{place}: the last message"), read.messages[:-1]
    )


def _not_empty(text: str, what: str) -> str:
    if not text.strip():
        raise InputError(f"{what} is empty")
    return text
