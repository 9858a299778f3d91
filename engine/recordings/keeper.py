"""Keeps a duel while it happens: a thread of its own writes what was said, a piece at a time.

Owns the thread, what waits for it, and which kept duel a prompt belongs to: the one whose conversations it
goes on with. An answer never waits for the disk, and nothing that goes wrong there ends one: it is reported
once, and what is not written waits, in bounds, and is tried again.
"""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from engine.config.profile import Generation, Profile
from engine.duel.conversation import Conversation, Exchange
from engine.duel.duel import Duel
from engine.duel.lens import Lens
from engine.errors import HistoryError
from engine.protocol.loading import Loaded, Staged, Started
from engine.protocol.wire import Event
from engine.recordings.rebuilt import Conversations
from engine.recordings.recording import RecordedTurn, Recording, SideEvent
from engine.recordings.store import Change, Duels, now

FLUSH_S = 0.25  # what a kill may cost
MOST_WAITING = 100_000  # events that are held while the file cannot be written

Place = tuple[tuple[Profile, ...], Conversations]


@dataclass(eq=False)
class _Duel:
    profiles: tuple[Profile, ...]
    histories: Conversations
    id: int | None = None


@dataclass(eq=False)
class _Turn:
    duel: _Duel
    begun: RecordedTurn
    after: "_Turn | None" = None
    id: int | None = None
    said: list[SideEvent] = field(default_factory=list)
    lens: Lens | None = None
    taken: "dict[int, _Turn]" = field(default_factory=dict)
    """By side, the turn whose answer stands in this one."""


