"""Kept duels on the screen: found, looked at, reopened with their models, read without, renamed, deleted."""

from pathlib import Path

import pytest
from textual.command import CommandList
from textual.widgets import Input, OptionList, Static
from textual.widgets._toast import Toast

from engine.recordings.keeper import Keeper
from engine.recordings.store import Duels
from tests.tui.conftest import Stager
from tests.tui.replay import Stage, wait_until
from tui.screens import history
from tui.screens.ask import SaveDialog
from tui.screens.history import HistoryScreen
from tui.screens.replay import ReplayScreen
from tui.widgets.delta import Delta
from tui.widgets.key_bar import KeyLine
from tui.widgets.prompt import Prompt


async def _history(play: Stage, *prompts: str) -> HistoryScreen:
    """Two duels asked and kept, then the screen of them."""
    await play.ready()
    for prompt in prompts:
        await play.ask(prompt)
        await play.settled()
        await play.pilot.press("ctrl+l")
    await play.pilot.press("f4")
    await wait_until(lambda: isinstance(play.app.screen, HistoryScreen))
    screen = play.app.screen
    assert isinstance(screen, HistoryScreen)
    await wait_until(lambda: len(screen.shown) == len(prompts), "listed")
    return screen


def _preview(screen: HistoryScreen) -> str:
    return str(screen.query_one("#preview Static", Static).render())


def _feet(play: Stage) -> set[int]:
    """The lines below the toasts that are seen."""
    return {toast.region.bottom for toast in play.app.screen.query(Toast)}


async def test_found_and_looked_at(stage: Stager) -> None:
    async with stage() as play:
        screen = await _history(play, "about Paris", "about Rome [b]")
        assert [kept.title for kept in screen.shown] == ["about Rome [b]", "about Paris"]
        await wait_until(lambda: "about Rome [b]" in _preview(screen) and "decode" in _preview(screen))
        assert "smollm2-bf16  smollm2-nf4" in screen.query_one(OptionList).render_line(1).text, "both names"
        await play.pilot.press(*"paris ABOUT"[:5])
        await wait_until(lambda: len(screen.shown) == 2, "both answers name Paris")
        screen.query_one(Input).value = "about rome"
        await wait_until(lambda: [kept.title for kept in screen.shown] == ["about Rome [b]"])
        screen.query_one(Input).value = "nowhere"
        await wait_until(lambda: not screen.shown and "No duel has these words" in _preview(screen))


