"""Sets of strangers: every fault is a line with file, line and key, and no pattern or schema hangs."""

import json
from pathlib import Path

import pytest

from engine.errors import InputError
from engine.testing import items


def written(tmp_path: Path, *rows: object) -> Path:
    file = tmp_path / "mine.jsonl"
    file.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return file


GOOD = {"prompt": "2 + 2?", "exact": "4"}


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ("{", "not JSON: "),
        ('{"prompt": "a", "exact": "\\ud800"}', "a lone surrogate"),
        ('{"prompt": "a", "exact": ' + "[" * 100_000, "not JSON"),
        ([1], "expected a mapping of keys"),
        ({"exact": "4"}, "prompt: missing"),
        ({"prompt": "", "exact": "4"}, "prompt: expected text that is not empty"),
        ({"prompt": "a"}, "prompt: expected exactly one of"),
        ({"prompt": "a", "exact": "4", "regex": "4"}, "not exact and regex"),
        ({"prompt": "a", "exakt": "4"}, "exakt: unknown key"),
        ({"prompt": "a", "regex": "("}, "regex: no pattern of RE2: missing ): ("),
        ({"prompt": "a", "regex": "(a)\\1"}, "regex: no pattern of RE2: invalid escape sequence"),
        ({"prompt": "a", "regex": "(?:(a{1000}){1000}){1000}"}, "regex: no pattern of RE2"),
        ({"prompt": "a", "regex": "a" * 20_000}, "regex: a pattern of more than"),
        ({"prompt": "a", "choices": ["x", "y"]}, "answer: expected 0 to 1"),
        ({"prompt": "a", "choices": ["x", "y"], "answer": 2}, "answer: expected 0 to 1"),
        ({"prompt": "a", "choices": ["x"], "answer": 0}, "choices: expected at least two"),
        ({"prompt": "a", "choices": ["x", "x"], "answer": 1}, "choices: two of them are the same"),
        ({"prompt": "a", "exact": "4", "answer": 0}, "answer: belongs to `choices`"),
        ({"prompt": "a", "json_schema": {"type": "objekt"}}, "json_schema: type: 'objekt' is not"),
        ({"prompt": "a", "json_schema": {"require": ["x"]}}, "json_schema: unknown keyword 'require'"),
        ({"prompt": "a", "json_schema": {"$ref": "http://x/"}}, "json_schema: unknown keyword '$ref'"),
        ({"prompt": "a", "json_schema": {"items": {"pattern": "("}}}, "json_schema: no pattern of RE2"),
        ({"prompt": "a", "tool_call": {"arguments": {}}}, "tool_call.name: missing"),
        ({"prompt": "a", "exact": "4", "max_new_tokens": 0}, "max_new_tokens: expected a whole number"),
        ({"prompt": "a", "exact": "4", "template": "x.jinja"}, "template: expected chat or raw"),
    ],
)
def test_a_fault_is_named_by_file_line_and_key(tmp_path: Path, row: object, fault: str) -> None:
    file = written(tmp_path, GOOD, "", row)
    with pytest.raises(InputError) as caught:
        items.read(file)
    assert caught.value.message.startswith(f"{file}:3: ") and fault in caught.value.message


def test_a_schema_that_is_nested_without_end_is_refused(tmp_path: Path) -> None:
    schema: dict = {}
    for _ in range(100):
        schema = {"items": schema}
    with pytest.raises(InputError, match="nested deeper than 32"):
        items.read(written(tmp_path, {"prompt": "a", "json_schema": schema}))


def test_a_file_without_questions_or_with_too_many_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="no question in it"):
        items.read(written(tmp_path, ""))
    monkeypatch.setattr(items, "MOST_ITEMS", 1)
    with pytest.raises(InputError, match="more than 1 questions"):
        items.read(written(tmp_path, GOOD, GOOD))


def test_questions_are_called_by_their_line_and_have_names_of_their_own(tmp_path: Path) -> None:
    found = items.read(written(tmp_path, GOOD, "", {**GOOD, "id": "b"}))
    assert [item.id for item in found] == ["1", "b"]
    with pytest.raises(InputError, match=r"mine.jsonl:2: id: '1' is another question's"):
        items.read(written(tmp_path, GOOD, {**GOOD, "id": "1"}))


def test_choices_stand_after_a_space_in_plain_text_alone() -> None:
    one = items.Item(prompt="2 + 2 =", choices=("4", "5"), answer=0)
    assert one.continuations == ("4", "5")
    assert items.Item(prompt="a", template="raw", choices=("4", "5"), answer=0).continuations == (" 4", " 5")
    assert items.Item(prompt="a\n", template="raw", choices=("4", "5"), answer=0).continuations == ("4", "5")


def test_a_key_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    (file := tmp_path / "set.jsonl").write_text('{"prompt": "a", "exact": "4", "exact": "5"}\n')
    with pytest.raises(InputError, match=r"set\.jsonl:1: not JSON that can be read: 'exact' is there twice"):
        items.read(file)
