"""A worker's life: its process started, told things, listened to, ended.

Owns why it ended. Whatever happens to the process, whoever waits for an event gets a last one, and a shortage
of memory comes with what to try. Which events are an answer, whoever asks says.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from engine.checkpoints import views
from engine.config.profile import Profile
from engine.machine import oom_kill
from engine.protocol.failure import Failed, FailureKind
from engine.protocol.scores import Score
from engine.protocol.wire import Command, Event
from engine.session import launch
from engine.session.last_words import last_words
from engine.session.launched import LaunchedWorker, far_last_words
from engine.session.worker_process import WorkerProcess

MOST_WAITING = 1 << 16  # events that a slow reader may leave; then the worker has to wait
ADVICE_S = 5.0  # what goes with a failure may not keep it from the reader for longer


class Life:
    """Of one worker process, from before it is started until it has ended."""

    def __init__(
        self, profile: Profile, memory_limit_bytes: int | None, is_answer: Callable[[Event], bool]
    ) -> None:
        self.worker: WorkerProcess | None = None
        self.lost: Failed | None = None
        """Why it ended, once it has, or why it never began."""
        self.ending: FailureKind | None = None
        """Why this side ends it, if it does."""
        self.is_loaded = False
        self._profile, self._memory_limit_bytes = profile, memory_limit_bytes
        self._is_answer, self._is_buried = is_answer, False
        self._events: asyncio.Queue[Event] = asyncio.Queue(MOST_WAITING)
        self._reading: asyncio.Task[None] | None = None
        self._oom_kills: int | None = None  # the kernel's count when it was started

    @property
    def far(self) -> LaunchedWorker | None:
        """The worker where a command launched it, on another machine perhaps."""
        return self.worker if isinstance(self.worker, LaunchedWorker) else None

    async def start(self) -> None:
        """Start the process; where there is none to be had, `lost` says why."""
        self._oom_kills = oom_kill.count()
        try:
            settings = await asyncio.to_thread(launch.settings, self._profile)
            place = self._profile.runs_in
            kind = LaunchedWorker if place.is_elsewhere else WorkerProcess
            self.worker = await kind.started(self._profile.name, settings, launch.command(place))
            if self.far is not None:
                self.far.called = " ".join(place.launch_words)
            self.worker.farewell_s = launch.farewell_s(self._profile)
        except OSError as error:
            self.lost = launch.not_started(error)
            return
        if self.ending is not None:  # meanwhile
            self.worker.kill()
        self._reading = asyncio.create_task(self._read(self.worker))

    def send(self, command: Command) -> None:
        """Say something, if there is somebody to hear it."""
        if self.lost is None and self.worker is not None:
            self.worker.send(command)

    async def say(self, command: Command) -> None:
        """The same, with the files that it names where the worker sees none of them."""
        if isinstance(command, Score) and self.far is not None and self.lost is None:
            try:
                await self.far.send_score(command)
            except OSError as error:
                message = f"the reference's logits cannot be sent: {error}"
                failed = Failed(kind="generation", message=message, request=command.request)
                self._events.put_nowait(failed)
        else:
            self.send(command)

    async def next_event(self) -> Event:
        """The next that is an answer still; after the worker's end that it is lost, again and again."""
        while True:
            event = self.lost if self.lost and self._events.empty() else await self._events.get()
            if event is self.lost or self._is_heard(event):
                return event

    def forget_events(self) -> None:
        """Drop what nobody has taken."""
        while not self._events.empty():
            self._events.get_nowait()

    def end(self, why: FailureKind) -> None:
        """End the process, or what will be one."""
        if self.worker is None:
            self.ending = why
        elif self.worker.exit_code is None:
            self.ending = why
            self.worker.kill()

    async def buried(self) -> None:
        """When this returns its memory is free, unless the kernel cannot end it."""
        if self.worker is None:
            return
        await self.worker.buried()
        self._is_buried = True
        if self._reading is not None:
            self.forget_events()  # what reads may wait for room
            await asyncio.wait([self._reading], timeout=2 * ADVICE_S)

    async def over(self) -> Failed:
        """Why it ended, once it has."""
        if self._reading is not None:
            await asyncio.wait([self._reading])
        return self.lost or Failed(kind="worker_lost", message="the worker was not started")

    async def _read(self, worker: WorkerProcess) -> None:
        """Take what the worker says. However this ends, whoever waits for an event gets a last one."""
        lost = Failed(kind="worker_lost", message="the worker is gone")
        try:
            async for event in worker.events():
                if self._is_heard(event):
                    advised = await self._with_advice(event) if isinstance(event, Failed) else event
                    await self._events.put(advised)
            if not self.is_loaded and self.far is None:
                await _sweep_store()
            lost = await self._with_advice(self._last_words(worker))
        finally:
            self.lost = lost
            with suppress(asyncio.QueueFull):  # then nobody waits: it comes after what is there
                self._events.put_nowait(lost)

    def _is_heard(self, event: Event) -> bool:
        return self._is_answer(event) and not self._is_buried

    def _last_words(self, worker: WorkerProcess) -> Failed:
        if isinstance(worker, LaunchedWorker) and self.ending is None:
            return far_last_words(worker, self._profile.worker.launch_words)
        is_limited = self._memory_limit_bytes is not None
        return last_words(worker, self.ending, self._oom_kills, is_limited=is_limited)

    async def _with_advice(self, failed: Failed) -> Failed:
        """A shortage with what to try, by name; every other failure as it is."""
        if failed.kind != "out_of_memory" or self._profile.worker.is_elsewhere:
            return failed
        from engine.plan import advice

        asked = asyncio.to_thread(advice.advised, failed, self._profile, self._memory_limit_bytes)
        try:
            return await asyncio.wait_for(asked, ADVICE_S)
        except Exception as error:  # the failure is reported all the same
            if self.worker is not None:
                self.worker.log.note(f"no advice: {error!r}")
            return failed


async def _sweep_store() -> None:
    """Remove what an ended worker was making or reading through; where that fails, the next visitor does."""
    from engine.checkpoints import store

    views.sweep()
    with suppress(OSError, TimeoutError):
        await asyncio.wait_for(asyncio.to_thread(store.sweep), ADVICE_S)
