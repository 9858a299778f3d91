"""No widget's line has a character that a terminal acts on, whoever put it there."""

import re
from collections.abc import Callable

import pytest
from rich.segment import Segment
from rich.style import Style
from textual.color import Color
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Checkbox, Input, Label, OptionList, Static, TextArea

from tests.tui.conftest import Stager
from tests.tui.replay import wait_until
from tui.line_filter import Harmless

EVIL = "a\x1b]0;t\x07b\x9b31mc\u202ed\u200be\x7f"
ACTED_ON = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
WIDGETS: dict[str, Callable[[], Widget]] = {
    "input": lambda: Input(EVIL),
    "placeholder": lambda: Input(placeholder=EVIL),
    "area": lambda: TextArea(EVIL),
    "static": lambda: Static(Content(EVIL)),
    "label": lambda: Label(Content(EVIL)),
    "options": lambda: OptionList(Content(EVIL), markup=False),
    "checkbox": lambda: Checkbox(Content(EVIL)),
}


@pytest.mark.parametrize("name", WIDGETS)
async def test_whatever_a_widget_holds_its_lines_are_harmless(name: str, stage: Stager) -> None:
    async with stage() as play:
        widget = WIDGETS[name]()
        widget.border_title = Content(EVIL)
        widget.styles.border = ("round", "white")
        await play.app.screen.mount(widget)
        widget.styles.layer, widget.styles.dock = "above", "top"
        widget.styles.width, widget.styles.height = 60, 5
        await wait_until(lambda: widget.size.width > 20)
        shown = "\n".join(strip.text for strip in widget.render_lines(widget.outer_size.region))
        assert not ACTED_ON.search(shown.replace("\n", "")), shown
        assert "]0;t" in shown and len({len(line) for line in shown.split("\n")}) == 1


def test_a_link_that_leaves_its_sequence_is_none() -> None:
    links = ["https://here.org", "https://here.org\x1b\\\x1b]0;t\x07"]
    segments = [Segment("word", Style(link=link)) for link in links]
    made = Harmless().apply(segments, Color(0, 0, 0))
    assert [segment.style.link if segment.style else "" for segment in made] == [links[0], None]