async def test_keys_that_come_before_the_list_mean_the_duel_that_was_searched(
    stage: Stager, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stage() as play:
        screen = await _history(play, "about Paris", "one", "about Rome")
        monkeypatch.setattr(history, "SEARCH_EVERY_S", 0.5)
        screen.query_one(Input).value = "about"
        await play.pilot.press("down", "ctrl+x", "ctrl+x")
        await wait_until(lambda: [kept.title for kept in screen.duels.found()] == ["one"])
        assert [kept.title for kept in screen._deleted] == ["about Paris", "about Rome"]


async def test_what_is_not_on_the_disk_yet_is_found(stage: Stager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Keeper, "_run", lambda keeper: None)  # the thread that writes comes late
    async with stage() as play:
        screen = await _history(play, "one", "two")
        await wait_until(lambda: "decode" in _preview(screen))


async def test_reopened_it_goes_on(stage: Stager, tmp_path: Path) -> None:
    async with stage() as play:
        screen = await _history(play, "one", "two")
        await play.pilot.press("down", "enter")
        await wait_until(lambda: play.app.screen is play.duel and "one" in play.text(0))
        replies = [pane.transcript.reply for pane in play.duel.panes]
        await wait_until(lambda: all(reply and reply.settled for reply in replies))
        assert play.delta.startswith("nf4 against bf16") and "Paris" in play.text(1)
        assert len(play.sessions) == 2, "the models are loaded already"
        await play.ask("and then?")
        await play.settled()
        assert play.sessions[0].asked[-1][0].content == "one"
        assert len(play.sessions[0].asked[-1]) == 3
        assert "one" in play.text(0) and "and then?" in play.text(0)
        assert [exchange.prompt for exchange in play.duel.bridge.duel.conversation.path] == [
            "one",
            "and then?",
        ]
        await play.pilot.press("f4")
        await wait_until(lambda: play.app.screen is not play.duel)
        kept = Duels(screen.duels.file)
        assert [found.turns for found in kept.found()] == [1, 2]


async def test_other_profiles_are_loaded_for_it(stage: Stager) -> None:
    async with stage() as play:
        await _history(play, "one")
        play.duel.bridge.duel.sessions[1].profile = play.duel.bridge.duel.sessions[0].profile
        await play.pilot.press("enter")
        await wait_until(lambda: len(play.sessions) == 3, "B is loaded again")
        await play.ready()
        assert play.sessions[2].profile.name == "smollm2-nf4"
        await wait_until(lambda: "goes on with" in play.text(1))
        assert play.duel.bridge.duel.conversations[1][0].content == "one"


async def test_read_without_a_model(stage: Stager) -> None:
    async with stage(size=(100, 30)) as play:
        await _history(play, "one")
        await play.pilot.press("ctrl+r")
        await wait_until(lambda: isinstance(play.app.screen, ReplayScreen))
        screen = play.app.screen
        assert isinstance(screen, ReplayScreen)
        await wait_until(lambda: all("Paris" in pane.answer for pane in screen.panes))
        await play.pilot.press("x", "escape")
        await wait_until(lambda: isinstance(play.app.screen, HistoryScreen))
        assert len(play.sessions) == 2 and not play.duel.query_one(Prompt).text


async def test_renamed_deleted_and_back(stage: Stager, tmp_path: Path) -> None:
    async with stage(toasts=True) as play:
        screen = await _history(play, "one", "two")
        await play.pilot.press("f2", "end", *" more", "enter")
        await wait_until(lambda: screen.shown[0].title == "two more")
        await play.pilot.press("ctrl+x")
        await wait_until(lambda: [kept.title for kept in screen.shown] == ["one"])
        await wait_until(lambda: _feet(play) == {screen.query_one(KeyLine).region.y})
        await play.pilot.press("ctrl+z")
        await wait_until(lambda: len(screen.shown) == 2)
        await wait_until(lambda: not _feet(play), "a key that does nothing any more is named no more")
        assert screen.current and screen.current.title == "two more"
        await play.pilot.press("ctrl+s")
        await wait_until(lambda: isinstance(play.app.screen, SaveDialog) and play.app.screen.query(Input))
        play.app.screen.query_one(Input).value = str(tmp_path / "duel.md")
        await play.pilot.press("enter")
        await wait_until((tmp_path / "duel.md").exists)
        assert "two more" in (tmp_path / "duel.md").read_text()
        await wait_until(lambda: play.app.screen is screen and _feet(play))
        await play.pilot.press("escape")
        await wait_until(lambda: play.app.screen is play.duel and not play.app._notifications)


async def test_toasts_wait_for_their_screen_and_leave_the_prompt_free(stage: Stager) -> None:
    async with stage(size=(80, 24), toasts=True) as play:
        await play.ready()
        await play.pilot.press("f4")
        await wait_until(lambda: isinstance(play.app.screen, HistoryScreen))
        play.duel.notify("Esc does this")
        play.duel.notify("Esc does that on the duel's screen")  # in its place
        play.duel.notify("gone wrong", severity="warning")
        await wait_until(lambda: [note.message for note in play.app._notifications] == ["gone wrong"])
        await play.pilot.press("escape")
        await wait_until(lambda: len(play.app._notifications) == 2)
        assert "Esc does this" not in [note.message for note in play.app._notifications]
        free = play.duel.query_one(Delta).region.y
        await wait_until(lambda: play.app.screen is play.duel and _feet(play) == {free, free - 1})


async def test_a_file_that_cannot_be_used_is_a_line(stage: Stager, tmp_path: Path) -> None:
    (tmp_path / "duels.sqlite3").write_bytes(b"no database " * 500)
    async with stage() as play:
        await play.ready()
        await play.ask("one")
        await play.settled()
        await wait_until(lambda: any("damaged" in note.message for note in play.app._notifications))
        assert all("Paris" in pane.answer for pane in play.duel.panes)
        await play.pilot.press("f4")
        await wait_until(lambda: isinstance(play.app.screen, HistoryScreen))
        assert not play.app.screen.query_one(OptionList).option_count


async def test_the_duel_on_the_screen_is_exported_and_pictured(stage: Stager, tmp_path: Path) -> None:
    async with stage() as play:
        await play.ready()
        await play.pilot.press("ctrl+s")
        await wait_until(lambda: any("Nothing to export" in note.message for note in play.app._notifications))
        await play.ask("about Paris")
        await play.settled()
        for command, name, said in (
            ("export", "duel.html", ("about Paris",)),
            ("screenshot", "duel.svg", ("<svg", "Settings", "View")),  # and both lines of keys
        ):
            await play.pilot.press("ctrl+p", *command)
            await wait_until(lambda: (found := play.app.screen.query(CommandList)) and found[0].option_count)
            await play.pilot.press("enter")
            await wait_until(lambda: isinstance(play.app.screen, SaveDialog) and play.app.screen.query(Input))
            play.app.screen.query_one(Input).value = str(tmp_path / "duel.pdf")
            await play.pilot.press("enter")
            assert "the name ends in ." in str(play.app.screen.query_one("#hint", Static).content)
            play.app.screen.query_one(Input).value = str(tmp_path / name)
            await play.pilot.press("enter")
            await wait_until((tmp_path / name).exists)
            assert [word for word in said if word not in (tmp_path / name).read_text()] == []
            await wait_until(lambda: play.app.screen is play.duel)
        assert not (tmp_path / "duel.pdf").exists()
