"""A worker behind a launched command: the pipes are the command's, and the worker is at their far end.

Owns what stands between the two: the greeting with its version, the beats that keep the line alive and
measure its round trip, logits in pieces, and the machine's name in all that is reported. Believes the far end
no more than a worker here.
"""

import asyncio
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable

from msgspec.structs import replace

from engine.machine import identity
from engine.protocol.answers import Finished
from engine.protocol.bounds import LONGEST_TEXT
from engine.protocol.failure import Failed
from engine.protocol.far_end import Beat, Greeting, Hello, Piece, Ping, Rest, Sent
from engine.protocol.loading import Loaded, Staged
from engine.protocol.model import ModelInfo
from engine.protocol.scores import Logits, Place, Score, Scored, kept_row_bytes
from engine.protocol.wire import (
    WIRE_VERSION,
    Event,
    FarCommand,
    FarEvent,
    decode_far_event,
    decode_greeting,
    encode,
)
from engine.session import keep_alive, pieces
from engine.session.pieces import Inbox
from engine.session.worker_process import (
    MisspokenError,
    Protocol,
    WorkerProcess,
    within,
)

FIRST_BEATS_S = 0.8
QUIET_S = 5.0  # a login takes a second or two
FAREWELL_S = 2.0  # how long the far end may take to end its worker
LONGEST_COMMAND = 60  # of which more than this says nothing in a line
LATEST = 9  # round trips, whose median is shown
ENDED = frozenset({"worker_lost", "out_of_memory"})


_LIVING: "weakref.WeakSet[LaunchedWorker]" = weakref.WeakSet()


def rest() -> None:
    """Say at every line that nothing more will be said for now: this process is about to be stopped."""
    for worker in _LIVING:
        if worker.hello is not None and worker.exit_code is None:
            worker.send(Rest())


