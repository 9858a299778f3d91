"""How answers are read: folded, with thoughts and notes, raw, word against word; found in, and copied out of.

A part of the duel's screen. Knows panes and transcripts; asks no model.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from engine.sanitize import visible
from tui.screens.duel.in_view import InView
from tui.widgets.transcript import VIEWS, Transcript, View

if TYPE_CHECKING:
    from tui.markdown.word_diff import Span

AGAIN_S = 4.0  # within which another copy is of the next block of code
VIEW_TOLD_S = 2.0  # who turns through the views sees each on the screen
NAMES: dict[View, str] = {
    "folded": "as Markdown",
    "details": "with thoughts and notes",
    "raw": "as the model wrote it",
    "diff": "word against word",
}


class Reading(InView):
    """The keys for reading."""

    _view: View = "folded"
    _query = ""
    _copied_s = float("-inf")
    _next_block = 0

    def action_view(self) -> None:
        """Markdown, with thoughts and notes, raw text, two answers word against word."""
        transcripts = [pane.transcript for pane in self.panes]
        ways = [view for view in VIEWS if all(_has(transcripts, view))]
        place = ways.index(self._view) if self._view in ways else 0
        self.show_view(ways[(place + 1) % len(ways)])
        self.notify(f"Answers {NAMES[self._view]}", timeout=VIEW_TOLD_S, markup=False)

    def show_view(self, view: View) -> None:
        """Show answers this way."""
        self._view = view
        transcripts = [pane.transcript for pane in self.panes]
        spans = self._differing([pane.transcript.raw for pane in self.panes]) if view == "diff" else {}
        for side, transcript in enumerate(transcripts):
            transcript.show_view(view, spans.get(side, []))

    def _differing(self, texts: Sequence[str]) -> dict[int, list[Span]]:
        """Which words of each answer differ from A's; of A's those that the one in view has not."""
        from tui.markdown.word_diff import differing

        a, *others = texts
        found = {side: differing(a, text) for side, text in enumerate(others, 1)}
        of_a, _ = found[self.active() or 1]
        return {0: of_a, **{side: spans for side, (_, spans) in found.items()}}

    def action_find(self) -> None:
        """Look for words in the conversation of the side in view."""
        from tui.screens.duel.find import FindDialog

        def find(query: str | None) -> None:
            if query:
                self._query = query
                found = self.panes[self.active()].transcript.find(query)
                if not found:
                    self.notify(visible(f"“{query}” is not there", keep_newlines=False), markup=False)

        self.app.push_screen(FindDialog(self._query), find)

    def action_copy(self) -> None:
        """Copy the answer of the pane in focus, all from the prompt; again: a block of code alone."""
        indices = [self.active()] if isinstance(self.screen.focused, Transcript) else range(len(self.panes))
        blocks = self._blocks(indices)
        is_again = blocks and time.monotonic() - self._copied_s < AGAIN_S
        self._copied_s = time.monotonic()
        if not is_again:
            self._next_block = 0
            self._copy_answers(indices, len(blocks))
            return
        place, self._next_block = self._next_block, (self._next_block + 1) % len(blocks)
        self.app.copy_to_clipboard(visible(blocks[place]))
        self.notify(f"Copied code block {place + 1} of {len(blocks)}, {_size(blocks[place])}", markup=False)

    def _copy_answers(self, indices: Sequence[int], blocks: int) -> None:
        panes = [self.panes[index] for index in indices]
        answers = [(pane.side.profile.name, pane.answer) for pane in panes if pane.answer]
        texts = [f"## {name}\n\n{answer}" if len(panes) > 1 else answer for name, answer in answers]
        if texts:
            self.app.copy_to_clipboard(visible("\n\n".join(texts)))
        more = f" · again: code block 1 of {blocks} alone" if blocks else ""
        self.notify(f"Copied{more}" if texts else "Nothing to copy yet", markup=False)

    def _blocks(self, indices: Sequence[int]) -> list[str]:
        from tui.markdown.word_diff import code_blocks

        return [block for index in indices for block in code_blocks(self.panes[index].answer)]


def _has(transcripts: Sequence[Transcript], view: View) -> list[bool]:
    """Whether there is something to be shown this way."""
    match view:
        case "details":
            return [any(transcript.has_details for transcript in transcripts)]
        case "diff":
            return [bool(transcript.raw) for transcript in transcripts]
    return []


def _size(text: str) -> str:
    lines = len(text.splitlines())
    return f"{lines} line{'' if lines == 1 else 's'}"
