"""What a worker's stderr says: its beginning in a bounded file, its last lines in memory.

Owns the folder of logs, its bounds and its modes. A log that cannot be written is done without: whoever reads
a worker's stderr must go on, or the worker stops at a full pipe.
"""

import re
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from engine import paths, private
from engine.sanitize import without_userinfo

MOST_FILES = 100
LIMIT_BYTES = 1 << 20
TAIL_LINES = 20
LONGEST_LINE_BYTES = 1 << 16
_LONGEST_NAME = 100
LONGEST_LAST_WORDS = 300


class WorkerLog:
    """The log of one worker process."""

    def __init__(self, name: str, pid: int) -> None:
        self.path: Path | None = None
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._file: BinaryIO | None = None
        self._room_bytes = LIMIT_BYTES
        self._rest = b""
        with suppress(OSError):
            path = private.folder(paths.logs()) / f"{_file_name(name)}-{pid}.log"
            self._file, self.path = private.begun(path), path
            _prune(path.parent)

    def add(self, chunk: bytes) -> None:
        """Take what the worker wrote; a line is kept once it is whole."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            self.note(line.decode(errors="replace"))
        if len(self._rest) > LONGEST_LINE_BYTES:
            self._end_line()

    def note(self, line: str) -> None:
        """Take a line."""
        line = without_userinfo(line)
        self.tail.append(line[:LONGEST_LINE_BYTES])
        if self._file is not None and self._room_bytes:
            try:
                self._write(self._file, line.encode(errors="replace") + b"\n")
            except OSError:  # a full disk: the tail in memory is what is left
                self._drop()

    @property
    def last_words(self) -> str:
        """The last line that says something, after a colon; empty for none. A hint is indented."""
        lines = [line for line in self.tail if line.strip()]
        said = next((line for line in reversed(lines) if not line[0].isspace()), lines[-1] if lines else "")
        return f": {said.strip()[:LONGEST_LAST_WORDS]}" if said else ""

    def close(self) -> None:
        """Nothing more will come."""
        if self._rest:
            self._end_line()
        self._drop()

    def _write(self, file: BinaryIO, line: bytes) -> None:
        self._room_bytes -= file.write(line[: self._room_bytes])
        file.flush()

    def _end_line(self) -> None:
        line, self._rest = self._rest, b""
        self.note(line.decode(errors="replace"))

    def _drop(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):
                file.close()


def _file_name(name: str) -> str:
    """A profile's name as part of a file's: no separators, and short enough for every file system."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)[:_LONGEST_NAME]


def _prune(folder: Path) -> None:
    """Remove the oldest logs, so that there are never more than a fixed number."""
    logs = [(log.stat().st_mtime_ns, log) for log in folder.glob("*.log")]
    for _, log in sorted(logs, reverse=True)[MOST_FILES:]:
        log.unlink(missing_ok=True)
