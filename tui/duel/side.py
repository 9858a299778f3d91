"""One side of the duel as a screen knows it: state and latest figures, folded from the bridge's messages.

Pure: no widget, no clock, no engine call.
"""

from dataclasses import dataclass
from typing import Literal

from engine.config.profile import Profile
from engine.protocol.failure import Failed
from engine.protocol.loading import Loaded, Stage, Staged
from engine.protocol.model import Memory, ModelInfo
from tui.duel.figures import Figures
from tui.duel.messages import (
    AnswerEnded,
    AnswerGrew,
    LoadAdvanced,
    LoadBegan,
    LoadEnded,
    PathShown,
    SideAsked,
    SideLost,
    SideMessage,
    SidePutBy,
    SideStopping,
)

State = Literal[
    "starting",
    "resolving",
    "downloading",
    "loading",
    "quantizing",
    "warming up",
    "ready",
    "waiting",
    "reading",
    "answering",
    "stopping",
    "cancelled",
    "no answer",
    "failed",
    "not loaded",
]
LOADING: frozenset[State] = frozenset(
    {"starting", "resolving", "downloading", "loading", "quantizing", "warming up"}
)
TURNING: frozenset[State] = frozenset({"waiting", "reading", "answering", "stopping"})
_STATES: dict[Stage, State] = {
    "resolve": "resolving",
    "download": "downloading",
    "read": "loading",
    "quantize": "quantizing",
    "move": "loading",
    "start": "starting",
    "warm up": "warming up",
}


LONGEST_HOST = 16


@dataclass(slots=True)
class Side:
    """What is known of one side."""

    profile: Profile
    state: State = "starting"
    staged: Staged | None = None
    info: ModelInfo | None = None
    memory: Memory | None = None
    figures: Figures | None = None
    loaded: bool = False
    """Whether a living worker holds a model."""

    @property
    def label(self) -> str:
        """The method's badge: the loaded model's, before that the profile's."""
        return self.info.label if self.info else self.profile.label

    @property
    def device(self) -> str:
        """Where the model is, or is meant to be."""
        if self.info is None:
            return self.profile.model.device
        host = self.info.host
        short = f"{host[: LONGEST_HOST - 1]}…" if len(host) > LONGEST_HOST else host
        return f"{self.info.device} on {short}" if host else self.info.device

    @property
    def is_loading(self) -> bool:
        """Whether a model is on its way."""
        return self.state in LOADING

    @property
    def is_lost(self) -> bool:
        """Whether there is no model, and none will come unless it is loaded again."""
        return not self.loaded and self.state in {"cancelled", "failed"}

    @property
    def is_turning(self) -> bool:
        """Whether an answer is still to come."""
        return self.state in TURNING

    def take(self, message: SideMessage) -> None:
        """Take what happened."""
        match message:
            case LoadBegan(profile=profile):
                self._begin(profile)
            case LoadAdvanced(staged=staged):
                self.staged, self.state = staged, _STATES[staged.stage]
            case LoadEnded(result=Loaded() as loaded):
                self.info, self.memory, self.state, self.loaded = loaded.info, loaded.memory, "ready", True
            case LoadEnded(result=Failed() as failed) | SideLost(failure=failed):
                self._fail(failed)
            case SidePutBy():
                self.state, self.loaded = "not loaded", False
            case SideAsked(first=first):
                self.state, self.figures = "reading" if first else "waiting", None
            case AnswerGrew(figures=figures):
                self.figures = figures
                if self.state != "stopping":
                    self.state = "answering" if figures.metrics.new_tokens else "reading"
            case PathShown(figures=Figures() as figures):
                self.figures = figures
            case SideStopping() if self.is_turning:
                self.state = "stopping"
            case AnswerEnded():
                self._end(message)

    def _begin(self, profile: Profile) -> None:
        self.profile, self.state, self.staged = profile, "starting", None
        self.info, self.memory, self.figures, self.loaded = None, None, None, False

    def _end(self, message: AnswerEnded) -> None:
        self.figures = message.figures
        self.memory = message.answer.memory or self.memory
        failure = message.answer.failure
        if failure and failure.kind == "cancelled":
            self.state = "cancelled"
        elif failure:
            self._fail(failure)
        else:
            self.state = "cancelled" if message.answer.finish_reason == "cancelled" else "ready"

    def _fail(self, failed: Failed) -> None:
        if failed.kind not in {"bad_input", "generation", "out_of_memory"} or not self.info:
            self.loaded = False
        if failed.kind == "cancelled":
            self.state = "cancelled"
        else:
            self.state = "no answer" if self.loaded else "failed"
