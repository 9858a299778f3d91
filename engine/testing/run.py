"""Runs a test: one model after the other is loaded, asked every question it has not answered yet, and ended.

Owns the order, A first, and what is kept meanwhile: an answer is kept before the next question is asked. A
file that cannot be used is said once, and costs no answer.
"""

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

from engine.config.profile import Profile
from engine.config.profiles import to_yaml
from engine.errors import HistoryError, InputError
from engine.jobs.events import Advanced, Completed, Noted
from engine.jobs.job import Job
from engine.jobs.pace import Pace
from engine.jobs.sheet import Sheet
from engine.protocol.failure import Failed, Failure
from engine.protocol.loading import Loaded, Staged
from engine.protocol.model import ModelInfo
from engine.session.client import Session
from engine.session.progress import stage_text
from engine.testing import kept as keeping
from engine.testing import settings as pairs
from engine.testing.asking import asked
from engine.testing.checks import Verdict
from engine.testing.kept import Found, Kept
from engine.testing.questions import Answered, Question, Questions, Response
from engine.testing.report import Report, reported
from engine.testing.settings import Settings
from engine.testing.side import Side
from engine.testing.text import sheet

T = TypeVar("T")
Open = Callable[[Profile, int | None], Session]
"""Makes a session of a profile with so many CPU threads."""


def _session(profile: Profile, threads: int | None) -> Session:
    return Session(profile, threads=threads)


class Exam(Job):
    """One test on its way; `report` has every answer so far, also when `run` is left early."""

    def __init__(
        self,
        settings: Settings,
        questions: Questions,
        *,
        again: bool = False,
        kept: Kept | None = None,
        open_session: Open = _session,
    ) -> None:
        """`again` asks everything, whatever was kept."""
        super().__init__()
        pairs.require_pair(settings.profiles)
        self.settings, self.questions = settings, questions
        self.sides = [Side(profile) for profile in settings.profiles]
        self._open = open_session
        self._again, self._kept = again, kept or Kept()
        self._keeps = True
        self._pace = Pace()
        self._notes: list[str] = []
        self._yaml = {profile.name: to_yaml(profile) for profile in settings.profiles}

    @property
    def report(self) -> Report:
        """The answers so far, compared; computed at each call."""
        return reported(self.questions, self.settings, self.sides, self._notes, self._yaml)

    @property
    def sheet(self) -> Sheet:
        """The report's."""
        return sheet(self.report)

    @property
    def failure(self) -> Failure | None:
        """The first model's, where none of them answered anything."""
        failed = next((side.failure for side in self.sides if side.failure), None)
        return failed.failure if failed and not any(side.answers for side in self.sides) else None

    async def _work(self) -> None:
        try:
            for side in self.sides:
                await self._remember(side)
            self._pace.left = float(sum(len(self._missing(side)) for side in self.sides))
            for side in self.sides:
                await self._all(side)
        finally:
            await asyncio.gather(*(side.close() for side in self.sides))

    def _missing(self, side: Side) -> list[tuple[int, Question]]:
        """What it has not answered, with the index in the set."""
        return [pair for pair in enumerate(self.questions.questions) if pair[1].id not in side.answers]

    async def _all(self, side: Side) -> None:
        """Ask one model everything that is left, with the machine to itself."""
        if self._missing(side) and await self._load(side) and side.session:
            for index, question in self._missing(side):
                if not await self._ask(side, side.session, index, question):
                    break
        await side.close()
        self.emit(Completed(side.name))

    async def _load(self, side: Side) -> bool:
        self.emit(Advanced(side.name, "starting"))
        side.session = self._open(side.profile, side.threads)
        async for event in side.session.load():
            match event:
                case Staged():
                    self.emit(Advanced(side.name, stage_text(event)))
                case Loaded(info=info):
                    await self._loaded(side, info)
                case Failed():
                    side.failure = event
        return side.failure is None

    async def _loaded(self, side: Side, info: ModelInfo) -> None:
        """Answers of what is not quite this model do not count."""
        then, side.info = side.info, info
        if then and side.answers and (changed := keeping.changes(then, info)):
            self._note(side, keeping.MODEL_CHANGED.format(changed, len(side.answers)))
            self._pace.left += len(side.answers)
            side.answers, side.from_before = {}, 0
            side.run = await self._stored(lambda: self._kept.renewed(side.run), side.run)
        await self._stored(lambda: self._kept.loaded(side.run, info), None)

    async def _ask(self, side: Side, session: Session, index: int, question: Question) -> bool:
        """One question; False where the model can answer no more."""
        done, total = len(side.answers), len(self.questions.questions)
        doing = f"question {done + 1} of {total}{_so_far(side)}"
        self.emit(Advanced(side.name, doing, self._pace.share, self._pace.left_s))
        started_s = time.monotonic()
        response = await asked(session, question, self.settings.max_new_tokens)
        if isinstance(response, Failed):
            side.failure = response
            return False
        try:
            answered = Answered(response=response, verdict=await self._judged(index, response))
        except InputError as error:
            side.failure = Failed(kind="bad_input", message=error.message, hint=error.hint)
            return False
        side.answers[question.id] = answered
        await self._stored(lambda: self._kept.keep(side.run, question.id, answered), None)
        self._pace.add(1, time.monotonic() - started_s)
        return True

    async def _judged(self, index: int, response: Response) -> Verdict:
        return Verdict(right=False) if response.error else await self.questions.judge(index, response)

    # what is kept

    async def _remember(self, side: Side) -> None:
        limit, again = self.settings.max_new_tokens, self._again

        def opened() -> Found:
            return self._kept.open(self.questions, side.profile, limit, again=again)

        found = await self._stored(opened, Found(run=0))
        ids = {question.id for question in self.questions.questions}  # of a set the first ones may be asked
        side.run, side.info = found.run, found.model
        side.answers = {id: answered for id, answered in found.answers.items() if id in ids}
        side.from_before = len(side.answers)
        if found.note:
            self._note(side, found.note)

    async def _stored(self, call: Callable[[], T], otherwise: T) -> T:
        """What the file says; `otherwise` where it cannot be used, which is said once."""
        if not self._keeps:
            return otherwise
        try:
            return await asyncio.to_thread(call)
        except HistoryError as error:
            self._keeps = False
            note = f"answers are not kept, and a test that is interrupted begins anew: {error}"
            self._notes.append(note)
            self.emit(Noted(note))
            return otherwise

    def _note(self, side: Side, text: str) -> None:
        side.notes.append(text)
        self.emit(Noted(f"{side.name}: {text}"))


def _so_far(side: Side) -> str:
    """`, 41 % right so far`."""
    if not side.answers:
        return ""
    right = sum(answered.verdict.right for answered in side.answers.values())
    return f", {100 * right / len(side.answers):.0f} % right so far"
