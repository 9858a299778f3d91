"""Many requests at once: a thread and a connection each, and nothing but reading while they are under way.

Owns the threads, and how well the client itself keeps up. What came is bytes with the stamps of their reads:
they are folded into tokens when the last request has ended, so that no parsing moves another's stamp.
"""

import gc
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue

from engine.stats.metrics import percentile
from engine.worker.served.connection import Connection, ServerError
from engine.worker.served.reads import SILENCE_S, Cancelled, End, Head, Read, Request, receive

POLL_S = 0.1
CONNECT_S, END_S = 10.0, 1.0
LOOK_S = 0.005  # a thread that does nothing else wakes so often
LONGEST_ANSWER_BYTES = 16 << 20


@dataclass(slots=True)
class Taken:
    """One request as it went."""

    sent_ns: int = 0
    """0 for one that was never written."""
    content_type: str = ""
    reads: list[Read] = field(default_factory=list)
    error: ServerError | None = None
    connected: bool = False
    """A connection was made on its clock."""
    ended: bool = False


@dataclass(frozen=True, slots=True)
class Client:
    """How the client was meanwhile."""

    cpu_share: float
    """Of one core, which all its threads share; a server in this process is no part of it."""
    late_ms: float
    """95th percentile of how late a thread woke."""


class Many:
    """Requests to one server, `at_once` of them under way until all have ended."""

    def __init__(
        self, connect: Callable[[], Connection], ping: str, requests: Sequence[Request], at_once: int
    ) -> None:
        self._connect, self._ping, self._requests = connect, ping, requests
        self._taken = [Taken() for _ in requests]
        self._left: SimpleQueue[int] = SimpleQueue()
        for number in range(len(requests)):
            self._left.put(number)
        self._connections: dict[int, Connection] = {}
        """Of each stream the present one."""
        self._start = threading.Barrier(min(at_once, len(requests)) + 1)
        self._over = False
        self._cpu_ns: list[int] = []
        """What each stream that has ended has computed."""

    def run(
        self, cancelled: Callable[[], bool], advanced: Callable[[int], None]
    ) -> tuple[list[Taken], Client]:
        """All of them, in the order in which they were given; Cancelled where `cancelled` says so.

        `advanced` is told how many have ended, now and then.
        """
        streams = [
            threading.Thread(target=self._stream, args=(number,), name="stream", daemon=True)
            for number in range(self._start.parties - 1)
        ]
        for stream in streams:
            stream.start()
        try:
            self._wait_for(len(streams))
            with no_garbage(), watched(self._cpu_ns) as looks:
                self._look_on(streams, cancelled, advanced)
        finally:
            self._over = True
            self._start.abort()
            self._drop(*self._connections.values())
            for stream in streams:
                stream.join(END_S)
        return self._taken, looks()

    def _wait_for(self, streams: int) -> None:
        """All connections are open: from here on they are on the clock."""
        try:
            self._start.wait(CONNECT_S)
        except threading.BrokenBarrierError:
            raise ServerError(f"did not answer on {streams} connections within {CONNECT_S:.0f} s") from None

    def _look_on(
        self, streams: list[threading.Thread], cancelled: Callable[[], bool], advanced: Callable[[int], None]
    ) -> None:
        told = 0
        while alive := [stream for stream in streams if stream.is_alive()]:
            alive[0].join(POLL_S)
            if cancelled():
                raise Cancelled
            self._end_silent()
            done = sum(each.ended for each in self._taken)
            if done > told:
                advanced(told := done)

    def _end_silent(self) -> None:
        """A prompt may be read for as long as it takes; after the first bytes silence has an end."""
        for connection in list(self._connections.values()):
            since_ns = time.monotonic_ns() - connection.read_ns
            if connection.read_ns > connection.sent_ns > 0 and since_ns > SILENCE_S * 1e9:
                self._drop(connection)

    def _drop(self, *connections: Connection) -> None:
        for connection in connections:
            connection.drop()

    # in a thread of its own

    def _stream(self, stream: int) -> None:
        connection, began_ns = self._connected(stream), time.thread_time_ns()
        try:
            self._start.wait(CONNECT_S)
            number = self._left.get_nowait()
            while True:
                self._ask(connection, self._requests[number], self._taken[number])
                connection.close()
                if self._over:
                    return
                number = self._left.get_nowait()  # before connecting: after the last request nobody is asked
                connection = self._connected(stream)
        except (Empty, threading.BrokenBarrierError):
            return
        finally:
            self._cpu_ns.append(time.thread_time_ns() - began_ns)
            connection.close()

    def _connected(self, stream: int) -> Connection:
        """A new connection, open: some servers end one after each stream without a word. On no clock."""
        self._connections[stream] = connection = self._connect()
        connection.warm(self._ping)
        return connection

    def _ask(self, connection: Connection, request: Request, taken: Taken) -> None:
        before, came = connection.connects, 0

        def put(item: Head | Read | End) -> None:
            nonlocal came
            if isinstance(item, Read):
                taken.reads.append(item)
                came += len(item.data)
                if came > LONGEST_ANSWER_BYTES:
                    raise ValueError(f"an answer exceeds {LONGEST_ANSWER_BYTES} bytes")
            elif isinstance(item, Head):
                taken.content_type = item.content_type
            else:
                taken.error = item.error

        connection.sent_ns = 0
        receive(connection, request, put)
        taken.sent_ns, taken.connected = connection.sent_ns, connection.connects > before
        taken.ended = True
        if connection.sent_ns == 0:  # nobody is there any more
            self._over = True


@contextmanager
def no_garbage() -> Iterator[None]:
    """No collection of garbage holds the threads up."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@contextmanager
def watched(cpu_ns: Sequence[int]) -> Iterator[Callable[[], Client]]:
    """How the client is from here on; afterwards the call says it.

    Its threads put what they have computed into `cpu_ns`.
    """
    late_ns, over = [0], threading.Event()

    def look() -> None:
        while not over.is_set():
            began_ns = time.monotonic_ns()
            time.sleep(LOOK_S)
            late_ns.append(time.monotonic_ns() - began_ns - int(LOOK_S * 1e9))

    thread = threading.Thread(target=look, name="look", daemon=True)
    began_ns = time.monotonic_ns()
    thread.start()
    found: list[Client] = []
    try:
        yield lambda: found[0]
    finally:
        wall_ns = time.monotonic_ns() - began_ns
        share = sum(cpu_ns) / max(1, wall_ns)
        over.set()
        thread.join()
        found.append(Client(share, max(0.0, (percentile(late_ns, 95) or 0.0) / 1e6)))
