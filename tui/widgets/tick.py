"""A box to tick that is empty where it is not ticked: Textual's tells the two apart by colour alone."""

from textual.content import Content
from textual.widgets import Checkbox


class Tick(Checkbox):
    """`[x] words`, `[ ] words`."""

    BUTTON_LEFT, BUTTON_RIGHT = "[", "]"

    @property
    def _button(self) -> Content:
        self.BUTTON_INNER = "x" if self.value else " "
        return Content(f"{self.BUTTON_LEFT}{self.BUTTON_INNER}{self.BUTTON_RIGHT}")
