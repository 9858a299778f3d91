"""One model of a test, and what it answered so far. Knows neither the other models nor the order."""

from engine.config.profile import Profile
from engine.protocol.failure import Failed
from engine.protocol.model import ModelInfo
from engine.session.client import Session
from engine.session.schedule import physical_cores
from engine.testing.questions import Answered


class Side:
    """One model of a test: its session, and its answers by the question's id."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.session: Session | None = None
        """None before it is to be loaded."""
        self.info: ModelInfo | None = None
        self.answers: dict[str, Answered] = {}
        self.from_before = 0
        """How many of them were kept."""
        self.failure: Failed | None = None
        self.notes: list[str] = []
        self.run = 0
        """Its number among the kept ones."""

    @property
    def threads(self) -> int | None:
        """CPU threads: a number that no load of the machine changes, because rounding depends on it.

        That of the kept answers; at first every core, and elsewhere what is fastest there.
        """
        if self.info is not None:
            return self.info.threads
        return None if self.profile.worker.is_elsewhere else physical_cores()

    async def close(self) -> None:
        """End the worker, where there is one."""
        if self.session is not None:
            await self.session.close()

    @property
    def name(self) -> str:
        """The profile's."""
        return self.profile.name
