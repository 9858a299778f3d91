"""A worker's process and its pipes: started, spoken to, listened to, ended.

Owns the one boundary at which a worker is believed: a line that is no event ends the process. Whatever it
does, `events` comes to an end soon after it can say nothing more. Knows neither models nor requests. What is
behind a launched command's pipes is `launched`'s.
"""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process, SubprocessStreamProtocol
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any, Self

from engine import paths
from engine.protocol.wire import LONGEST_LINE_BYTES, Command, Event, decode_event, encode
from engine.session.worker_log import WorkerLog

COMMAND = (sys.executable, "-P", "-m", "engine.worker")
LAST_MOMENTS_S = 2.0  # how long what has begun to end may take
BURIAL_S = 3.0  # how long the kernel may take to end a killed process and free its memory


class MisspokenError(Exception):
    """What came is nothing that a worker says; the text is what it did, after `the worker`."""


class WorkerProcess:
    """One process, living."""

    def __init__(self, transport: asyncio.SubprocessTransport, protocol: "Protocol", name: str) -> None:
        process = Process(transport, protocol, asyncio.get_running_loop())
        self.pid = process.pid
        self.log = WorkerLog(name, process.pid)
        self.fault = ""
        """What it did wrong; empty unless that is why it was ended."""
        self.farewell_s = 0.0
        """How long what it started, in a group of its own and with its stderr, may take to end after it."""
        self._process, self._transport = process, transport
        self._exited, self._deaf = protocol.exited, protocol.deaf
        self._stdin, self._stdout, self._stderr = _pipes(process)
        self._log_task = asyncio.create_task(self._read_log())
        self._watches = [
            asyncio.create_task(watch) for watch in (self._watch_stdin(), self._watch_grandchildren())
        ]

    @classmethod
    async def started(cls, name: str, settings: Mapping[str, str], command: Sequence[str] = ()) -> Self:
        """A new process, its log under this name; OSError where the system has none to give.

        `settings` go into its environment, over what is set here. Nothing for `command` is a worker in this
        Python.
        """
        loop, command = asyncio.get_running_loop(), command or COMMAND
        transport, protocol = await loop.subprocess_exec(
            Protocol,
            *command,
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            cwd=paths.neutral_folder(),
            env={**paths.environment(command[0]), **settings},
            start_new_session=True,  # Ctrl-C in the terminal is ours to handle
        )
        return cls(transport, protocol, name)

    @property
    def exit_code(self) -> int | None:
        """What it ended with, negative for a signal; None while it lives."""
        return self._process.returncode

    def send(self, command: Command) -> None:
        """Say something, unless it hears no more."""
        if not self._stdin.is_closing():
            self._stdin.write(encode(command) + b"\n")

    async def events(self) -> AsyncIterator[Event]:
        """What it says, to the end. Afterwards it has ended, or the kernel is about to do it."""
        while (event := await self._next_event()) is not None:
            yield event
        await self._last_moments("closed its output")

    def kill(self) -> None:
        """End it at once, and what it has started."""
        if self.exit_code is None:
            self._kill_group()
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)  # Process.kill may reap it, whose end asyncio then misses

    async def buried(self) -> None:
        """End it; when this returns its memory is free, unless the kernel is stuck."""
        self.kill()
        await within(BURIAL_S, self._exited.wait())
        await asyncio.wait([self._log_task, *self._watches], timeout=BURIAL_S + self.farewell_s)

    async def _next_event(self) -> Event | None:
        """None at the end, and where the worker says what is no event."""
        try:
            while line := await self._stdout.readline():
                if (event := await self._event_of(line)) is not None:
                    return event
            return None
        except MisspokenError as error:
            self._end_for(str(error))
            return None
        except Exception as error:  # too long, no UTF-8, no JSON, no event, nested without end
            said = next(iter(str(error).splitlines()), "") or type(error).__name__
            self._end_for(f"sent something that cannot be read ({said[:200]})")
            return None

    async def _event_of(self, line: bytes) -> Event | None:
        """The worker's event in a line, None where it is the line's own business."""
        event: Event = decode_event(line)
        return event

    async def _watch_stdin(self) -> None:
        """A worker that has closed its input will never hear a command."""
        await self._deaf.wait()
        await self._last_moments("closed its input")

    async def _watch_grandchildren(self) -> None:
        """What a worker has started ends with it; what got away, and holds its pipes, is not listened to."""
        await self._exited.wait()
        self._kill_group()
        await asyncio.wait(
            [self._log_task], timeout=LAST_MOMENTS_S + self.farewell_s
        )  # what was said is read
        self._transport.close()

    def _kill_group(self) -> None:
        with suppress(ProcessLookupError, PermissionError):
            if hasattr(os, "killpg"):
                os.killpg(self.pid, signal.SIGKILL)

    async def _last_moments(self, fault: str) -> None:
        await within(LAST_MOMENTS_S, self._exited.wait())
        if self.exit_code is None:
            self._end_for(fault)
            await within(BURIAL_S, self._exited.wait())

    def _end_for(self, fault: str) -> None:
        self.fault = self.fault or fault
        self.log.note(f"ended by QuantDuel: the worker {fault}")
        self.kill()

    async def _read_log(self) -> None:
        try:
            while chunk := await self._stderr.read(1 << 16):
                self.log.add(chunk)
        finally:
            self.log.close()


class Protocol(SubprocessStreamProtocol):
    """Says when the process has ended, for which asyncio waits until its pipes have, or hears no more."""

    heard_bytes = 0
    """What its stdout has said."""

    def __init__(self) -> None:
        super().__init__(limit=LONGEST_LINE_BYTES, loop=asyncio.get_running_loop())
        self.exited, self.deaf = asyncio.Event(), asyncio.Event()

    def pipe_data_received(self, fd: int, data: bytes | str) -> None:
        super().pipe_data_received(fd, data)
        self.heard_bytes += len(data) if fd == 1 else 0

    def process_exited(self) -> None:
        super().process_exited()
        self.exited.set()

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        super().pipe_connection_lost(fd, exc)
        if fd == 0:
            self.deaf.set()


async def within(seconds: float, awaited: Coroutine[Any, Any, object]) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(awaited, seconds)


def _pipes(process: Process) -> tuple[asyncio.StreamWriter, asyncio.StreamReader, asyncio.StreamReader]:
    if process.stdin is None or process.stdout is None or process.stderr is None:
        raise RuntimeError("the worker was started without a pipe")
    return process.stdin, process.stdout, process.stderr
