"""Prompts from files, pipes and stdin."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.cli import prompts
from engine.errors import InputError

CALL = [sys.executable, "-c", "from engine.cli import main; main()"]


def test_prompts_come_a_line_each(tmp_path: Path) -> None:
    file = tmp_path / "p.txt"
    file.write_text("one\n\n  two  \n")
    assert [asked.prompt for asked in prompts.of_file(str(file))] == ["one", "two"]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("bom.txt", b"\xef\xbb\xbfHello\r\nWorld\r\n", ["Hello", "World"]),
        ("bom.jsonl", b'\xef\xbb\xbf{"prompt": "Hello"}\r\n', ["Hello"]),
        ("bom.txt", b'\xef\xbb\xbf{"prompt": "Hello"}', ["Hello"]),
        ("CAPITALS.JSONL", b'{"prompt": "Hello"}', ["Hello"]),
        ("u.txt", "a\u2028b\x85c\x0bd\x0ce\x1cf\n\u2029".encode(), ["a\u2028b\x85c\x0bd\x0ce\x1cf"]),
        ("u.jsonl", '{"prompt": "a\u2028b\x85c"}\n'.encode(), ["a\u2028b\x85c"]),
    ],
)
def test_lines_end_at_newlines_alone_and_a_byte_order_mark_is_none_of_the_text(
    tmp_path: Path, name: str, content: bytes, expected: list[str]
) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    assert [asked.prompt for asked in prompts.of_file(str(file))] == expected


def test_content_may_come_in_parts(tmp_path: Path) -> None:
    file = tmp_path / "p.jsonl"
    parts = [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]
    file.write_text(json.dumps({"messages": [{"role": "user", "content": parts}]}))
    assert prompts.of_file(str(file)) == [prompts.Conversation("one two")]


def test_a_shells_pipe_is_a_file_of_prompts() -> None:
    with subprocess.Popen(["printf", "one\\ntwo"], stdout=subprocess.PIPE) as writer:
        assert writer.stdout
        asked = prompts.of_file(f"/dev/fd/{writer.stdout.fileno()}")
    assert [one.prompt for one in asked] == ["one", "two"]


def test_stdin_is_text_with_a_bound(tmp_path: Path) -> None:
    """Told in one line with exit code 2, and before a model is loaded."""

    def said(*arguments: str | bytes, stdin: Path) -> tuple[int, bytes]:
        with stdin.open("rb") as given:
            ended = subprocess.run([*CALL, *arguments], stdin=given, capture_output=True, check=False)
        return ended.returncode, ended.stderr

    (latin1 := tmp_path / "latin1").write_bytes(b"caf\xe9")
    for command in (["chat", "random:tiny"], ["prompt", "random:tiny", "-p", "-"]):
        assert said(*command, stdin=latin1) == (2, b"quantduel: stdin:1: is not UTF-8 text\n")
    assert said("chat", "random:tiny", stdin=Path("/dev/zero")) == (
        2,
        b"quantduel: stdin: is larger than 16 MiB\n",
    )
    code, line = said("prompt", "random:tiny", "-p", b"caf\xe9", stdin=Path(os.devnull))
    assert (code, line.decode()) == (2, "quantduel: argument 4 is not UTF-8 text: caf\ufffd\n")
    code, line = said("duel", "a", "b", "--prompt-file", "/dev/zero", stdin=Path(os.devnull))
    assert (code, line) == (2, b"quantduel: /dev/zero: is a device, not a file\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no prompt in it"),
        ('{"prompt": 3}\n', ":1: Expected `str"),
        ('{"prompt": "a"}\n{"promt": "b"}\n', ":2: nothing to answer"),
        ('{"prompt": "a"}\n{"prompt"\n', ":2: "),
        ('{"messages": [{"role": "assistant", "content": "x"}]}\n', "the user's message last"),
        ('{"messages": [{"role": "robot", "content": "x"}]}\n', "Invalid enum value 'robot'"),
        ('{"prompt": ""}\n', ":1: prompt is empty"),
        ('{"prompt": "\\ud800 x"}\n', ":1: a lone surrogate"),
        (
            '{"prompt": "a"}\n{prompt}\n',
            ":2: not JSON: Expecting property name enclosed in double quotes, column 2",
        ),
        ("[" * 100_000, ":1: "),
        ('{"messages": [{"role": "user", "content": null}]}\n', "got `null`"),
        ('{"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}\n', "Invalid enum value"),
    ],
)
def test_a_bad_prompt_file_is_reported_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "p.jsonl"
    file.write_text(text)
    with pytest.raises(InputError) as caught:
        prompts.of_file(str(file))
    assert said in str(caught.value) and str(file) in str(caught.value)


def test_a_prompt_file_that_is_no_text(tmp_path: Path) -> None:
    file = tmp_path / "p.txt"
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="not UTF-8"):
        prompts.of_file(str(file))
