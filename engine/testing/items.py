"""A set of questions as a file: JSON lines, each a prompt and what its answer is checked by.

Owns the form and the boundary: what is wrong with a stranger's file is one line with file, line and key,
before a model is loaded. Judges nothing.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from engine import input_files
from engine.config.faults import explain
from engine.errors import FileError, InputError
from engine.sanitize import is_text
from engine.testing import patterns, schema
from engine.testing.answer_json import ToolCall

MOST_BYTES = 64 << 20
MOST_ITEMS = 20_000

Kind = Literal["choices", "exact", "regex", "json_schema", "tool_call"]
CHECKS: tuple[Kind, ...] = ("choices", "exact", "regex", "json_schema", "tool_call")
Text = Annotated[str, Meta(min_length=1)]


class Item(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One question. Exactly one of `choices`, `exact`, `regex`, `json_schema` and `tool_call` is there."""

    prompt: Text
    id: str = ""
    """What it is called; left out, its line in the file."""
    system: str | None = None
    """A system message in place of the profile's."""
    template: Literal["chat", "raw"] | None = None
    """In place of the profile's: the tokenizer's chat template, or the plain text."""
    max_new_tokens: Annotated[int, Meta(ge=1, le=16_384)] | None = None
    """Longest answer; left out, that of the run."""
    stop: tuple[Text, ...] = ()
    """Strings that end the answer."""
    exact: Text | tuple[Text, ...] | None = None
    """The answer, or one of these, but for white space around it."""
    regex: Text | None = None
    """Matches somewhere in the answer: RE2's syntax."""
    json_schema: dict[str, Any] | None = None
    """The answer is JSON, bare or in one fenced block, that keeps to this schema (draft 2020-12)."""
    tool_call: ToolCall | None = None
    """The answer is this one call of a function, with these arguments and no others."""
    choices: tuple[Text, ...] = ()
    """How the prompt may go on. Nothing is generated: the one the model finds likeliest is its answer."""
    answer: int | None = None
    """Which of the `choices` is right, counted from 0."""
    expected: str = ""
    """What to show as the right answer, where a pattern or a schema says little."""

    def __post_init__(self) -> None:
        there = [name for name in CHECKS if getattr(self, name) not in (None, ())]
        if len(there) != 1:
            named = f"not {' and '.join(there)}" if there else "none is there"
            raise ValueError(f"prompt: expected exactly one of {', '.join(CHECKS)} with it, {named}")
        for name, require in _REQUIRED.items():
            if (wanted := getattr(self, name)) is not None:
                _named(name, require, wanted)
        self._require_answer()

    def _require_answer(self) -> None:
        if not self.choices:
            if self.answer is not None:
                raise ValueError("answer: belongs to `choices`, and there are none")
        elif len(self.choices) < 2:
            raise ValueError("choices: expected at least two")
        elif len(set(self.choices)) < len(self.choices):
            raise ValueError("choices: two of them are the same, so only one of these could be right")
        elif self.answer is None or not 0 <= self.answer < len(self.choices):
            raise ValueError(f"answer: expected 0 to {len(self.choices) - 1}, the number of the right choice")

    @property
    def kind(self) -> Kind:
        """What its answer is checked by."""
        return next(name for name in CHECKS if getattr(self, name) not in (None, ()))

    @property
    def continuations(self) -> tuple[str, ...]:
        """What is scored after the prompt: the choices, in plain text after a space, as in lm-eval."""
        apart = " " if self.template == "raw" and not self.prompt[-1].isspace() else ""
        return tuple(apart + choice for choice in self.choices)

    @property
    def right_answer(self) -> str:
        """The right answer, or what it must keep to, as a text."""
        if self.expected:
            return self.expected
        if self.choices:
            return self.choices[self.answer or 0]
        wanted = getattr(self, self.kind)
        if isinstance(wanted, str):
            return wanted
        return " | ".join(wanted) if isinstance(wanted, tuple) else msgspec.json.encode(wanted).decode()


_REQUIRED: dict[str, Callable[[Any], None]] = {"regex": patterns.require, "json_schema": schema.require}


def read(file: Path) -> tuple[Item, ...]:
    """The questions of a JSONL file; InputError with line and key where something is wrong with it."""
    text = input_files.read_text(file, MOST_BYTES)
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not lines:
        raise FileError(file, 'no question in it: expected lines with {"prompt": …}')
    if len(lines) > MOST_ITEMS:
        raise FileError(file, f"more than {MOST_ITEMS} questions")
    items = tuple(_item(line, file, number) for number, line in lines)
    _require_distinct(items, lines, file)
    return items


def _item(line: str, file: Path, number: int) -> Item:
    try:
        data = json.loads(line, object_pairs_hook=_distinct)
    except json.JSONDecodeError as error:  # it counts lines in the row
        raise FileError(file, f"not JSON: {error.msg}, column {error.colno}", line=number) from None
    except (ValueError, RecursionError) as error:  # a key twice; too many digits; nested too deeply
        raise FileError(file, f"not JSON that can be read: {error}", line=number) from None
    if not is_text(line) or not is_text(json.dumps(data, ensure_ascii=False)):
        raise FileError(file, "a lone surrogate is in it, which no UTF-8 text has", line=number)
    try:
        item = msgspec.convert(data, Item)
    except msgspec.ValidationError as error:
        raise _fault(error, data, file, number) from None
    return item if item.id else replace(item, id=str(number))


def _distinct(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} is there twice")
    return found


def _fault(error: msgspec.ValidationError, data: object, file: Path, number: int) -> InputError:
    fault = explain(str(error), data, Item)
    problem = FileError(file, ": ".join(filter(None, (".".join(fault.key), fault.problem))), line=number)
    return InputError(problem.message, fault.hint)


def _require_distinct(items: Sequence[Item], lines: Sequence[tuple[int, str]], file: Path) -> None:
    seen: set[str] = set()
    for item, (number, _) in zip(items, lines, strict=True):
        if item.id in seen:
            raise FileError(file, f"id: {item.id!r} is another question's, too", line=number)
        seen.add(item.id)


def _named(name: str, require: Callable[[Any], None], wanted: object) -> None:
    try:
        require(wanted)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
