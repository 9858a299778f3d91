"""What a user does with turns that were: again, on, otherwise, alone. A part of the duel's screen.

Knows the bridge and the menus; the words of a turn are the transcript's business.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from engine.duel.sides import LETTERS, listed
from tui.screens.duel.asking import Asking
from tui.screens.duel.part import STILL
from tui.widgets.prompt import Prompt

if TYPE_CHECKING:
    from tui.screens.duel.turn import Item

NOTHING_YET = "nothing was asked yet"


class Turns(Asking):
    """Again, with another seed, on from a cut, an earlier prompt otherwise, one side alone, histories."""

    def action_turn(self) -> None:
        """What can be done with the turns that were."""
        if self.is_asking:
            self.notify(STILL, markup=False)
            return
        from tui.screens.duel.turn import MenuDialog

        self.app.push_screen(MenuDialog("This turn", self._items()), self._do)

    def action_history(self) -> None:
        """What sides read before the next prompt: their own answers, A's on both, nothing."""
        from engine.duel.conversation import HISTORIES, history_text

        modes = list(HISTORIES)
        duel = self.bridge.duel
        duel.history = modes[(modes.index(duel.history) + 1) % len(modes)]
        words = history_text(duel.history, len(duel.sessions))
        self.notify(f"From the next prompt on {words}", markup=False)
        self.show_settings()

    def _items(self) -> list[Item]:
        from engine.duel.conversation import HISTORIES, history_text
        from tui.screens.duel.turn import Item

        duel, text = self.bridge.duel, self.query_one(Prompt).text.strip()
        last, ends = duel.conversation.last, duel.conversation.ends
        nothing = "" if last else NOTHING_YET
        cut = duel.resumable(last) if last else []
        branch = f" ({ends.index(last) + 1} of {len(ends)})" if last in ends and len(ends) > 1 else ""
        empty = "" if text else "the prompt is empty"
        sides, modes = len(duel.sessions), list(HISTORIES)
        histories = [history_text(mode, sides) for mode in modes]
        reading = [
            Item(letter, f"From now on {words}", "it is so" if duel.history == mode else "")
            for letter, mode, words in zip("wsf", modes, histories, strict=True)
        ]
        alone = [
            Item(key, f"Send what is in the prompt to {letter} alone", empty)
            for key, letter in zip(_keys(sides), LETTERS, strict=False)
        ]
        return [
            Item("r", "Regenerate, same seed", nothing),
            Item("n", "Regenerate, new seed", nothing),
            Item(
                "c",
                f"Continue {listed(cut)}".rstrip(),
                nothing or ("" if cut else "no answer was cut with room left"),
            ),
            Item("e", "Edit an earlier prompt and go on from there …", nothing),
            Item("o", f"The other branch{branch}", "" if len(ends) > 1 else "there is one branch"),
            *alone,
            *reading,
        ]

    def _do(self, letter: str | None) -> None:  # a case a letter
        bridge, last = self.bridge, self.bridge.duel.conversation.last
        match letter:
            case "r" | "n" if last:
                self.begin_turn(partial(bridge.ask_again, last, new_seed=letter == "n"), last.prompt)
            case "c":
                self.begin_turn(bridge.resume)
            case "e":
                self._choose_prompt()
            case "o":
                bridge.show_next_branch()
            case str() if letter in (keys := _keys(len(bridge.duel.sessions))):
                self.take_edited()
                prompt = self.query_one(Prompt)
                text = prompt.text
                prompt.remember(text)
                self.begin_turn(partial(bridge.ask, text, (keys.index(letter),)), text)
            case "w" | "s" | "f":
                modes = {"w": "own", "s": "shared", "f": "fresh"}
                while bridge.duel.history != modes[letter]:
                    self.action_history()

    def _choose_prompt(self) -> None:
        from tui.screens.duel.turn import Item, MenuDialog

        path = self.bridge.duel.conversation.path

        def edit(letter: str | None) -> None:
            if letter is not None:
                self.edit(path[int(letter, 36) - 1])

        items = [Item(_digit(place), exchange.prompt) for place, exchange in enumerate(path[-35:], 1)]
        path = path[-35:]
        self.app.push_screen(MenuDialog("Edit a prompt", items, highlighted=len(items) - 1), edit)


def _keys(sides: int) -> str:
    """What sends a prompt to one side alone: letters of two, numbers of more, whose letters are taken."""
    return "ab" if sides == 2 else "123456"[:sides]


def _digit(place: int) -> str:
    """1 to 9, then a to z."""
    return "0123456789abcdefghijklmnopqrstuvwxyz"[place]