class Keeper:
    """Writes one front end's duels; `on_error` hears of a file that cannot be used, once, in the thread."""

    def __init__(
        self, duels: Duels | None = None, on_error: Callable[[HistoryError], object] = lambda error: None
    ) -> None:
        self.duels = duels or Duels()
        self._on_error, self._has_failed = on_error, False
        self._places: dict[Place, _Turn | _Duel] = {}
        self._turns: dict[Exchange, _Turn] = {}
        self._latest: _Turn | None = None
        self._current: _Duel | None = None
        self._lock, self._writing = threading.Lock(), threading.Lock()
        self._waiting: list[_Turn] = []  # turns with something to be written, in their order
        self._hurry, self._closing = threading.Event(), False
        self._thread: threading.Thread | None = None

    async def keep(
        self, duel: Duel, prompt: str, answers: AsyncGenerator[tuple[int, Event]], settings: Generation
    ) -> AsyncGenerator[tuple[int, Event]]:
        """Hand the events of `answers` on, which is what `duel` was asked; keep them on the way."""
        turn = self._begin(duel, prompt, settings)
        async with aclosing(answers) as events:
            async for side, event in events:
                if not isinstance(event, Started | Staged):
                    self._add(turn, (side, event))
                yield side, event
        if (exchange := duel.conversation.last) is not None:
            self._note_taken(duel, exchange, turn)
        self._places[_place(duel)] = turn
        self._hurry.set()

    def _note_taken(self, duel: Duel, exchange: Exchange, turn: _Turn) -> None:
        """Which answers of this exchange were said in another one."""
        self._turns[exchange] = turn
        for side, number in exchange.said_in.items():
            source = self._turns.get(duel.conversation.exchanges[number])
            if number != exchange.number and source is not None and source.duel is turn.duel:
                turn.taken[side] = source
                self._wait(turn)

    def recording(self) -> Recording | None:
        """The duel that was asked last or gone on with, as far as it has come; None before any.

        Waits for the disk: not for the loop. HistoryError or InputError where it cannot be read.
        """
        self.flush()
        return self.duels.get(self._current.id) if self._current and self._current.id else None

    def flush(self) -> None:
        """Write what waits; what cannot be written goes on waiting. Waits for the disk: not for the loop."""
        with self._writing:
            self._write_waiting()

    def add_lens(self, lens: Lens) -> None:
        """The lens on the last turn."""
        if self._latest is not None:
            self._latest.lens = lens
            self._wait(self._latest)

    def forget(self) -> None:
        """The next prompt begins another duel."""
        self._places.clear()
        self._turns.clear()
        self._latest = self._current = None

    def go_on(self, recording: Recording, tree: Conversation, duel: int, turns: Sequence[int]) -> None:
        """Prompts after one of these turns of a kept duel, by their numbers in the file, belong to it.

        `tree` is the recording's conversation, which is gone on with.
        """
        kept = _Duel(recording.profiles, recording.histories, duel)
        self._latest, self._current = None, kept
        self._places[recording.profiles, recording.histories] = kept
        last = tree.last
        for exchange, turn, number in zip(tree.exchanges, recording.turns, turns, strict=True):
            tree.last = exchange
            said = tuple(tree.messages(side, "own") for side in range(len(recording.profiles)))
            self._turns[exchange] = _Turn(kept, turn, id=number)
            self._places[recording.profiles, said] = self._turns[exchange]
        tree.last = last

    def close(self) -> None:
        """Write what waits, and end; may take as long as another process holds the file."""
        self._closing = True
        self._hurry.set()
        if self._thread is not None:
            self._thread.join()

    async def aclose(self) -> None:
        """The same without holding the loop up."""
        await asyncio.to_thread(self.close)

    def _begin(self, duel: Duel, prompt: str, settings: Generation) -> _Turn:
        place = _place(duel)
        found = self._places.get(place) or _Duel(*place)
        begun = RecordedTurn(
            prompt=prompt,
            created=now(),
            generation=settings,
            prompts=tuple(duel.overrides.on(session.profile).prompt for session in duel.sessions),
            history=duel.history,
            schedule=duel.schedule,
        )
        after = found if isinstance(found, _Turn) else None
        turn = _Turn(found.duel if isinstance(found, _Turn) else found, begun, after)
        self._places.setdefault(place, turn.duel)
        self._latest, self._current = turn, turn.duel
        for side, session in enumerate(duel.sessions):
            if session.ready and session.info is not None and session.memory is not None:
                self._add(turn, (side, Loaded(info=session.info, memory=session.memory)))
        return turn

    def _add(self, turn: _Turn, said: SideEvent) -> None:
        turn.said.append(said)
        self._wait(turn)

    def _wait(self, turn: _Turn) -> None:
        """Have what is new of a turn written soon."""
        with self._lock:
            if turn not in self._waiting:
                self._waiting.append(turn)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)
            self._thread.start()

    # in the thread

    def _run(self) -> None:
        while not self._closing:
            self._hurry.wait(FLUSH_S)
            self._hurry.clear()
            self.flush()
        self.flush()

    def _write_waiting(self) -> None:
        with self._lock:
            turns, self._waiting = self._waiting, []
        pieces = [(turn, len(turn.said), turn.lens) for turn in turns]
        ids = [(turn.duel, turn.duel.id) for turn in turns] + [(turn, turn.id) for turn in turns]
        try:
            if turns:
                with self.duels.change() as change:
                    for turn, count, lens in pieces:
                        _write(change, turn, turn.said[:count], lens)
        except HistoryError as error:
            for row, number in ids:
                row.id = number
            self._failed(turns, error)
            return
        for turn, count, _ in pieces:
            del turn.said[:count]

    def _failed(self, turns: list[_Turn], error: HistoryError) -> None:
        too_many = sum(len(turn.said) for turn in turns) > MOST_WAITING
        with self._lock:
            self._waiting = [*([] if too_many else turns), *(t for t in self._waiting if t not in turns)]
        if not self._has_failed:
            self._has_failed = True
            self._on_error(error)


def _write(change: Change, turn: _Turn, said: list[SideEvent], lens: Lens | None) -> None:
    if turn.id is not None and turn.duel.id is not None and not change.has(turn.duel.id):
        return  # removed for good meanwhile
    if turn.id is None and turn.duel.id is not None and not change.has(turn.duel.id, listed=True):
        turn.duel.id = None  # deleted meanwhile: a new prompt is not lost with it
        turn.after = None
    if turn.duel.id is None:
        turn.duel.id = change.begin_duel(turn.duel.profiles, turn.duel.histories, turn.begun.created)
    if turn.id is None:
        turn.id = change.begin_turn(turn.duel.id, turn.begun, turn.after.id if turn.after else None)
    if said:
        change.add(turn.id, said)
    if lens is not None:
        change.set_lens(turn.id, lens)
    if turn.taken:
        sides = range(len(turn.duel.profiles))
        change.set_taken(turn.id, [turn.taken[side].id if side in turn.taken else None for side in sides])


def _place(duel: Duel) -> Place:
    """Where a conversation stands: who speaks, and all that was said."""
    return tuple(session.profile for session in duel.sessions), duel.conversations