class LaunchedWorker(WorkerProcess):
    """One launched command, and the worker at its far end."""

    def __init__(self, transport: asyncio.SubprocessTransport, protocol: Protocol, name: str) -> None:
        super().__init__(transport, protocol, name)
        _LIVING.add(self)
        self.hello: Hello | None = None
        self.called = ""
        """The command, in what is said while its greeting is waited for."""
        self.quiet_s = QUIET_S
        """How long nothing may come before that is said."""
        self.last_words: Failed | None = None
        """Why the worker ended, as the far end saw it."""
        self.is_cut = False
        self._round_trips_ns: deque[int] = deque(maxlen=LATEST)
        self._is_leaving = False
        self._vocabulary_bytes = 0
        self._inbox: Inbox | None = None
        self._coming: asyncio.Task[Event | None] | None = None
        self._has_told = False
        self._heard: Callable[[], int] = lambda: protocol.heard_bytes
        self._watches += [asyncio.create_task(self._ping()), asyncio.create_task(self._watch_line())]

    @property
    def host(self) -> str:
        """The far machine's name; empty before it has said so."""
        return self.hello.host if self.hello else ""

    @property
    def round_trip_ns(self) -> int | None:
        """To the far end and back, the median of the latest ones."""
        latest = sorted(self._round_trips_ns)
        return latest[len(latest) // 2] if latest else None

    def send(self, command: FarCommand) -> None:
        if not self._stdin.is_closing():
            self._stdin.write(encode(command) + b"\n")

    async def send_score(self, command: Score) -> None:
        """A Score whose logits are files here: the reference's go before it, those written come with its end.

        OSError where they cannot be read.
        """
        if command.reference is not None:
            await self._send_logits(command.reference)
            place = Place("", kept=command.reference.place.kept)
            command = replace(command, reference=replace(command.reference, place=place))
        self._inbox = None
        if command.write is not None:
            positions = len(command.passage.token_ids) - command.passage.first
            kept = command.write.kept
            row_bytes = kept_row_bytes(kept) if kept else self._vocabulary_bytes
            self._inbox = Inbox(command.write, max(0, positions) * row_bytes)
            command = replace(command, write=Place("", kept=kept))
        self.send(command)

    def kill(self) -> None:
        """End it from the far end, which ends with its input; by force where it does not."""
        if self.hello is None or self.fault:
            super().kill()
        elif not self._is_leaving:
            self._is_leaving = True
            self._stdin.close()
            asyncio.get_running_loop().call_later(FAREWELL_S, super().kill)

    async def buried(self) -> None:
        self.kill()
        await within(FAREWELL_S, self._exited.wait())
        await super().buried()  # by then it has ended, or ends by force

    async def _send_logits(self, logits: Logits) -> None:
        try:
            for piece in pieces.sent(logits.place, logits.size_bytes, Piece):
                self._stdin.write(piece)
                await self._stdin.drain()
        except (ConnectionError, RuntimeError):
            return  # the end of the line is reported as such

    async def _next_event(self) -> Event | None:
        """Before its greeting, which a queue may keep for hours, once that it is waited for."""
        coming = self._coming or asyncio.create_task(super()._next_event())
        if self.hello is None and not self._has_told:
            await asyncio.wait([coming], timeout=self.quiet_s)
            self._has_told = True
            if self.hello is None and not coming.done():
                self._coming = coming
                return Staged(stage="start", step="wait for greeting", subject=_shortened(self.called))
        self._coming = None
        return await coming

    async def _event_of(self, line: bytes) -> Event | None:
        if self.hello is None:
            self.hello = _greeted(line)
            return None
        event: FarEvent = decode_far_event(line)
        match event:
            case Hello():
                raise MisspokenError("greeted twice")
            case Beat(echo_ns=echo_ns):
                if echo_ns is not None:
                    self._round_trips_ns.append(max(0, time.monotonic_ns() - echo_ns))
                return None
            case Sent():
                await self._take(event)
                return None
            case Failed():
                found = self._named(event)
                self.last_words = found if found.request is None and found.kind in ENDED else None
                return found
            case _:
                return self._placed(event)

    async def _take(self, sent: Sent) -> None:
        content = await self._stdout.readexactly(sent.size_bytes)
        if self._inbox is None:
            raise MisspokenError("sent logits that nobody asked for")
        try:
            self._inbox.add(content)
        except ValueError as error:
            raise MisspokenError(f"misbehaved: {error}") from error

    def _named(self, failed: Failed) -> Failed:
        message, hint = (
            f"on {self.host}: {failed.message}",
            failed.hint.replace("log: ", f"log on {self.host}: "),
        )
        return replace(failed, message=message[:LONGEST_TEXT], hint=hint[:LONGEST_TEXT])

    def _placed(self, event: Event) -> Event:
        """The event with its machine's name, and with places that are files here."""
        match event:
            case Staged():
                return replace(event, host=self.host)
            case Loaded(info=info):
                self._vocabulary_bytes = info.vocabulary * info.logit_bytes
                return replace(event, info=self._at_its_host(info))
            case Finished():
                return replace(event, round_trip_ns=self.round_trip_ns)
            case Scored(logits=Logits() as logits):
                return replace(event, logits=self._received(logits))
        return event

    def _at_its_host(self, info: ModelInfo) -> ModelInfo:
        machine = self.hello.machine if self.hello else ""
        is_here = machine == identity.machine()  # in a container of this machine, say
        return replace(info, host=self.host, machine="" if is_here else machine)

    def _received(self, logits: Logits) -> Logits:
        inbox, self._inbox = self._inbox, None
        if inbox is None or inbox.done_bytes != replace(logits, place=inbox.place).size_bytes:
            raise MisspokenError("sent other logits than it said")
        return replace(logits, place=inbox.place)

    async def _ping(self) -> None:
        """Say something every moment, for as long as somebody may hear it."""
        while self.exit_code is None and not self._stdin.is_closing():
            if self.hello is not None:
                self.send(Ping(ns=time.monotonic_ns()))
            beat_s = keep_alive.beat_s(self.hello.patience_s) if self.hello else FIRST_BEATS_S
            await within(beat_s, self._exited.wait())

    async def _watch_line(self) -> None:
        """A line that is cut without a word is known by its silence."""
        while self.hello is None and self.exit_code is None:
            await within(FIRST_BEATS_S, self._exited.wait())
        if self.hello is not None and self.exit_code is None:
            over = asyncio.create_task(keep_alive.silence(self._heard, self.hello.patience_s))
            ended = asyncio.create_task(self._exited.wait())
            await asyncio.wait([over, ended], return_when=asyncio.FIRST_COMPLETED)
            if over.done() and not self.fault:
                self.is_cut = True
                self._end_for(f"said nothing for {self.hello.patience_s:g} s")
            over.cancel()
            ended.cancel()


def far_last_words(worker: LaunchedWorker, words: Iterable[str]) -> Failed:
    """Why a launched command ended, which was not asked to: the first of these that is known.

    What the far end said of its worker; what was wrong with the line; what the command said on its stderr.
    """
    if worker.last_words is not None:
        return worker.last_words
    log = f"log: {worker.log.path}" if worker.log.path else ""
    if worker.hello is None:
        command = _shortened(" ".join(words))
        message = f"`{command}` {worker.fault or _end(worker)}"
        return Failed(kind="not_loaded", message=message[:LONGEST_TEXT], hint=log)
    message = f"the worker on {worker.host} {worker.fault or _end(worker)}"
    if worker.is_cut:
        message = f"the line to {worker.host} is cut: it {worker.fault}"
    hint = f"load it again; {log}".removesuffix("; ")
    return Failed(kind="worker_lost", message=message[:LONGEST_TEXT], hint=hint)


def _shortened(command: str) -> str:
    return f"{command[: LONGEST_COMMAND - 1]}…" if len(command) > LONGEST_COMMAND else command


def _end(worker: LaunchedWorker) -> str:
    return f"ended with exit code {worker.exit_code}{worker.log.last_words}"


def _greeted(line: bytes) -> Hello:
    """The far end's first line; MisspokenError where it is none, or one of another version."""
    greeting = _greeting(line)
    if greeting is None:
        said = line[:80].decode(errors="replace").strip()
        others = "nothing else may, such as a login script"
        raise MisspokenError(f"printed “{said}” where `quantduel worker` speaks: {others}")
    if greeting.wire != WIRE_VERSION:
        raise MisspokenError(_other_version(greeting))
    hello: FarEvent = decode_far_event(line)
    if not isinstance(hello, Hello):
        raise MisspokenError("did not greet")
    return hello


def _greeting(line: bytes) -> Greeting | None:
    try:
        found: Greeting = decode_greeting(line)
    except Exception:  # no UTF-8, no JSON, nested without end
        return None
    return found if found.event == "hello" else None


def _other_version(greeting: Greeting) -> str:
    side = f"on {greeting.host or 'the far machine'}" if greeting.wire < WIRE_VERSION else "here"
    theirs = f"{greeting.wire} (QuantDuel {greeting.version or 'unknown'})"
    return f"speaks version {theirs} of the wire, and here it is {WIRE_VERSION}: update QuantDuel {side}"
