"""YAML read into msgspec structs, strictly: a fault is one line with file, line, key and expectation.

Knows nothing of profiles. Only plain data is built (PyYAML's safe loader, YAML 1.2's idea of a number and a
boolean); duplicate keys, aliases, tags and unknown keys are refused.
"""

import math
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml

from engine import input_files
from engine.config.faults import Key, explain, item_at
from engine.errors import FileError, ProfileError

T = TypeVar("T")
Lines = dict[Key, int]

LARGEST_FILE_BYTES = 1 << 20
DEEPEST_NESTING = 32
LONGEST_NUMBER = 400


class _Loader(yaml.SafeLoader):
    """The safe loader with YAML 1.2 scalars: 1e-5 is a number, 010 is ten, 12:30 and `no` are strings."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            raise _problem("aliases are not allowed, write the value out", event)
        if getattr(event, "tag", None) is not None:
            raise _problem("tags are not allowed, leave the `!` out or quote the text", event)
        if self.depth == DEEPEST_NESTING:
            raise _problem(f"nested deeper than {DEEPEST_NESTING} levels", event)
        self.depth += 1
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        if len(node.value) > LONGEST_NUMBER:
            raise _problem("a number of too many digits", node)
        return int(node.value)

    def construct_yaml_float(self, node: yaml.ScalarNode) -> float:
        if not math.isfinite(value := float(node.value)):
            raise _problem("a number too large to hold", node)
        return value


_PLAIN = (  # what PyYAML says, and what it means to a user
    ("character '\\t'", "a tab: indent with spaces"),
    ("<stream end>", "a bracket or quote is not closed"),
    ("unexpected end of stream", "a bracket or quote is not closed"),
    (
        "mapping values are not allowed here",
        "a second `key:` in one line, or text with a colon that needs quotes",
    ),
    ("found another document", "a second document begins here; a profile is one"),
    ("could not find expected ':'", "a key without its `:`"),
    ("expected <block end>", "indented differently from the lines around it"),
)


def _problem(text: str, at: yaml.Event | yaml.Node) -> yaml.MarkedYAMLError:
    mark: Any = at.start_mark
    return yaml.MarkedYAMLError(problem=text, problem_mark=mark)


for _tag, _pattern, _first in (
    ("bool", r"true|True|false|False", "tTfF"),
    ("null", r"~|null|Null|", ["~", "n", "N", ""]),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+.0123456789"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), list(_first))
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_yaml_float)


def read(path: Path, into: type[T]) -> T:
    """The file's content as `into`; ProfileError names the first fault."""
    data, lines = _parse(path, _text(path))
    return convert(data, into, file=path, lines=lines)


def convert(data: object, into: type[T], *, file: Path | str, lines: Lines | None = None) -> T:
    """Plain data as `into`; ProfileError names the first fault, with its line where `lines` knows it."""
    try:
        return msgspec.convert(data, into)
    except msgspec.ValidationError as error:
        fault = explain(str(error), data, into)
    line = next((lines[place] for place in _and_above(fault.key) if place in lines), 0) if lines else 0
    key = ".".join(part for part in fault.key if not part.startswith("["))
    raise ProfileError(file, fault.problem, line=line, key=key, hint=fault.hint)


def faults(path: Path, into: Any) -> list[ProfileError]:
    """Every fault of a file; each is taken out of the data before the next is looked for."""
    try:
        data, lines = _parse(path, _text(path))
    except ProfileError as error:
        return [error]
    found: dict[str, ProfileError] = {}
    while fault := _first_fault(data, into, path, lines):
        key = tuple(fault.key.split("."))
        if fault.key in found:  # missing, because it was taken out
            key = key[:-1]
        elif not any(other.startswith(f"{fault.key}.") for other in found):
            found[fault.key] = fault
        if not _take_out(data, key):
            break
    return sorted(found.values(), key=lambda fault: fault.line)


def line_of(path: Path, key: str) -> int:
    """The line in which a key stands; 0 where that is not known."""
    return line_of_key(path, tuple(key.split(".")))


def line_of_key(path: Path, key: Key) -> int:
    """The same for a key whose names may have dots."""
    try:
        return _parse(path, _text(path))[1].get(key, 0)
    except ProfileError:
        return 0


def is_empty(path: Path) -> bool:
    """Whether nothing is said in it; comments say nothing."""
    return nodes(_text(path), path) is None


def nodes(text: str, file: Path | str = "settings") -> yaml.Node | None:
    """The text as YAML's own nodes, which know where they stand in it; None where nothing is said."""
    with _loading(file, text) as loader:
        node: yaml.Node | None = loader.get_single_node()
        return node


def value(text: str) -> object:
    """What a piece of YAML such as `0.7`, `true` or `[a, b]` stands for; ProfileError where it is broken."""
    return _parse(text, text)[0] if text.strip() else ""


def _first_fault(data: object, into: Any, path: Path, lines: Lines) -> ProfileError | None:
    try:
        convert(data, into, file=path, lines=lines)
    except ProfileError as error:
        return error
    return None


def _and_above(key: Key) -> Iterable[Key]:
    for length in range(len(key), -1, -1):
        yield key[:length]


def _take_out(data: object, key: Key) -> bool:
    place = item_at(data, key[:-1])
    if not key or not isinstance(place, dict) or key[-1] not in place:
        return False
    del place[key[-1]]
    return True


def _text(path: Path) -> str:
    try:
        return input_files.read_text(path, LARGEST_FILE_BYTES)
    except FileError as error:
        raise ProfileError(path, error.problem, line=error.line) from None


def _parse(file: Path | str, text: str) -> tuple[object, Lines]:
    with _loading(file, text) as loader:
        node = loader.get_single_node()
        if node is None:
            raise ProfileError(file, "is empty", hint="a profile needs at least `model: {source: …}`")
        lines = dict(_lines(node, (), file))
        return loader.construct_document(node), lines


@contextmanager
def _loading(file: Path | str, text: str) -> Iterator[_Loader]:
    """A loader; what is broken becomes a ProfileError with its line."""
    loader = None
    try:
        loader = _Loader(text)
        yield loader
        return
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        problem = f"the character U+{ord(text[error.position]):04X} is not allowed"
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, problem = mark.line + 1 if mark else 0, str(error.problem)
        problem = next((plain for said, plain in _PLAIN if said in problem), problem)
    finally:
        if loader:
            loader.dispose()
    raise ProfileError(file, f"broken YAML: {problem}", line=line)


def _lines(node: yaml.Node, key: Key, file: Path | str) -> Iterable[tuple[Key, int]]:
    """Every key with its line number; refuses duplicates."""
    yield key, node.start_mark.line + 1
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _lines(item, (*key, f"[{index}]"), file)
    seen: dict[str, int] = {}
    for name_node, item in node.value if isinstance(node, yaml.MappingNode) else ():
        name, line = str(name_node.value), name_node.start_mark.line + 1
        if name_node.tag != "tag:yaml.org,2002:str":
            raise ProfileError(file, "a key must be text", line=line, key=".".join(key))
        if name in seen:
            dotted = ".".join((*key, name))
            raise ProfileError(file, f"given twice, first on line {seen[name]}", line=line, key=dotted)
        seen[name] = line
        yield from _lines(item, (*key, name), file)
        yield (*key, name), line
