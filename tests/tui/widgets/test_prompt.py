"""Writing a prompt: sending, new lines, history."""

from collections.abc import AsyncIterator

import pytest
from textual import events
from textual.app import App, ComposeResult
from textual.pilot import Pilot

from tests.tui.replay import wait_until
from tui.widgets.prompt import Prompt


class Desk(App[None]):
    """A prompt that remembers what it sent."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[str] = []

    def compose(self) -> ComposeResult:
        yield Prompt()

    def on_prompt_sent(self, message: Prompt.Sent) -> None:
        self.sent.append(message.text)
        self.query_one(Prompt).remember(message.text)


@pytest.fixture
async def desk() -> AsyncIterator[Pilot[None]]:
    async with Desk().run_test() as pilot:
        pilot.app.query_one(Prompt).focus()
        yield pilot


def text_of(desk: Pilot[None]) -> str:
    return desk.app.query_one(Prompt).text


async def test_enter_sends_and_clears(desk: Pilot[None]) -> None:
    await desk.press("h", "i", "enter")
    assert desk.app.sent == ["hi"]  # type: ignore[attr-defined]
    assert text_of(desk) == ""


async def test_keys_act_in_their_order_however_fast_they_come(desk: Pilot[None]) -> None:
    for key in ("a", "b", "x", "backspace", "c", "left", "left", "z", "enter"):
        desk.app.post_message(events.Key(key, key if len(key) == 1 else None))
    await wait_until(lambda: desk.app.sent == ["azbc"])  # type: ignore[attr-defined]


async def test_nothing_is_not_sent(desk: Pilot[None]) -> None:
    await desk.press("space", "ctrl+j", "enter")
    assert desk.app.sent == []  # type: ignore[attr-defined]


@pytest.mark.parametrize("key", ["ctrl+j", "shift+enter", "alt+enter"])
async def test_a_new_line(desk: Pilot[None], key: str) -> None:
    await desk.press("a", key, "b", "enter")
    assert desk.app.sent == ["a\nb"]  # type: ignore[attr-defined]


async def test_history_keeps_the_draft(desk: Pilot[None]) -> None:
    await desk.press("1", "enter", "2", "enter", "d")
    await desk.press("up")
    assert text_of(desk) == "2"
    await desk.press("up", "up")
    assert text_of(desk) == "1"
    await desk.press("down", "down")
    assert text_of(desk) == "d"
    await desk.press("down")
    assert text_of(desk) == "d"


async def test_arrows_inside_a_prompt_move_the_cursor(desk: Pilot[None]) -> None:
    await desk.press("o", "enter", "a", "ctrl+j", "b")
    await desk.press("up")
    assert text_of(desk) == "a\nb"
    await desk.press("up")
    assert text_of(desk) == "o"


async def test_ctrl_d_deletes_before_it_quits(desk: Pilot[None]) -> None:
    await desk.press("a", "b", "left", "ctrl+d")
    assert text_of(desk) == "a"
    assert desk.app.is_running
    await desk.press("backspace", "ctrl+d")
    assert not desk.app.is_running or desk.app._exit
