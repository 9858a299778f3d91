"""JSON that models write: the value in an answer, and the calls of functions in it. Pure."""

import json
import re
from collections.abc import Iterator
from typing import Any

from msgspec import Struct

_FENCED = re.compile(r"```[A-Za-z]*\n(.*?)```", re.DOTALL)
_TAGGED = re.compile(r"<tool_call>(.*?)(?:</tool_call>|\Z)", re.DOTALL)
_MARKS = ("[TOOL_CALLS]", "<|python_tag|>")


class ToolCall(Struct, frozen=True, forbid_unknown_fields=True):
    """A call of a function by name."""

    name: str
    arguments: dict[str, Any] = {}


def value(text: str) -> Any:
    """The JSON of an answer: the whole of it, or its one fenced block. ValueError where that is none.

    1 and 1.0 are the same number; NaN and infinities are none.
    """
    blocks = _FENCED.findall(text)
    try:
        return json.loads(
            blocks[0] if len(blocks) == 1 else text, parse_float=_number, parse_constant=_refuse
        )
    except RecursionError:
        raise ValueError("nested too deeply") from None


def calls(text: str) -> list[ToolCall]:
    """The calls in an answer, in the forms that models write; ValueError where it is none.

    `{"name": …, "arguments": {…}}`, also with `parameters`, in a list, below `function` (OpenAI), within
    <tool_call> (Qwen, Hermes) or after [TOOL_CALLS] (Mistral).
    """
    for mark in _MARKS:
        text = text.replace(mark, "", 1)
    return [call for part in _TAGGED.findall(text) or [text] for call in _calls(value(part))]


def _calls(found: Any) -> Iterator[ToolCall]:
    for each in found if isinstance(found, list) else [found]:
        call = each.get("function", each) if isinstance(each, dict) else None
        if not isinstance(call, dict) or not isinstance(call.get("name"), str):
            raise ValueError("no call of a function")
        arguments = call.get("arguments", call.get("parameters", {}))
        if isinstance(arguments, str):
            arguments = value(arguments)
        if not isinstance(arguments, dict):
            raise ValueError("the arguments are no object")
        yield ToolCall(call["name"], arguments)


def normal(data: Any) -> Any:
    """JSON of any reader with its whole numbers as integers."""
    match data:
        case dict():
            return {key: normal(item) for key, item in data.items()}
        case list():
            return [normal(item) for item in data]
        case float():
            return _number(str(data))
    return data


def same(one: Any, other: Any) -> bool:
    """Whether two values are the same JSON: true is not 1."""
    return key(one) == key(other)


def key(data: Any) -> str:
    """Equal texts are equal values, whatever the order of their keys."""
    return json.dumps(normal(data), sort_keys=True)


def _number(text: str) -> int | float:
    number = float(text)
    if number in {float("inf"), float("-inf")}:
        raise ValueError("a number too large to hold")
    return int(number) if number.is_integer() else number


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")
