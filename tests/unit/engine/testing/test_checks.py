"""What counts as right, kind by kind; and that no answer or pattern takes long to check."""

import json
from typing import Any

import pytest

from engine.testing import checks, patterns
from engine.testing.answer_json import ToolCall
from engine.testing.items import Item

OBJECT = {
    "type": "object",
    "properties": {"a": {"type": "integer"}, "b": {"type": "string", "pattern": "^x+$"}},
    "required": ["a"],
    "additionalProperties": False,
}
UNIQUE = {"type": "array", "uniqueItems": True}
CALL = ToolCall("add", {"a": 1, "b": 2.0})


def right(answer: str, **check: Any) -> bool:
    return checks.of_text(Item(prompt="?", **check), answer).right


@pytest.mark.parametrize(
    ("answer", "expected"), [("42", True), (" 42\n", True), ("42.", False), ("forty-two", True), ("", False)]
)
def test_exact_is_the_whole_answer_but_for_space_around_it(answer: str, expected: bool) -> None:
    assert right(answer, exact=("42", "forty-two")) is expected


def test_a_pattern_matches_anywhere() -> None:
    assert right("it is 42, I think", regex=r"\b42\b") and not right("142", regex=r"\b42\b")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ('{"a": 1}', True),
        ('{"a": 1.0}', True),
        ('Here it is:\n```json\n{"a": 1, "b": "xx"}\n```\nDone.', True),
        ('{"a": 1, "b": "xy"}', False),
        ('{"a": 1, "c": 2}', False),
        ('{"a": true}', False),
        ('{"a": NaN}', False),
        ('{"a": 1e999}', False),
        ('Sure! {"a": 1}', False),
        ("[" * 100_000, False),
        ('{"a": ' + "1" * 10_000 + "}", False),
        ("", False),
    ],
)
def test_a_schema_holds_for_the_json_of_the_answer(answer: str, expected: bool) -> None:
    assert right(answer, json_schema=OBJECT) is expected


def test_equal_values_are_not_unique_whatever_they_are_written_as() -> None:
    assert right('[1, true, "1"]', json_schema=UNIQUE) and not right("[1, 1.0]", json_schema=UNIQUE)
    many = json.dumps([{"n": n} for n in range(50_000)])
    assert right(many, json_schema=UNIQUE)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ('{"name": "add", "arguments": {"b": 2, "a": 1}}', True),
        ('{"name": "add", "parameters": {"a": 1, "b": 2}}', True),
        ('<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": 2}}\n</tool_call>', True),
        ('Let me see. <tool_call>{"name": "add", "arguments": {"a": 1, "b": 2}}', True),
        ('[TOOL_CALLS] [{"name": "add", "arguments": {"a": 1, "b": 2}}]', True),
        ('```json\n{"name": "add", "arguments": {"a": 1, "b": 2}}\n```', True),
        ('{"type": "function", "function": {"name": "add", "arguments": "{\\"a\\": 1, \\"b\\": 2}"}}', True),
        ('{"name": "add", "arguments": {"a": 1}}', False),
        ('{"name": "add", "arguments": {"a": 1, "b": 2, "c": 3}}', False),
        ('{"name": "add", "arguments": {"a": "1", "b": 2}}', False),
        ('{"name": "add", "arguments": {"a": true, "b": 2}}', False),
        ('{"name": "sub", "arguments": {"a": 1, "b": 2}}', False),
        ('[{"name": "add", "arguments": {"a": 1, "b": 2}}, {"name": "add", "arguments": {}}]', False),
        ('{"name": "add", "arguments": [1, 2]}', False),
        ("add(1, 2)", False),
        ("[]", False),
    ],
)
def test_a_tool_call_is_one_call_with_these_arguments(answer: str, expected: bool) -> None:
    assert right(answer, tool_call=CALL) is expected


def test_choices_count_by_the_whole_likelihood_and_by_that_of_a_character() -> None:
    item = Item(prompt="?", choices=("no", "certainly"), answer=1)
    assert checks.of_choices(item, [-2.0, -3.0]) == checks.Verdict(right=False, right_by_character=True)
    assert checks.of_choices(item, [-3.0, -3.0]).right is False, "of equal ones the first counts"


@pytest.mark.parametrize(
    "pattern", [r"(a+)+$", r"^(?:a|a)*$", r"(?:.*a.{500}.*){2}b$", r"(.*)(.*)(.*)(.*)(.*)(.*)(.*)b"]
)
def test_no_pattern_hangs(pattern: str) -> None:
    patterns.require(pattern)
    assert not patterns.found(pattern, "a" * 20_000 + "!")
