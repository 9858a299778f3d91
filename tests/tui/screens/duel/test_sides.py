"""More than two sides: panes where they fit, tabs where they do not, and each against A."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from textual.widgets._footer import FooterKey

from engine.duel.conversation import Conversation
from engine.protocol.answers import Decoded
from engine.protocol.model import ServedModel
from engine.protocol.wire import Event
from engine.recordings.store import Duels
from engine.results import Results
from tests.tui.conftest import Stager
from tests.tui.replay import Replay, Stage, wait_until
from tui.duel.colours import ON_DARK, ON_LIGHT
from tui.output.colours import colour_of_16
from tui.screens.blind import BlindScreen
from tui.screens.profiles import Choice
from tui.theme import DARK
from tui.widgets.delta import Delta
from tui.widgets.prompt import Prompt
from tui.widgets.side_tabs import SideTabs
from tui.widgets.transcript import Transcript


def grey(play: Stage) -> set[str]:
    return {key.description for key in play.app.screen.query(FooterKey) if key.has_class("-disabled")}


def _in_view(play: Stage) -> list[int]:
    return [pane.index for pane in play.duel.panes if pane.region.width]


@pytest.mark.parametrize(
    ("sides", "widths"), [(3, {114: 3, 113: 1}), (4, {200: 4, 120: 1, 80: 1}), (6, {228: 6, 200: 1})]
)
async def test_panes_stand_side_by_side_while_each_has_room(
    stage: Stager, sides: int, widths: dict[int, int]
) -> None:
    async with stage(size=(100, 36), sides=sides) as play:
        await play.ready()
        for width, shown in widths.items():
            await play.pilot.resize_terminal(width, 36)
            await wait_until(lambda shown=shown: _in_view(play) == list(range(shown)))
            assert (play.duel.query_one(SideTabs).region.height > 0) is (shown < sides)
            if shown == sides:
                assert all(pane.region.width >= 38 for pane in play.duel.panes)


async def test_each_answers_and_is_compared_with_the_first(stage: Stager) -> None:
    async with stage(size=(200, 50), sides=4) as play:
        await play.ready()
        await play.ask("Name three facts about Paris")
        await play.settled()
        b, c, d = play.delta.split("\n")
        assert b.startswith("B nf4 against A bf16 ") and "diverge at token 5" in b
        assert c.startswith("C bf16 against A bf16 ") and "same answer" in c
        assert d.startswith("D nf4 against A bf16 ") and "decode ×0.97" in d
        await wait_until(lambda: [side for side in range(4) if "◆" in play.text(side)] == [0, 1, 3])
        await play.duel.bridge.keeper.aclose()
        kept = play.duel.duels.get(1)
        assert [profile.name for profile in kept.profiles] == ["smollm2-bf16", "smollm2-nf4"] * 2


async def test_hidden_sides_say_in_their_tabs_how_they_are_doing(stage: Stager) -> None:
    async with stage(size=(80, 24), sides=6, b={"hold": 60}) as play:
        await play.ready()
        await play.ask("Name three facts about Paris")
        tabs, delta = play.duel.query_one(SideTabs), play.duel.query_one(Delta)
        await wait_until(lambda: "▸ answering" in tabs.render().plain or "tok/s" in tabs.render().plain)
        await wait_until(lambda: tabs.render().plain.count("○ waiting") == 4)  # B answers, and waits
        for session in play.sessions:
            session.go.set()
        await play.settled()
        assert tabs.render().plain.count("● ") == 6
        assert delta.render().plain.startswith("decode against A   B ×0.97   C ×1.00")
        await play.pilot.click(SideTabs, offset=(2 * 13 + 1, 1))
        await play.pilot.pause()
        assert play.duel.active() == 2
        assert delta.render().plain.startswith("C bf16 against A bf16")
        assert delta.region.height == 2


async def test_tab_and_ctrl_n_go_through_all_of_them(stage: Stager) -> None:
    async with stage(size=(80, 24), sides=4) as play:
        await play.ready()
        seen = []
        for _ in range(5):
            await play.pilot.press("ctrl+n")
            seen.append(play.duel.active())
        assert seen == [1, 2, 3, 0, 1]
        play.duel.turn_to(0)
        await play.pilot.press("tab")
        assert isinstance(play.app.focused, Transcript)
        seen = []
        for _ in range(3):
            await play.pilot.press("tab")
            await wait_until(lambda: isinstance(play.app.focused, Transcript))
            seen.append(play.duel.active())
        assert seen == [1, 2, 3]
        await play.pilot.press("tab")
        await wait_until(lambda: isinstance(play.app.focused, Prompt))


async def test_a_side_comes_and_goes(stage: Stager, monkeypatch: pytest.MonkeyPatch) -> None:
    async with stage() as play:
        await play.ready()
        await play.ask("Hi")
        await play.settled()

        def choose(screen: object, put: object) -> None:
            third = play.duel.sides[0].profile
            put(Choice(2, third, third.name))  # type: ignore[operator]

        monkeypatch.setattr(play.app, "push_screen", choose)
        play.duel.add_side()
        await wait_until(lambda: len(play.duel.panes) == 3 and play.duel.sides[2].state == "ready")
        assert _in_view(play) == [0, 1, 2]
        await play.ask("and now?")
        await play.settled()
        assert [comparison.side for comparison in play.duel.query_one(Delta).comparisons] == [1, 2]
        third = play.duel.sides[2]
        assert third.info
        third.info = replace(third.info, served=ServedModel(engine="openai", address=""))
        play.duel.refresh_bindings()
        await wait_until(lambda: "Lens" in grey(play))
        play.duel.remove_side()
        await wait_until(lambda: len(play.duel.panes) == 2 and play.sessions[2].closed)
        await wait_until(lambda: not grey(play), "what the third could not do the others can")
        assert [comparison.side for comparison in play.duel.query_one(Delta).comparisons] == [1]
        await play.ask("and again?")
        await play.settled()
        assert [comparison.side for comparison in play.duel.query_one(Delta).comparisons] == [1]
        assert play.duel.query_one(Delta).region.height == 2


async def test_a_side_that_is_loading_goes_and_a_prompt_waits_for_it_no_more(stage: Stager) -> None:
    async with stage(sides=3, a={"load_hold": 2}) as play:
        a, b, c = play.sessions
        await wait_until(lambda: play.duel.sides[1].state == "ready")
        assert "B and C against A" in play.delta
        await play.ask("Hi")
        play.duel.remove_side()
        await wait_until(lambda: len(play.duel.panes) == 2 and c.closed)
        c.go.set()  # what it still says is of no side
        await wait_until(lambda: not [work for work in play.duel.workers if work.group == "load-2"])
        a.go.set()
        await wait_until(lambda: a.asked and b.asked)
        await play.settled()
        assert not c.asked


async def test_a_kept_duel_of_four_goes_on_as_it_was(stage: Stager, tmp_path: Path) -> None:
    async with stage(sides=4) as play:
        await play.ready()
        await play.ask("Name three facts about Paris")
        await play.settled()
        await play.duel.bridge.keeper.aclose()
    duels = Duels(tmp_path / "duels.sqlite3")
    async with stage(size=(200, 50)) as play:
        await play.ready()
        await play.duel.reopen(duels.get(1), 1, duels.turn_ids(1))
        await play.ready()
        assert len(play.duel.panes) == len(play.duel.bridge.duel.sessions) == 4 == len(_in_view(play))
        assert all("Paris" in play.text(side) for side in range(4))
        await play.ask("and more")
        await play.settled()
        await play.duel.bridge.keeper.aclose()
        assert len(duels.get(1).turns) == 2


async def test_a_blind_vote_is_on_a_pair(stage: Stager, tmp_path: Path) -> None:
    async with stage(sides=4) as play:
        await play.ready()
        results = Results(tmp_path / "results.sqlite3")
        screen = BlindScreen(play.duel.bridge, results, seed=2, pace=1000.0)
        play.app.push_screen(screen)
        await wait_until(lambda: play.app.screen is screen and screen.query(Prompt))
        screen.query_one(Prompt).text = "hi"
        screen.query_one(Prompt).focus()
        await play.pilot.press("enter")
        await wait_until(lambda: screen.ballot and screen.ballot.is_complete)
        pair = screen._blind.pair
        assert pair != (0, 1) and set(screen.ballot.sides) == set(pair)
        screen.action_vote("left")
        await wait_until(lambda: screen.query_one(Delta).display)
        letter = "ABCDEF"[screen.ballot.sides[0]]
        assert f"Left was {letter}" in screen.places[0].query_one(".title").render().plain


def test_a_side_that_left_has_said_nothing() -> None:
    tree = Conversation(2)
    tree.begin("Hi")
    tree.add_side()
    assert tree.messages(2, "own") == ()
    tree.remove_side()
    assert len(tree._begun) == 2


@pytest.mark.parametrize(("colours", "dark"), [(ON_DARK, True), (ON_LIGHT, False)])
def test_with_16_colours_all_sides_differ(colours: dict[str, str], dark: bool) -> None:
    of_theme = (DARK.primary, DARK.accent) if dark else ("#0b7285", "#a85a00")
    shown = [_with_16(colour, dark) for colour in (*of_theme, *colours.values()) if colour]
    assert len(set(shown)) == 6 if dark else len(set(shown[2:])) == 4  # what can be read on white


def _with_16(colour: str, dark: bool) -> int:
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return colour_of_16((red, green, blue), dark=dark)


async def test_a_side_that_made_room_for_another_says_so(stage: Stager) -> None:
    """Loaded before one was loaded at a time, too: nothing is known then of its memory."""
    async with stage() as play:
        await play.ready()
        bridge = play.duel.bridge

        async def swapped() -> AsyncIterator[tuple[int, Event]]:
            bridge.duel.sessions[0] = Replay(play.duel.sides[0].profile)
            yield 1, Decoded(token_id=1, text="x", request=1)

        assert [side async for side, _ in bridge._answers(swapped())] == [1]
        await wait_until(lambda: play.duel.sides[0].state == "not loaded")
        assert [side.loaded for side in play.duel.sides] == [False, True]
