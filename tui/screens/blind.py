"""Blind votes: two answers, left and right, shuffled for each prompt and without names until the vote.

Nothing of the duel's screen is here before the vote, so nothing has to be hidden: no names, no figures, no
state of one side. What is shown follows from the words and from `tui.blind.lockstep`.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal
from textual.content import Content
from textual.widgets import Static
from textual.worker import Worker

from engine.duel.sides import LETTERS
from engine.errors import HistoryError
from engine.results import Results
from engine.sanitize import visible
from engine.votes.blind import Blind
from engine.votes.votes import Choice
from tui.blind.ballot import Ballot
from tui.blind.pane import BlindPane, BlindTabs, Unveiled
from tui.blind.vote_bar import CHOICES, VoteBar
from tui.duel.figures import figures_of
from tui.duel.side import Side
from tui.screens.page import PromptPage
from tui.widgets.delta import Delta
from tui.widgets.key_bar import KeyLine
from tui.widgets.memory_bars import scale_of
from tui.widgets.prompt import Prompt
from tui.widgets.thoughts import Thoughts
from tui.widgets.top_bar import sampling_text
from tui.widgets.transcript import Transcript

if TYPE_CHECKING:
    from tui.duel.bridge import Bridge

TICKS_PER_SECOND = 20
VOTE_KEYS = {str(number): choice for number, choice in enumerate(CHOICES, 1)}
ASK = "Ask something: who is left and who is right is drawn for each prompt"
VOTE_FIRST = "Vote first (1 to 4), or Esc and Esc again to leave without a vote"
WAITING = "Asked as soon as both models are loaded; Esc takes it back"
STOPPING = "Stopping both … Esc again ends their workers"
TALL_FROM = 30  # rows


class BlindScreen(PromptPage[str]):
    """Which of two answers is better? Ends with why, where a side was lost."""

    CSS_PATH = "blind.tcss"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-wide"), (200, "-huge")]
    VERTICAL_BREAKPOINTS = [(0, "-short"), (TALL_FROM, "-tall")]
    BINDINGS = [
        Binding("escape", "leave", "Stop, leave", priority=True),
        *(Binding(key, f"vote('{each}')", f"Vote {each}", show=False) for key, each in VOTE_KEYS.items()),
        Binding("ctrl+n", "other_place", "Side"),
        Binding("f12", "thoughts", "Thoughts", tooltip="a model's thoughts, or the line that folds them"),
        Binding("f1", "app.help", "Help"),
        Binding("f2", "leave", "Leave", show=False),
        Binding("f7", "app.leaderboard", "Leaderboard", priority=True),
        Binding("ctrl+d", "app.quit", "Quit"),
    ]

    def __init__(
        self, bridge: Bridge, results: Results | None = None, seed: int | None = None, pace: float = 1.0
    ) -> None:
        super().__init__()
        self.ballot: Ballot | None = None
        self._bridge = bridge
        self._blind = Blind(bridge.duel, seed)
        self._results = results or Results()
        self._pace = pace
        self._ticked_s = time.monotonic()
        self._turn: Worker[None] | None = None

    def compose(self) -> ComposeResult:
        yield Static(self._heading(), id="blind-bar")
        yield BlindTabs()
        with Horizontal(id="places"):
            yield BlindPane(0)
            yield BlindPane(1)
        yield VoteBar()
        yield Delta()
        yield Prompt()
        yield KeyLine()

    def on_mount(self) -> None:
        self.query_one(Delta).display = False
        self._activate(0)
        self.query_one(VoteBar).show(ASK)
        self.query_one(Prompt).focus()
        self.set_interval(1 / TICKS_PER_SECOND, self._tick)

    @property
    def places(self) -> list[BlindPane]:
        """Left and right."""
        return list(self.query(BlindPane))

    def typed(self, event: events.Key | events.Paste) -> None:
        """Text goes to the prompt; the keys of an open vote outside it are the vote."""
        votes = isinstance(event, events.Key) and event.key in VOTE_KEYS
        if not (votes and self.ballot is not None and self.ballot.is_open):
            super().typed(event)

    # a turn

    @on(Prompt.Sent)
    def _sent(self, message: Prompt.Sent) -> None:
        if self.ballot is not None and not self.ballot.is_settled:
            self.notify(VOTE_FIRST, markup=False)
            return
        self.query_one(Prompt).remember(message.text)
        self._turn = self.work(partial(self._ask, message.text), group="blind")

    async def _ask(self, prompt: str) -> None:
        self.ballot = ballot = Ballot(self._blind, self._results, self._pace)
        self.query_one(Delta).display = False
        self.query_one(BlindTabs).unveiled = ()
        for pane in self.places:
            await pane.begin(prompt)
        self.places[self.query_one(BlindTabs).active].transcript.focus()
        await self._bridge.ask_blind(self._blind, prompt, ballot.add)
        ballot.ended = True
        if self._blind.lost:
            await self._keep(ballot)
            self.dismiss(f"The blind votes ended. {self._blind.lost}")
        elif ballot.choice is not None:
            await self._complete(ballot)
        elif ballot.is_void:
            await self._keep(ballot)
            self.query_one(Prompt).focus()

    def _tick(self) -> None:
        """Show what may be seen by now."""
        now_s = time.monotonic()
        elapsed_s, self._ticked_s = now_s - self._ticked_s, now_s
        ballot = self.ballot
        if ballot is None:
            return
        ballot.advance(elapsed_s)
        for pane, parts in zip(self.places, ballot.parts, strict=True):
            pane.show(parts, complete=ballot.is_complete)
        bar = self.query_one(VoteBar)
        bar.show(WAITING if self._is_waiting(ballot) else state_text(ballot), can_vote=ballot.is_open)
        bar.set_class(ballot.choice is not None, "-voted")

    # the vote

    @on(VoteBar.Voted)
    def _voted(self, message: VoteBar.Voted) -> None:
        self.action_vote(message.choice)

    def action_vote(self, choice: Choice) -> None:
        """Vote, and see who was who."""
        ballot = self.ballot
        if ballot is None or not ballot.is_open:
            return
        ballot.choose(choice)
        self.query_one(Prompt).focus()
        self._unveil(ballot)
        self.work(partial(self._complete if ballot.ended else self._keep, ballot), group="keep")

    def action_other_place(self) -> None:
        """Turn to the other answer."""
        self._activate(1 - self.query_one(BlindTabs).active)

    def action_thoughts(self) -> None:
        """Open the thoughts of both, or fold them."""
        found = list(self.query(".-there").results(Thoughts))
        if not found:
            self.notify("No thoughts to be opened", markup=False)
        is_open = any(thoughts.is_open for thoughts in found)
        for thoughts in found:
            thoughts.open(not is_open)

    @on(BlindTabs.Chosen)
    def _tab_chosen(self, message: BlindTabs.Chosen) -> None:
        self._activate(message.place)

    @on(Prompt.Scrolled)
    def _scroll(self, message: Prompt.Scrolled) -> None:
        for transcript in self.query(Transcript):
            transcript.scroll_relative(
                y=message.direction * max(1, transcript.size.height - 2), animate=False
            )

    async def action_leave(self) -> None:
        """Take a waiting prompt back, or stop both sides; where there is nothing to stop, leave."""
        ballot = self.ballot
        if ballot is not None and self._is_waiting(ballot):
            self._take_back()
        elif ballot is not None and not ballot.ended:
            ballot.stop()
            self._bridge.cancel()
        else:
            await self.stop()
            self.dismiss("")

    async def stop(self) -> None:
        """Keep the turn as it is, voted on or not."""
        if self.ballot is not None and not self._is_waiting(self.ballot):
            await self._keep(self.ballot)

    # how

    def _is_waiting(self, ballot: Ballot) -> bool:
        """Whether the prompt waits for a model to load."""
        return not ballot.ended and not self._bridge.answering

    def _take_back(self) -> None:
        """Ask nothing; the models go on loading."""
        if self._turn is not None:
            self._turn.cancel()
        self.ballot = None
        for pane in self.places:
            pane.transcript.wipe()
        self.query_one(VoteBar).show(ASK)
        self.query_one(Prompt).focus()

    def _activate(self, place: int) -> None:
        in_answer = isinstance(self.focused, Transcript)
        self.query_one(BlindTabs).active = place
        for pane in self.places:
            pane.set_class(pane.place == place, "-active")
        if in_answer:
            self.places[place].transcript.focus()

    def _unveil(self, ballot: Ballot) -> tuple[Unveiled, Unveiled]:
        """Names, and whatever is known of both by now."""
        left, right = (Unveiled(index, self._side(index)) for index in ballot.sides)
        self.query_one(BlindTabs).unveiled = (left, right)
        for pane, whose in zip(self.places, (left, right), strict=True):
            pane.unveil(whose)
        return left, right

    async def _complete(self, ballot: Ballot) -> None:
        """Both have answered, and the vote is cast: keep it, and show the figures."""
        await self._keep(ballot)
        whose = self._unveil(ballot)
        scale_bytes = scale_of([one.side.memory for one in whose])
        for pane, one in zip(self.places, whose, strict=True):
            pane.show_figures(one, scale_bytes, self._blind.answers[one.number].ending)
        delta = self.query_one(Delta)
        delta.comparison = self._blind.comparison
        delta.display = True

    async def _keep(self, ballot: Ballot) -> None:
        try:
            await ballot.keep()
        except HistoryError as error:
            self.notify(visible(str(error)), title="Not kept", severity="warning", markup=False)

    def _side(self, index: int) -> Side:
        """What is known of A or B."""
        session, answer = self._bridge.duel.sessions[index], self._blind.answers[index]
        return Side(
            session.profile,
            state="ready",
            info=answer.info,
            memory=answer.memory,
            figures=figures_of(answer),
            loaded=session.ready,
        )

    def _heading(self) -> Content:
        sampling = sampling_text(self._blind.generation)
        return Content.assemble(
            ("quantduel", "bold $foreground"), ("  blind votes", "$foreground"), ("   " + sampling, "$quiet")
        )


def state_text(ballot: Ballot) -> str:
    """How far the turn is: the same for both sides until the vote."""
    if ballot.choice is not None:
        return voted_text(ballot)
    if ballot.is_void:
        return "Stopped before there was anything to vote on. " + ASK
    if ballot.stopped and not ballot.ended:
        return STOPPING
    if ballot.is_complete:
        return "Both have answered. Which is better?"
    return "Both are answering. Which is better?" if ballot.is_open else "Both are answering"


def voted_text(ballot: Ballot) -> str:
    """The vote, and whether it counts."""
    chosen = {"left": ballot.sides[0], "right": ballot.sides[1]}
    text = f"Your vote: {ballot.choice}"
    if ballot.choice in chosen:
        text += f", which is {LETTERS[chosen[ballot.choice]]}"
    if ballot.ended and ballot.exclusion:
        return f"{text}. It does not count: {ballot.exclusion}"
    return text + (". Ask again: the sides are shuffled again" if ballot.ended else ". Both go on answering")
