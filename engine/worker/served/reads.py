"""An answer's bytes as they come from the network, each read with its stamp, in a thread of its own.

Owns the thread and the waiting: a cancel is heard at once, and silence is noticed. Knows no format.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

import httpx2
import msgspec

from engine.worker.served.connection import Connection, ServerError

POLL_S = 0.02
JSON = "application/json"
SILENCE_S = 120.0  # between two reads; a server's pings are reads


class Cancelled(Exception):  # noqa: N818  # nothing went wrong
    """The user wants no more."""


@dataclass(frozen=True, slots=True)
class Head:
    """What comes before the answer."""

    content_type: str


@dataclass(frozen=True, slots=True)
class Read:
    """One read."""

    ns: int
    data: bytes


@dataclass(frozen=True, slots=True)
class End:
    """Nothing more comes; `error` says why, where that is not the server's own end."""

    error: ServerError | None = None
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked, ready to be written."""

    method: str
    path: str
    content: bytes | None
    headers: Mapping[str, str]


def request(
    method: str, path: str, body: dict[str, Any] | None = None, headers: Mapping[str, str] | None = None
) -> Request:
    """A request; its body becomes JSON."""
    if body is None:
        return Request(method, path, None, headers or {})
    return Request(method, path, msgspec.json.encode(body), {"Content-Type": JSON, **(headers or {})})


class Reads:
    """One request under way."""

    def __init__(
        self,
        connection: Connection,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._connection = connection
        self._request = request(method, path, body, headers)
        self._queue: SimpleQueue[Head | Read | End] = SimpleQueue()
        self.sent_ns = time.monotonic_ns()
        threading.Thread(target=self._run, name="reads", daemon=True).start()

    def items(
        self, cancelled: Callable[[], bool], patience_s: Callable[[], float] = lambda: SILENCE_S
    ) -> Iterator[Head | Read | End]:
        """What comes, to its End; Cancelled where `cancelled` says so meanwhile."""
        seen_s: float | None = None  # a prompt may be read for as long as it takes
        while True:
            item: Head | Read | End | None
            try:
                item = self._queue.get(timeout=POLL_S)
            except Empty:
                item = None
            if cancelled():
                self._connection.drop()
                raise Cancelled
            if item is None and seen_s is not None and time.monotonic() - seen_s > patience_s():
                self._connection.drop()
                yield End(ServerError(f"was silent for {patience_s():.0f} s"))
                return
            if item is None:
                continue
            if isinstance(item, Read):
                seen_s = time.monotonic()
            yield item
            if isinstance(item, End):
                return

    def _run(self) -> None:
        receive(self._connection, self._request, self._queue.put)


def receive(connection: Connection, request: Request, put: Callable[[Head | Read | End], None]) -> None:
    """Ask, and put away what comes as it comes, to its End. What raises is an End as well."""
    timeout = httpx2.Timeout(None, connect=5.0, write=10.0, pool=5.0)
    try:
        with connection.client.stream(
            request.method,
            request.path,
            content=request.content,
            headers=dict(request.headers),
            timeout=timeout,
            extensions={"trace": connection.trace},
        ) as response:
            if response.status_code != 200:
                put(End(connection.refusal(response), _seconds(response.headers.get("retry-after"))))
                return
            put(Head(response.headers.get("content-type", "")))
            for data in response.iter_raw():
                put(Read(connection.read_ns, data))
        put(End())
    except Exception as error:  # whatever it is, who waits for the end gets one
        put(End(connection.unreachable(error)))


def reply(
    connection: Connection,
    path: str,
    body: dict[str, Any],
    cancelled: Callable[[], bool],
    most_bytes: int,
) -> bytes:
    """What answers a POST, at most so much of it; asked once more where the connection ends before a byte.

    Only for what may be asked twice: an answer that is written is another one then.
    """
    for is_last in (False, True):
        found, began = bytearray(), False
        for item in Reads(connection, "POST", path, body).items(cancelled):
            began = began or isinstance(item, Head)
            if isinstance(item, Read):
                found += item.data
            if len(found) > most_bytes:
                connection.drop()
                raise ServerError(f"answers with more than {most_bytes} bytes", status=200)
            if isinstance(item, End) and item.error and (is_last or began or item.error.status):
                raise item.error
            if isinstance(item, End) and not item.error:
                return bytes(found)
    raise AssertionError("the last try returns or raises")


def _seconds(text: str | None) -> float | None:
    """What Retry-After asks for; None where it is a date, or nothing."""
    return float(text) if text and text.isascii() and text.isdecimal() else None
