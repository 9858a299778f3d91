"""A worker's process and its pipes: started, spoken to, listened to, ended.

Owns the one boundary at which a worker is believed: a line that is no event ends the process. Whatever it
does, `events` comes to an end soon after it can say nothing more. Knows neither models nor requests.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress

from engine import paths
from engine.protocol import LONGEST_LINE_BYTES, Command, Event, decode_event, encode
from engine.worker_log import WorkerLog

COMMAND = (sys.executable, "-P", "-m", "engine.worker")
LAST_MOMENTS_S = 2.0  # a process that has closed a pipe may take so long to end by itself
BURIAL_S = 3.0  # the kernel may take so long to end a killed one, and to give its memory back


class WorkerProcess:
    """One process, living."""

    def __init__(self, process: asyncio.subprocess.Process, name: str) -> None:
        self.pid = process.pid
        self.log = WorkerLog(name, process.pid)
        self.fault = ""
        """What it did wrong; empty unless that is why it was ended."""
        self._process = process
        self._stdin, self._stdout, self._stderr = _pipes(process)
        self._log_task = asyncio.create_task(self._read_log())
        self._stdin_task = asyncio.create_task(self._follow_stdin())

    @classmethod
    async def started(cls, name: str, settings: Mapping[str, str]) -> "WorkerProcess":
        """A new process, its log under this name; OSError where the system has none to give.

        `settings` go into its environment, over what is set here.
        """
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *COMMAND,
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            limit=LONGEST_LINE_BYTES,
            env={**paths.environment(), **settings},
            start_new_session=True,  # Ctrl-C in the terminal is ours to handle
        )
        return cls(process, name)

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
        """End it at once."""
        with suppress(ProcessLookupError):
            if self.exit_code is None and hasattr(os, "killpg"):
                os.killpg(self.pid, signal.SIGKILL)  # what it started is of its group
            self._process.kill()

    async def buried(self) -> None:
        """End it; when this returns its memory is back, unless the kernel is stuck."""
        self.kill()
        await _within(BURIAL_S, self._process.wait())
        await _within(BURIAL_S, self._log_task)  # a grandchild may hold the pipe
        self._stdin_task.cancel()

    async def _next_event(self) -> Event | None:
        """None at the end, and where the worker says what is no event."""
        try:
            line = await self._stdout.readline()
            return decode_event(line) if line else None
        except Exception as error:  # too long, no UTF-8, no JSON, no event, nested without end
            said = next(iter(str(error).splitlines()), "") or type(error).__name__
            self._end_for(f"said what cannot be read ({said[:200]})")
            return None

    async def _follow_stdin(self) -> None:
        """A worker that has closed its input will never hear a command."""
        with suppress(OSError):
            await self._stdin.wait_closed()
        await self._last_moments("closed its input")

    async def _last_moments(self, fault: str) -> None:
        await _within(LAST_MOMENTS_S, self._process.wait())
        if self.exit_code is None:
            self._end_for(fault)
            await _within(BURIAL_S, self._process.wait())

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


async def _within(seconds: float, awaited: object) -> None:
    """Wait for it, but not for ever."""
    await asyncio.wait([asyncio.ensure_future(awaited)], timeout=seconds)  # type: ignore[call-overload]


def _pipes(
    process: asyncio.subprocess.Process,
) -> tuple[asyncio.StreamWriter, asyncio.StreamReader, asyncio.StreamReader]:
    if process.stdin is None or process.stdout is None or process.stderr is None:
        raise RuntimeError("the worker was started without a pipe")
    return process.stdin, process.stdout, process.stderr
