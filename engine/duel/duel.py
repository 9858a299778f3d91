"""One prompt to several sessions: who answers when, what each was asked, and what each answered.

Owns the conversations and the record of a turn. Knows nothing of screens or terminals: it yields events with
the side they belong to, and keeps what came in an `Answer` a side.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager

from msgspec import Struct

from engine.config.profile import Generation
from engine.duel.answer import Answer
from engine.duel.conversation import Conversation, Exchange, History
from engine.duel.overrides import Overrides
from engine.duel.swap import Swap
from engine.protocol.answers import Message
from engine.protocol.failure import Failed
from engine.protocol.wire import Event
from engine.session import schedule as scheduling
from engine.session.client import How, Session
from engine.session.schedule import Schedule


class Input(Struct, frozen=True, kw_only=True):
    """What the sides were given: `identical` is proved by the hash of the token ids, not assumed."""

    identical: bool
    proved: bool = True
    """False where a server does not say which ids it read, so that they may be equal or not."""
    tokens: int
    sha256: str


class Duel:
    """Several sessions in conversation with one user. The first side's sampling settings hold for all."""

    def __init__(self, sessions: Sequence[Session], schedule: Schedule = "sequential") -> None:
        self.sessions = list(sessions)
        self.schedule: Schedule = schedule
        self.turns = 0
        self.answers: dict[int, Answer] = {}
        self.conversation = Conversation(len(self.sessions))
        self.history: History = "own"
        """What sides read before the next prompt."""
        self.lens_side = 1
        """Whose answer the lens reads next to A's."""
        self._cancelled = False
        self.swap = Swap(self.sessions)
        self.overrides = Overrides()
        self.refused: set[int] = set()
        """Sides that are not to be loaded: swapping leaves them out."""

    async def ask(
        self, prompt: str, generation: Generation | None = None, only: Sequence[int] = ()
    ) -> AsyncGenerator[tuple[int, Event]]:
        """Put a prompt to every side that is ready; yields (side, event), and `answers` holds what came.

        `only` names the sides that are asked; empty is all.
        """
        asked = [side for side in self.able if not only or side in only]
        messages = {side: self._messages(side, prompt) for side in asked}
        exchange = self.conversation.begin(prompt)
        async with aclosing(self._asked(exchange, messages, generation, {})) as events:
            async for item in events:
                yield item

    async def resume(
        self, cut: Exchange, generation: Generation | None = None
    ) -> AsyncGenerator[tuple[int, Event]]:
        """Go on with those of an exchange's answers that were cut, on a branch of their own.

        The other answers stand in it as they are.
        """
        sides = self.resumable(cut)
        answered = {side: tuple(cut.answers[side].token_ids) for side in sides}
        messages = {side: cut.answers[side].messages for side in sides}
        self.conversation.last = cut.before
        exchange = self.conversation.begin(cut.prompt)
        exchange.answers, exchange.said_in = dict(cut.answers), dict(cut.said_in)
        async with aclosing(self._asked(exchange, messages, generation, answered)) as events:
            async for item in events:
                yield item
        for side in sides:
            if exchange.answers[side].not_begun:  # cancelled before its turn: it stands as it was cut
                exchange.answers[side] = cut.answers[side]
                exchange.said_in[side] = cut.said_in[side]

    async def _asked(
        self,
        exchange: Exchange,
        messages: Mapping[int, tuple[Message, ...]],
        generation: Generation | None,
        answered: Mapping[int, tuple[int, ...]],
    ) -> AsyncGenerator[tuple[int, Event]]:
        """Ask the sides that `messages` are for."""
        self._cancelled = False
        self.swap.returns.clear()
        settings, asked = generation or self.generation, list(messages)
        contended = self.contended(asked)
        for side in sorted(asked):
            info, limit = self.sessions[side].info, settings.max_new_tokens
            exchange.answers[side] = Answer(contended=contended, info=info, limit=limit)
            exchange.answers[side].messages = messages[side]
            exchange.said_in[side] = exchange.number
        self.answers = exchange.answers
        self.turns += 1
        streams = [self._answer(side, settings, asked, answered.get(side, ())) for side in asked]
        merged = _merged(streams) if self.at_once(asked) else _chained(streams)
        async for side, event in merged:
            self.answers[side].add(event)
            yield side, event

    @property
    def able(self) -> list[int]:
        """The sides that can be asked now, in the order in which they will be."""
        order, swaps = scheduling.order(self.turns, len(self.sessions)), self.schedule == "swap"
        return [side for side in order if self.sessions[side].ready or (swaps and side not in self.refused)]

    def resumable(self, exchange: Exchange) -> list[int]:
        """The sides whose answer was cut and can be gone on with."""
        answers = exchange.answers
        return [side for side in self.able if side in answers and answers[side].is_cut]

    def show(self, exchange: Exchange | None) -> None:
        """The next prompt comes after this exchange; None is the beginning."""
        self.conversation.last = exchange
        self.answers = exchange.answers if exchange else {}

    def _messages(self, side: int, prompt: str) -> tuple[Message, ...]:
        return (*self.conversation.messages(side, self.history), Message("user", prompt))

    @property
    def generation(self) -> Generation:
        """The sampling settings of all sides: the first one's, with what was chosen on top of them."""
        return self.overrides.on(self.sessions[0].profile).generation

    @property
    def stopping(self) -> bool:
        """Whether an answer was cancelled and goes on still; a second `cancel` then ends its worker."""
        return any(session.stopping for session in self.sessions)

    def cancel(self) -> None:
        """Stop every side, also those that have not begun; a second call ends workers that are `stopping`."""
        self._cancelled = True
        for session in self.sessions:
            session.cancel()

    def forget(self, history: Sequence[Message] = ()) -> None:
        """Start new conversations, or go on from what was said before."""
        self.take_up([history for _ in self.sessions])

    @property
    def conversations(self) -> tuple[tuple[Message, ...], ...]:
        """What was said and answered before the next prompt, on each side."""
        return tuple(self.conversation.messages(side, self.history) for side in range(len(self.sessions)))

    def take_up(self, conversations: Sequence[Sequence[Message]]) -> None:
        """Go on from what was said on each side."""
        self.conversation = Conversation(len(self.sessions), conversations)

    def go_on(self, conversation: Conversation) -> None:
        """Go on with another conversation, as far as it has come."""
        self.conversation = conversation
        self.answers = conversation.last.answers if conversation.last else {}

    @contextmanager
    def aside(self, history: Sequence[Message] = ()) -> Iterator[None]:
        """Turns with a history of their own; the earlier conversation is restored afterwards."""
        before = self.conversation, self.answers
        self.forget(history)
        try:
            yield
        finally:
            self.conversation, self.answers = before

    def replace(self, side: int, session: Session) -> None:
        """Put another session on a side; its conversation starts over."""
        self.sessions[side] = session
        self.answers = dict(self.answers)  # what was answered last stays to be looked at
        self.conversation.drop(side)

    def add_side(self, session: Session) -> None:
        """One more side at the end, which has said nothing."""
        self.sessions.append(session)
        self.conversation.add_side()

    def remove_side(self) -> Session:
        """Take the last side away; returns its session, whose worker may live still."""
        side = len(self.sessions) - 1
        self.answers = {other: answer for other, answer in self.answers.items() if other != side}
        self.refused.discard(side)
        self.conversation.remove_side()
        return self.sessions.pop()

    def at_once(self, sides: Sequence[int]) -> bool:
        """Whether these sides answer at the same time: on machines of their own nobody waits."""
        infos = [info for side in sides if (info := self.sessions[side].info)]
        apart = len(infos) == len(sides) > 1 and len({info.machine for info in infos}) == len(infos)
        return self.schedule == "concurrent" or (self.schedule == "sequential" and apart)

    def contended(self, sides: Sequence[int]) -> bool:
        """Whether answers of these sides take speed from each other."""
        infos = [info for side in sides if (info := self.sessions[side].info)]
        return self.schedule == "concurrent" and scheduling.share_a_device(infos)

    def input(self, sides: Sequence[int] = ()) -> Input | None:
        """What these sides of the last turn were given, or all; None before any was asked."""
        wanted = sides or range(len(self.sessions))
        answers = [answer for side, answer in self.answers.items() if side in wanted]
        asked = [answer for answer in answers if answer.timeline.received_ns is not None]
        prompted = [answer for answer in asked if answer.prompt_sha256]
        proved = len(prompted) == len(asked)
        if not prompted:
            return Input(identical=False, proved=False, tokens=0, sha256="") if asked else None
        same = len(prompted) == len(wanted) and len({answer.prompt_sha256 for answer in prompted}) == 1
        first = prompted[0]
        tokens = first.timeline.prompt_tokens
        return Input(identical=same, proved=proved, tokens=tokens, sha256=first.prompt_sha256)

    async def _answer(
        self, side: int, settings: Generation, asked: Sequence[int], answered: tuple[int, ...]
    ) -> AsyncGenerator[tuple[int, Event]]:
        if self._cancelled:
            yield side, Failed(kind="cancelled", message="cancelled before its turn")
            return
        if self.schedule == "swap":
            async with aclosing(self.swap.bring(side)) as loading:
                async for event in loading:
                    yield side, event
            if not self.sessions[side].ready:
                return
        session, answer = self.sessions[side], self.answers[side]
        infos = [info for other in asked if (info := self.sessions[other].info)]
        threads = scheduling.threads(self.schedule, infos, session.info) if session.info else None
        # what was asked before must not change an answer, not even by rounding
        first = len(answer.messages) == 1 and not answered
        prompt = self.overrides.on(session.profile).prompt
        answer.prompt = prompt
        how: How = {"prompt": prompt, "answered": answered, "threads": threads, "cold": first}
        async with aclosing(session.generate(answer.messages, settings, **how)) as events:
            async for event in events:
                yield side, event


async def _chained(
    streams: Sequence[AsyncGenerator[tuple[int, Event]]],
) -> AsyncIterator[tuple[int, Event]]:
    """Items of one stream after the other."""
    for stream in streams:
        async with aclosing(stream) as items:
            async for item in items:
                yield item


async def _merged(
    streams: Sequence[AsyncGenerator[tuple[int, Event]]],
) -> AsyncIterator[tuple[int, Event]]:
    """Items of all streams as they come."""
    queue: asyncio.Queue[tuple[int, Event] | None] = asyncio.Queue()

    async def pump(stream: AsyncGenerator[tuple[int, Event]]) -> None:
        try:
            async with aclosing(stream) as items:
                async for item in items:
                    queue.put_nowait(item)
        finally:
            queue.put_nowait(None)

    tasks = [asyncio.create_task(pump(stream)) for stream in streams]
    try:
        running = len(tasks)
        while running:
            item = await queue.get()
            if item is None:
                running -= 1
            else:
                yield item
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
