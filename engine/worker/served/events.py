"""A stream's events out of its bytes: server-sent events, or a JSON object a line. Each with the stamp of the
read that completed it. Knows neither the network nor what an event means.
"""

from collections.abc import Iterable, Iterator
from typing import Literal

import httpx2

from engine.worker.served.reads import Read

Framing = Literal["sse", "lines"]
BOM = b"\xef\xbb\xbf"
LONGEST_EVENT_BYTES = 16 << 20
_NOWHERE = httpx2.Request("GET", "http://localhost")


class TooLong(ValueError):  # noqa: N818
    """An event without end."""


def events(reads: Iterable[Read], framing: Framing) -> Iterator[tuple[int, str]]:
    """(ns, data) of each event. One that the end cuts off comes too: what it says may be whole."""
    return _server_sent(reads) if framing == "sse" else _lines(reads)


def _server_sent(reads: Iterable[Read]) -> Iterator[tuple[int, str]]:
    stamp_ns = 0

    def content() -> Iterator[bytes]:
        nonlocal stamp_ns
        for read in _without_bom(reads):
            stamp_ns = read.ns
            yield read.data
        yield b"\n\n"  # an end that was cut off is an event, whole or not

    response = httpx2.Response(
        200, headers={"content-type": "text/event-stream; charset=utf-8"}, content=content(), request=_NOWHERE
    )
    try:
        for event in httpx2.EventSource(response, LONGEST_EVENT_BYTES):
            if event.data:
                yield stamp_ns, event.data
    except httpx2.SSEError as error:
        raise TooLong(str(error)) from None


def _lines(reads: Iterable[Read]) -> Iterator[tuple[int, str]]:
    begun, stamp_ns = b"", 0
    for read in _without_bom(reads):
        stamp_ns = read.ns
        *lines, begun = (begun + read.data).split(b"\n")
        if len(begun) > LONGEST_EVENT_BYTES:
            raise TooLong(f"a line exceeds {LONGEST_EVENT_BYTES} bytes")
        for line in lines:
            if line.strip():
                yield stamp_ns, line.decode(errors="replace")
    if begun.strip():
        yield stamp_ns, begun.decode(errors="replace")


def _without_bom(reads: Iterable[Read]) -> Iterator[Read]:
    """The reads without a byte-order mark at the beginning, in however many reads it comes."""
    begun: bytes | None = b""
    for read in reads:
        if begun is None:
            yield read
            continue
        begun += read.data
        if len(begun) < len(BOM) and BOM.startswith(begun):
            continue
        yield Read(read.ns, begun.removeprefix(BOM))
        begun = None
