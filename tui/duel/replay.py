"""A recording in place of the engine: the same messages, out of sessions without a worker.

Asks nothing of the machine: a recording may be a stranger's. Keeps nothing: it is kept already.
"""

from collections.abc import AsyncGenerator, Callable

from msgspec.structs import replace
from textual.message import Message

from engine.config.profile import Generation, Profile
from engine.duel.lens import Lens, NoLens
from engine.protocol.loading import Loaded
from engine.protocol.wire import Event
from engine.recordings.playback import Pace, playbacks
from engine.recordings.recording import RecordedTurn, Recording
from tui.duel.bridge import Bridge

NO_LENS = NoLens(reason="not ready", message="the recording has no lens on this turn")


class ReplayBridge(Bridge):
    """Plays the turns of a recording, one after the other."""

    def __init__(self, recording: Recording, pace: Pace, post: Callable[[Message], object]) -> None:
        sessions = iter(playbacks(recording, pace))
        super().__init__(recording.profiles, post, lambda profile: next(sessions))
        self.recording = recording
        self._lens: Lens | None = None

    async def play(self, turn: RecordedTurn) -> None:
        """Play this turn: its sessions give their next answers, whatever is asked."""
        for side, session in enumerate(self.duel.sessions):
            prompt = turn.prompts[side] if side < len(turn.prompts) else session.profile.prompt
            session.profile = replace(session.profile, generation=turn.generation, prompt=prompt)
        self.duel.schedule = "concurrent" if turn.schedule == "concurrent" else "sequential"
        self.duel.turns = _first_side(turn)
        self._lens = turn.lens
        self.duel.lens_side = turn.lens.readings[1].side if turn.lens else 1
        await self.ask(turn.prompt)

    async def fit_together(self) -> bool:
        """Nothing is loaded."""
        return True

    def choose_for_lens(self, side: int) -> None:
        """It was chosen then."""

    async def look(self) -> Lens | NoLens:
        """The lens that was computed then."""
        return self._lens or NO_LENS

    async def _refused(self, side: int, profile: Profile) -> bool:
        return False

    def _kept(
        self, prompt: str, stream: AsyncGenerator[tuple[int, Event]], settings: Generation
    ) -> AsyncGenerator[tuple[int, Event]]:
        return stream


def _first_side(turn: RecordedTurn) -> int:
    """Who answered first."""
    return next((side for side, event in turn.events if not isinstance(event, Loaded)), 0)
