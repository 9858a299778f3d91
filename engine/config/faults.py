"""What is wrong with a user's data, in the user's terms: what was expected, and the nearest spelling.

Knows the declared types and the data; knows nothing of files, lines or YAML.
"""

import difflib
import re
from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Struct, inspect

Key = tuple[
    str, ...
]  # ("model", "dtype"): where a value stands in the document; "[2]" is a list's third item

_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "object": "a mapping of keys",
    "array": "a list",
    "null": "nothing",
}
_BOUNDS = {
    " of length >= 1": " that is not empty",
    " >= ": " of at least ",
    " <= ": " of at most ",
    " > ": " above ",
    " < ": " below ",
}


class Fault(Struct, frozen=True):
    """One thing that is wrong: where, what, and what might have been meant."""

    key: Key
    problem: str
    hint: str = ""


def explain(message: str, data: object, into: Any) -> Fault:
    """msgspec's message about `data`, which is no `into`."""
    problem, _, place = message.partition(" - at `$")
    key = _named(tuple(re.findall(r"\[[^]]*\]|[^.\[]+", place.rstrip("`"))), message, data, into)
    if unknown := re.match(r"Object contains unknown field `(.*)`", problem, re.DOTALL):
        return _unknown(key, unknown[1], _type_at(into, data, key))
    if missing := re.match(r"Object missing required field `(.*)`", problem):
        return Fault((*key, missing[1]), "missing")
    field, colon, rest = problem.partition(": ")
    if colon and field in _fields(_type_at(into, data, key)):  # said by a struct's __post_init__
        return Fault((*key, field), rest)
    return _mismatch(key, problem, _type_at(into, data, key), item_at(data, key))


def nearest(word: str, choices: Iterable[str]) -> str:
    """`did you mean …?`, or nothing when no choice is near."""
    close = difflib.get_close_matches(word, list(choices), n=1)
    return f"did you mean {close[0]}?" if close else ""


def item_at(data: object, key: Key) -> object:
    """The value at a key; None where there is none."""
    for name in key:
        data = _item(data, name)
    return data


def _named(key: Key, message: str, data: object, into: Any) -> Key:
    """The key with the name of a mapping's value, which msgspec does not say: the first that fails alone."""
    if "[...]" not in key:
        return key
    place = key[: key.index("[...]")]
    values = item_at(data, place)
    for name, value in values.items() if isinstance(values, dict) else ():
        try:
            msgspec.convert(_with(data, place, {name: value}), into)
        except msgspec.ValidationError as error:
            if str(error) == message:
                return (*place, str(name), *key[len(place) + 1 :])
    return place


def _with(data: object, place: Key, value: object) -> object:
    """The same data with another value at a place."""
    if not place or not isinstance(data, dict):
        return value
    return {**data, place[0]: _with(data.get(place[0]), place[1:], value)}


def _unknown(key: Key, name: str, struct: inspect.Type | None) -> Fault:
    """A key that no struct has; what to do about it where one had it once (`RETIRED`)."""
    retired = getattr(struct.cls, "RETIRED", {}) if isinstance(struct, inspect.StructType) else {}
    if name in retired:
        return Fault((*key, name), "no longer a setting", retired[name])
    fields = _fields(struct)
    known = "known here: " + ", ".join(fields) if fields else "no key is known here"
    return Fault((*key, name), "unknown key", nearest(name, fields) or known)


def _mismatch(key: Key, problem: str, expected: inspect.Type | None, value: object) -> Fault:
    """What was expected instead of `value`, and the nearest spelling."""
    names = _choices(expected)
    if isinstance(expected, inspect.UnionType) and key and key[-1] == "method":
        names = _tags(expected)
    if names:
        hint = nearest(value, names) if isinstance(value, str) else ""
        return Fault(
            key, f"expected {_alternatives(names)}, not {_shown(value)}", _same_text(value, names) or hint
        )
    if not problem.startswith("Expected"):
        return Fault(key, problem)
    wanted = problem.removeprefix("Expected ").split(", got")[0]
    return Fault(key, f"expected {_plain(wanted)}, not {_shown(value)}")


def _choices(expected: inspect.Type | None) -> list[str]:
    """The words of a choice; none where other values are possible, too."""
    if isinstance(expected, inspect.LiteralType):
        return [str(choice) for choice in expected.values]
    if isinstance(expected, inspect.UnionType) and all(map(_is_choice, expected.types)):
        return [name for option in expected.types for name in _choices(option)]
    return []


def _is_choice(expected: inspect.Type) -> bool:
    return isinstance(expected, inspect.LiteralType)


def _same_text(value: object, names: list[str]) -> str:
    return "without the quotes" if isinstance(value, str) and value.isdigit() and value in names else ""


def _plain(wanted: str) -> str:
    wanted = re.sub(r"`([^`]*)`", lambda found: _kinds(found[1].split(" | ")), wanted)
    for bound, plain in _BOUNDS.items():
        wanted = wanted.replace(bound, plain)
    return wanted


def _kinds(names: list[str]) -> str:
    """What msgspec calls types, in words; a number may be whole."""
    return _alternatives([_KINDS.get(n, f"`{n}`") for n in names if n != "int" or "float" not in names])


def _shown(value: object) -> str:
    match value:
        case None:
            return "nothing"
        case bool():
            text = str(value).lower()
        case dict():
            text = "a mapping of keys"
        case list():
            text = "a list"
        case _:
            text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


def _alternatives(names: list[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " or " + names[-1]


def _item(data: object, name: str) -> object:
    if isinstance(data, list) and re.fullmatch(r"\[\d+\]", name):
        return data[int(name[1:-1])]
    return data.get(name) if isinstance(data, dict) else None


def _type_at(into: Any, data: object, key: Key) -> inspect.Type | None:
    """The declared type of the value at `key`; a tagged union is resolved by the data's own tag."""
    found: inspect.Type | None = _resolve(inspect.type_info(into), data)
    for name in key:
        data = _item(data, name)
        if isinstance(found, inspect.UnionType):  # `method` names no alternative: the union itself is meant
            return found
        fields = found.fields if isinstance(found, inspect.StructType) else ()
        found = next((_resolve(f.type, data) for f in fields if f.encode_name == name), None)
    return found


def _resolve(found: inspect.Type, data: object) -> inspect.Type:
    """The one alternative meant: the struct with the data's tag, or the alternative to `null`."""
    if not isinstance(found, inspect.UnionType):
        return found
    tag = data.get("method") if isinstance(data, dict) else None
    for option in found.types:
        if isinstance(option, inspect.StructType) and option.tag == tag:
            return option
    others = [option for option in found.types if not isinstance(option, inspect.NoneType)]
    return others[0] if len(others) == 1 else found


def _tags(union: inspect.UnionType) -> list[str]:
    return [str(t.tag) for t in union.types if isinstance(t, inspect.StructType) and t.tag]


def _fields(found: inspect.Type | None) -> list[str]:
    return [field.encode_name for field in found.fields] if isinstance(found, inspect.StructType) else []
