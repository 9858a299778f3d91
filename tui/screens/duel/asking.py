"""Prompts: sent, waiting for a model to load, changed, taken back, stopped. A part of the duel's screen."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from textual import on
from textual.content import Content
from textual.worker import Worker

from engine.duel.sides import all_of
from tui.ending import Work
from tui.screens.duel.part import STILL, DuelPart
from tui.widgets.delta import Delta
from tui.widgets.prompt import Prompt, hint

if TYPE_CHECKING:
    from engine.duel.conversation import Exchange

WAITING = "Sent as soon as {} are loaded; Esc takes it back"
STILL_WAITING = "A prompt waits for a model to load: Esc takes it back"


class Asking(DuelPart):
    """One prompt for all sides."""

    _waiting = ""  # a prompt that waits for a model to load
    _turn: Worker[None] | None = None
    _edited: Exchange | None = None  # whose prompt is being changed

    @on(Prompt.Sent)
    def _sent(self, message: Prompt.Sent) -> None:
        if self.is_asking:
            self.notify(STILL, markup=False)
            return
        self._ask(message.text)

    def _ask(self, prompt: str) -> None:
        self.query_one(Prompt).remember(prompt)
        if exchange := self.take_edited():
            self.begin_turn(partial(self.bridge.ask_again, exchange, prompt), prompt)
        else:
            self.begin_turn(partial(self.bridge.ask, prompt), prompt)

    @property
    def is_asking(self) -> bool:
        """Whether a prompt is answered, or waits for a model to load."""
        return self._turn is not None and not self._turn.is_finished

    def is_engaged(self) -> bool:
        """Whether an answer is under way, or a prompt waits for a model to load; which is said."""
        if self.is_asking and not self.bridge.answering:
            self.notify(STILL_WAITING, markup=False)
            return True
        return self.is_answering()

    def begin_turn(self, doing: Work, prompt: str = "") -> None:
        """Have the sides answer; `prompt` is given back where no side takes it."""
        self._wait(prompt)
        self._turn = self.work(doing, group="turn")

    def action_stop(self) -> None:
        """Take a waiting prompt back, or leave one that is edited; otherwise stop all sides."""
        if self.leave_edited():
            return
        if self._waiting and self._turn is not None:
            self._turn.cancel()
            self._take_back("Taken back")
        else:
            self.bridge.cancel()

    @property
    def has_turn(self) -> bool:
        """Whether a prompt is being answered, or waits for a model to load."""
        return self.bridge.answering or bool(self._waiting)

    def _wait(self, text: str) -> None:
        """Say in the empty prompt what waits for a model to load."""
        self._waiting = text
        loading = any(side.is_loading for side in self.sides)
        sides = len(self.panes)
        waiting = WAITING.format(all_of(sides))
        self.query_one(Prompt).placeholder = Content(waiting if text and loading else hint(sides))

    def _take_back(self, why: str) -> None:
        prompt = self.query_one(Prompt)
        if not prompt.text:
            prompt.give_back(self._waiting)
        self._wait("")
        self.notify(why, markup=False)

    def edit(self, exchange: Exchange) -> None:
        """Change the prompt of an exchange, which is then asked again from there."""
        self._edited = exchange
        prompt = self.query_one(Prompt)
        prompt.keep_draft()
        prompt.give_back(exchange.prompt)
        prompt.focus()
        self.notify("Enter asks it again from there; Esc leaves it unchanged", markup=False)

    def take_edited(self) -> Exchange | None:
        """The exchange whose prompt was being changed; it is not any more."""
        exchange, self._edited = self._edited, None
        return exchange

    def leave_edited(self) -> bool:
        """Give the draft back that stood in the prompt before; False where no prompt is being changed."""
        if self.take_edited() is None:
            return False
        self.query_one(Prompt).restore_draft()
        return True

    def action_clear(self) -> None:
        """New conversations on an empty screen."""
        if self.is_answering():
            return
        self.take_edited()
        self.bridge.forget()
        for pane in self.panes:
            pane.wipe()
        self.query_one(Delta).comparisons = ()
