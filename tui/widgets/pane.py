"""One side of the screen: header, conversation, progress, speeds and memory. Reacts to messages."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.message import Message

from engine.config.profile import Profile
from engine.duel.sides import LETTERS
from engine.protocol.failure import Failed
from engine.protocol.loading import Loaded
from engine.protocol.model import ModelInfo
from tui.duel.colours import COLOURS
from tui.duel.messages import (
    AnswerEnded,
    AnswerGrew,
    LoadBegan,
    LoadEnded,
    PathShown,
    SideAsked,
    SideLost,
    SideMessage,
    SidePutBy,
)
from tui.duel.side import Side
from tui.ending import Ending
from tui.pacer import Pacer
from tui.widgets.load_progress import LoadProgress
from tui.widgets.memory_bars import MemoryBars
from tui.widgets.pane_header import PaneHeader
from tui.widgets.speed_strip import SpeedStrip
from tui.widgets.transcript import Transcript

if TYPE_CHECKING:  # the first picture does not wait for the engine
    from engine.duel.answer import Answer

FIGURE = re.compile(r"\d[\d.,]*")
FIGURES_EVERY_S = 0.5  # figures that change faster cannot be read


class Pane(Vertical, Ending):
    """Everything about one side."""

    DEFAULT_CSS = """
    Pane { width: 1fr; height: 1fr; }
    Pane:focus-within PaneHeader { background: $panel; }
    Pane .figures { height: auto; border-top: solid $panel; }
    """

    class FiguresShown(Message):
        """The side's state or figures are new."""

    def __init__(self, index: int, profile: Profile) -> None:
        super().__init__(id=f"pane-{LETTERS[index].lower()}", classes="" if index == 0 else "-after")
        self.index = index
        self.side = Side(profile)
        self._figures = Pacer(FIGURES_EVERY_S)
        self._told = ""  # what was reported last after an answer, without its figures

    def ending(self) -> None:
        self._figures.stop()

    def compose(self) -> ComposeResult:
        colour = COLOURS[self.index]
        yield PaneHeader(self.side, self.index)
        yield Transcript()
        yield LoadProgress(self.side, colour)
        with Vertical(classes="figures"):
            yield SpeedStrip(self.side, colour)
            yield MemoryBars(self.side, colour)

    @property
    def transcript(self) -> Transcript:
        """The conversation."""
        return self.query_one(Transcript)

    @property
    def answer(self) -> str:
        """The latest answer, as the model wrote it."""
        reply = self.transcript.reply
        return reply.text if reply else ""

    def take(self, message: SideMessage) -> None:  # noqa: PLR0912  # a case a message
        """Show what happened."""
        had_model = self.side.info is not None
        self.side.take(message)
        match message:
            case LoadBegan(within_turn=True):
                self.query_one(LoadProgress).begin()
            case LoadEnded(within_turn=True):
                pass  # the answer tells
            case LoadBegan(profile=profile, goes_on=True):
                self._introduce(profile, "── goes on with " if self.answer else "")
            case LoadBegan(profile=profile):
                self._introduce(profile, "── a new conversation with " if had_model or self.answer else "")
            case SidePutBy(why=why):
                self.transcript.put_by(why)
            case LoadEnded(result=Loaded(info=info)):
                self.transcript.tell_more([model_text(info)], info.notes)
            case LoadEnded(result=Failed() as failed) | SideLost(failure=failed):
                self._fail(failed)
            case SideAsked(prompt=prompt, number=number, before=before):
                self.transcript.ask(prompt, number)
                if before is not None:
                    self.transcript.grow(before.said, before.thoughts)
            case PathShown(numbers=numbers):
                self.transcript.show_path(numbers)
            case AnswerGrew(text=text, thoughts=thoughts):
                self.transcript.grow(text, thoughts)
            case AnswerEnded(answer=answer):
                self.transcript.end(answer)
                if answer.ending:
                    self.transcript.warn(answer.ending)
                self._tell_changes([*answer.end_notes, *bandwidth_notes(answer)])
                if answer.failure:
                    self._fail(answer.failure)
        if isinstance(message, AnswerGrew):
            self._figures.due(self.show_figures)
        else:
            self._figures.stop()
            self.show_figures()

    def wipe(self) -> None:
        """Forget the conversation and its figures."""
        self.side.figures = None
        self.transcript.wipe()
        self.show_figures()

    def retell(self, prompt: str, number: int, answer: Answer | None, divergence: int | None) -> None:
        """Show a turn of long ago."""
        if answer is None:
            return
        self.transcript.ask(prompt, number)
        self.transcript.end(answer)
        if divergence is not None:
            self.transcript.mark(divergence)
        failed = answer.failure
        for note in (answer.ending, failed.message if failed else ""):
            if note:
                self.transcript.note(note)
        self._tell_changes(answer.end_notes)

    def show_figures(self) -> None:
        """Repaint everything but the conversation."""
        self.post_message(self.FiguresShown())
        self.query_one(LoadProgress).show_side()
        self.query_one(PaneHeader).refresh()
        self.query_one(SpeedStrip).refresh()
        self.query_one(MemoryBars).refresh()

    def _introduce(self, profile: Profile, words: str) -> None:
        self._told = ""
        self.transcript.leave()
        self.query_one(LoadProgress).begin()
        description = f": {profile.description}" if profile.description else ""
        if words:
            self.transcript.note(words + profile.name)
        self.transcript.tell([profile.name + description])

    def _tell_changes(self, notes: Sequence[str]) -> None:
        """What is reported about an answer, unless it was reported last; other figures alone are no news."""
        reported = FIGURE.sub("", "\n".join(notes))
        if reported != self._told and notes:
            self.transcript.tell(notes)
        self._told = reported

    def _fail(self, failed: Failed) -> None:
        key = "" if self.side.loaded else self.transcript.reload_key
        if failed.kind == "cancelled":
            self.transcript.note(f"cancelled · {key} loads it again" if key else "cancelled")
        else:
            self.transcript.fail(failed, key)


def model_text(info: ModelInfo) -> str:
    """What was loaded, as it really is, in a line."""
    parts = [
        info.architecture,
        f"{info.parameters / 1e6:,.0f} M parameters",
        f"context {info.context_length}",
    ]
    parts += [
        info.kernel,
        "" if info.step == "forward" else f"{info.step} step",
        f"{info.device_name} on {info.host}" if info.host else info.device_name,
        f"{info.threads} threads" if info.device == "cpu" else "",
    ]
    return " · ".join(part for part in parts if part)


def bandwidth_notes(answer: Answer) -> list[str]:
    """What computed and how near to the memory's speed, and what bounds it."""
    if answer.info is None or (found := answer.reached(answer.info)) is None:
        return []
    how = "compiled" if answer.info.step == "compiled" else answer.decode
    return [f"{answer.info.kernel}, {how} · {found.text}", *filter(None, [found.reason])]
