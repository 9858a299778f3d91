"""Strangers' files: nothing is waited for, nothing is read without a bound, text is UTF-8."""

import os
import subprocess
from pathlib import Path

import pytest

from engine import input_files
from engine.errors import FileError


def refusal(file: Path, most_bytes: int = 1 << 20, *, allow_pipe: bool = False) -> str:
    with pytest.raises(FileError) as caught:
        input_files.read_text(file, most_bytes, allow_pipe=allow_pipe)
    assert str(caught.value).startswith(str(file))
    return caught.value.problem


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    """A folder, a pipe, a device, a dangling link, a name with a NUL, a name too long."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dangling").symlink_to(tmp_path / "gone")
    assert refusal(tmp_path) == "is a folder, not a file"
    assert refusal(tmp_path / "pipe") == "is a pipe, not a file"
    assert refusal(Path("/dev/zero"), allow_pipe=True) == "is a device, not a file"
    assert refusal(tmp_path / "dangling") == "no such file"
    assert "null" in refusal(tmp_path / "a\0b")
    assert "too long" in refusal(tmp_path / ("a" * 300))


def test_reading_ends_at_the_bound(tmp_path: Path) -> None:
    (tmp_path / "fits").write_bytes(b"x" * 100)
    with (tmp_path / "sparse").open("wb") as sparse:
        sparse.truncate(1 << 40)
    assert input_files.read(tmp_path / "fits", 100) == b"x" * 100
    assert refusal(tmp_path / "fits", 99) == "is larger than 99 bytes"
    assert refusal(tmp_path / "sparse", 1 << 20) == "is larger than 1 MiB"


def test_a_pipe_is_read_where_one_is_allowed(tmp_path: Path) -> None:
    """As the shell's `<(…)` makes them; one that nobody writes into is empty, and does not hang."""
    os.mkfifo(tmp_path / "pipe")
    assert input_files.read(tmp_path / "pipe", 100, allow_pipe=True) == b""
    with subprocess.Popen(["echo", "hello"], stdout=subprocess.PIPE) as writer:
        assert writer.stdout
        pipe = Path(f"/dev/fd/{writer.stdout.fileno()}")
        assert input_files.read_text(pipe, 100, allow_pipe=True) == "hello\n"


def test_text_is_utf8_without_its_mark(tmp_path: Path) -> None:
    file = tmp_path / "text"
    file.write_bytes(b"\xef\xbb\xbfone\r\n\xe2\x80\xa8two")
    assert input_files.read_text(file, 100) == "one\n\u2028two"
    file.write_bytes("Hello".encode("utf-16"))
    assert refusal(file) == "is UTF-16, not UTF-8 text"
    file.write_bytes("Hello".encode("utf-16-le"))
    assert "NUL" in refusal(file)
    file.write_bytes(b"a\0b")
    assert input_files.read_text(file, 100) == "a\0b"
    file.write_bytes(b"one\ncaf\xe9")
    with pytest.raises(FileError, match="text:2: is not UTF-8 text"):
        input_files.read_text(file, 100)
