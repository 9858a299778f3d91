"""One model of a test, and what it answered so far. Knows neither the other models nor the order."""

from collections.abc import Callable

from engine.config.profile import Profile
from engine.protocol import Failed, ModelInfo
from engine.session.client import Session
from engine.testing.questions import Answered


class Side:
    """One model of a test: its session, and its answers by the question's id."""

    def __init__(self, profile: Profile, open_session: Callable[[Profile], Session] = Session) -> None:
        self.profile = profile
        self.session = open_session(profile)
        self.info: ModelInfo | None = None
        self.answers: dict[str, Answered] = {}
        self.from_before = 0
        """How many of them were kept."""
        self.failure: Failed | None = None
        self.notes: list[str] = []
        self.run = 0
        """Its number among the kept ones."""

    @property
    def name(self) -> str:
        """The profile's."""
        return self.profile.name
