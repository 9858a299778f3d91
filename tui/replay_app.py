"""The application that plays one recording: everything of the duel's, and no engine."""

from engine.recordings.recording import Recording
from tui.app import QuantDuelApp
from tui.launch import Launch
from tui.screens.replay import ReplayScreen


class ReplayApp(QuantDuelApp):
    """A recording on the screen."""

    def __init__(self, recording: Recording, speed: float = 1.0) -> None:
        a, b, *more = recording.profiles
        super().__init__(a, b, launch=Launch(more=tuple(more)))
        self.duel_screen = ReplayScreen(recording, speed)
