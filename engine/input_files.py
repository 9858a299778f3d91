"""Files of strangers, opened and read with a bound: no pipe or device is waited for, no size is trusted.

The boundary for whatever a user or a model's author names: prompts, profiles, headers, records, templates.
Knows nothing of what stands in them. Its error carries the fault alone too, for a caller who words its own.
"""

import codecs
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import IO

from engine.errors import FileError

MIB = 1 << 20
_MARKS = {  # UTF-32's first: its little-endian mark begins with UTF-16's
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


@contextmanager
def opened(file: Path, *, allow_pipe: bool = False) -> Iterator[BufferedReader]:
    """A regular file, or a pipe where that is allowed, open for reading; FileError for anything else.

    Opening never waits: a pipe nobody writes into is empty.
    """
    descriptor = _descriptor(file)
    if fault := _fault_of(os.fstat(descriptor).st_mode, allow_pipe):
        os.close(descriptor)
        raise FileError(file, fault)
    os.set_blocking(descriptor, True)
    with os.fdopen(descriptor, "rb") as stream:
        yield stream


def read(file: Path, most_bytes: int, *, allow_pipe: bool = False) -> bytes:
    """All of a file; FileError where that is more than `most_bytes`, which are then not read on."""
    with opened(file, allow_pipe=allow_pipe) as stream:
        return read_stream(stream, file, most_bytes)


def read_text(file: Path, most_bytes: int, *, allow_pipe: bool = False) -> str:
    """All of a UTF-8 text, without a byte order mark, its lines ended by newlines."""
    return text(read(file, most_bytes, allow_pipe=allow_pipe), file)


def read_stream(stream: IO[bytes], name: Path | str, most_bytes: int) -> bytes:
    """What is left of an open stream; FileError where that is more than `most_bytes`."""
    found = bytearray()
    try:
        while chunk := stream.read(min(MIB, most_bytes + 1 - len(found))):
            found += chunk
            if len(found) > most_bytes:
                raise FileError(name, f"is larger than {_size(most_bytes)}")
    except OSError as error:
        raise FileError(name, error.strerror or str(error)) from None
    return bytes(found)


def text(content: bytes, name: Path | str) -> str:
    """Bytes as UTF-8 text, without a byte order mark; FileError names the line where they are none.

    Every line ends with a newline alone, as in Python's text files.
    """
    for mark, encoding in _MARKS.items():
        if content.startswith(mark):
            raise FileError(name, f"is {encoding}, not UTF-8 text")
    if content.count(0) * 5 > len(content) * 2:  # every second byte of Latin text in UTF-16 is 0
        raise FileError(name, "is not UTF-8 text: it is full of NUL bytes")
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise FileError(name, "is not UTF-8 text", line=line) from None


def _descriptor(file: Path) -> int:
    try:
        return os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise FileError(file, "no such file") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise FileError(file, getattr(error, "strerror", None) or str(error)) from None


def _fault_of(mode: int, allow_pipe: bool) -> str:
    if stat.S_ISREG(mode) or (allow_pipe and stat.S_ISFIFO(mode)):
        return ""
    if stat.S_ISDIR(mode):
        return "is a folder, not a file"
    return "is a pipe, not a file" if stat.S_ISFIFO(mode) else "is a device, not a file"


def _size(count: int) -> str:
    return f"{count // MIB} MiB" if count >= MIB else f"{count} bytes"
