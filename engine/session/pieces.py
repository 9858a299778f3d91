"""Logits on their way between two machines: in pieces, each behind a line that says how many bytes follow.

Reads and writes the files that workers share with their parent; knows neither sessions nor models.
"""

import os
from collections.abc import Iterator

from engine.protocol.far_end import PIECE_BYTES, Piece, Sent
from engine.protocol.scores import Place
from engine.protocol.wire import encode


def sent(place: Place, size_bytes: int, kind: type[Piece] | type[Sent]) -> Iterator[bytes]:
    """What is at a place, ready for the wire; OSError where less is there."""
    file = os.open(place.path, os.O_RDONLY)
    try:
        for done in range(0, size_bytes, PIECE_BYTES):
            wanted = min(PIECE_BYTES, size_bytes - done)
            content = os.pread(file, wanted, place.offset_bytes + done)
            if len(content) < wanted:
                raise OSError("the file with the logits is too short")
            yield encode(kind(size_bytes=wanted, of_bytes=size_bytes)) + b"\n" + content
    finally:
        os.close(file)


class Inbox:
    """A place that is filled piece by piece, and with nothing beyond its size."""

    def __init__(self, place: Place, size_bytes: int) -> None:
        self.place, self.size_bytes = place, size_bytes
        self.done_bytes = 0

    @property
    def is_full(self) -> bool:
        """Whether all of it is there."""
        return self.done_bytes == self.size_bytes

    def add(self, content: bytes) -> None:
        """Take the next piece; ValueError where it is more than was announced."""
        if self.done_bytes + len(content) > self.size_bytes:
            raise ValueError("more logits came than were asked for")
        file = os.open(self.place.path, os.O_WRONLY)
        try:
            os.pwrite(file, content, self.place.offset_bytes + self.done_bytes)
        finally:
            os.close(file)
        self.done_bytes += len(content)
