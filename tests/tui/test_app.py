"""What holds for every screen of the application."""

import pytest
from textual.app import ComposeResult
from textual.color import Color
from textual.screen import Screen
from textual.widgets import Static

from engine.config import profiles
from tests.tui.replay import wait_until
from tui.app import QuantDuelApp


class Still(Screen[None]):
    """A screen on which nothing happens by itself."""

    def compose(self) -> ComposeResult:
        yield Static("before")


async def test_what_changed_within_a_batch_is_painted_though_nothing_else_happens(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(QuantDuelApp, "get_default_screen", lambda _: Still())
    app = QuantDuelApp(profiles.find("smollm2-bf16"), profiles.find("smollm2-nf4"))
    async with app.run_test() as pilot:
        await pilot.pause()
        words = app.screen.query_one(Static)
        with app.batch_update():
            words.update("after")
            await wait_until(lambda: words in app.screen._dirty_widgets)
            await pilot.pause()
            assert words in app.screen._dirty_widgets  # the screen was idle, and painted nothing
        await wait_until(lambda: not app.screen._dirty_widgets)


@pytest.mark.parametrize("name", ["quantduel", "quantduel-light"])
def test_quiet_text_can_be_read(name: str) -> None:
    app = QuantDuelApp(profiles.find("smollm2-bf16"), profiles.find("smollm2-nf4"))
    app.theme = name
    variables = app.get_css_variables()
    for text in ("quiet", "text-disabled"):
        assert contrast(variables[text], variables["panel"]) >= 4.5
        for cursor in ("block-cursor-background", "block-cursor-blurred-background"):
            assert contrast(variables[text], variables[cursor]) >= 3.5


def contrast(text: str, ground: str) -> float:
    """As WCAG 2 defines it."""
    light, dark = sorted((luminance(Color.parse(text)), luminance(Color.parse(ground))), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: Color) -> float:
    parts = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour.normalized
    ]
    return sum(share * part for share, part in zip((0.2126, 0.7152, 0.0722), parts, strict=True))
