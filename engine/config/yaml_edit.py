"""YAML text with single values changed: comments, order and spacing of all else stay as the user wrote them.

Knows text and keys; must not know what a file means. Whoever writes the result reads it back.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence

import yaml

from engine.config import strict_yaml
from engine.config.faults import Key

INDENT = "  "
PLAIN = re.compile(r"[A-Za-z_][\w./@-]*")


def with_value(text: str, key: Key, value: object) -> str:
    """The text with this value at a key; keys that are missing on the way there are added."""
    node, depth = strict_yaml.nodes(text), 0
    if node is None:
        return _appended(text, _block(key, value, ""))
    while isinstance(node, yaml.MappingNode):
        found = next((pair for pair in node.value if pair[0].value == key[depth]), None)
        if found is None:
            return _inserted(text, node, key[depth:], value)
        name, node = found
        depth += 1
        if depth == len(key):
            return _replaced(text, name, node, flow(value))
    if depth == 0:
        return text  # no mapping: whoever reads it back says so
    return _replaced(text, name, node, flow(_nested(key[depth:], value)))


def flow(value: object) -> str:
    """A value as YAML in one line, as YAML 1.2 reads it."""
    match value:
        case Mapping():
            return "{" + ", ".join(f"{flow(name)}: {flow(item)}" for name, item in value.items()) + "}"
        case str():
            return value if _is_plain(value) else json.dumps(value, ensure_ascii=False)
        case Sequence():
            return "[" + ", ".join(map(flow, value)) + "]"
        case float():
            return f"{value:.12g}" if float(f"{value:.12g}") == value else repr(value)
    return json.dumps(value)


def _is_plain(text: str) -> bool:
    return bool(PLAIN.fullmatch(text)) and strict_yaml.value(text) == text


def _nested(key: Key, value: object) -> object:
    for name in reversed(key):
        value = {name: value}
    return value


def _block(key: Key, value: object, indent: str) -> str:
    """Lines of a block mapping."""
    *sections, last = key
    lines = [f"{indent}{INDENT * depth}{flow(name)}:" for depth, name in enumerate(sections)]
    return "\n".join([*lines, f"{indent}{INDENT * len(sections)}{flow(last)}: {flow(value)}"])


def _replaced(text: str, name: yaml.Node, old: yaml.Node, new: str) -> str:
    """The value of a key replaced; what stands in blocks gives way to a value in the key's own line."""
    start, end = old.start_mark.index, _end(text, old)
    after_name = name.end_mark.index
    colon = after_name + text[after_name:].index(":") + 1
    if _is_block(old):
        return f"{text[:colon]} {new}{text[colon:start].rstrip()}{text[end:]}"
    gap = text[colon:start] or " "
    return text[:colon] + gap + new + text[max(end, colon) :]


def _inserted(text: str, mapping: yaml.MappingNode, key: Key, value: object) -> str:
    """A new key at the end of a mapping."""
    if mapping.flow_style:
        close = mapping.end_mark.index - 1
        before = text[:close].rstrip()
        comma = "" if before.endswith(("{", ",")) else ","
        space = text[len(before) : close]
        gap = "" if before.endswith("{") else " "
        return f"{before}{comma}{gap}{flow(key[0])}: {flow(_nested(key[1:], value))}{space}{text[close:]}"
    place = text.find("\n", _end(text, mapping))
    end = len(text) if place < 0 else place
    indent = " " * mapping.start_mark.column
    return text[:end] + "\n" + _block(key, value, indent) + (text[end:] or "\n")


def _appended(text: str, lines: str) -> str:
    """A first key below what comments there are."""
    begun = text if not text or text.endswith("\n") else text + "\n"
    return begun + lines + "\n"


def _is_block(node: yaml.Node) -> bool:
    return isinstance(node, yaml.CollectionNode) and not node.flow_style


def _end(text: str, node: yaml.Node) -> int:
    """Where a value's own text ends, without the comments and empty lines after it."""
    if _is_block(node):
        return max((_end(text, child) for child in _children(node)), default=node.start_mark.index)
    start, end = node.start_mark.index, node.end_mark.index
    return int(start + len(text[start:end].rstrip()))


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    for item in node.value:
        yield from item if isinstance(item, tuple) else (item,)
