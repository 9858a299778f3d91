"""The leaderboard on the screen: counted, drawn, exported."""

import json
from pathlib import Path

from textual.widgets import Input

from engine.results import Results
from engine.votes.leaderboard import leaderboard
from tests.tui.conftest import Stager
from tests.tui.replay import Stage, wait_until
from tests.unit.engine.votes.samples import turn
from tui.blind.standings import Span, Standings, axis_of, line_plot
from tui.screens.ask import SaveDialog
from tui.screens.leaderboard import LeaderboardScreen


async def shown(play: Stage, results: Results) -> str:
    screen = LeaderboardScreen(results)
    play.app.push_screen(screen)
    await wait_until(lambda: play.app.screen is screen and screen.board is not None, "counted")
    await play.pilot.pause()
    return screen.query_one(Standings).render().plain


async def test_votes_are_counted_drawn_and_exported(stage: Stager, tmp_path: Path) -> None:
    results = Results(tmp_path / "results.sqlite3")
    votes = [turn("a", "b", "a"), turn("b", "c", "a"), turn("c", "a", "a"), turn("a", "b", "tie")]
    for one in [*votes, turn("a", "b", None), turn("top", "a", "a")]:
        results.keep_turn(one)
    async with stage((80, 24)) as play:
        assert "No votes yet" in await shown(play, Results(tmp_path / "none.sqlite3"))
        await play.pilot.press("escape")
        text = await shown(play, results)
        assert "top" in text and "unbeaten" in text and "1 turn does not count: 1 no vote" in text
        assert all(len(line) <= 76 for line in text.splitlines())
        assert text.count("●") == 3 + 4  # strengths and pairs
        await play.pilot.press("e")
        await wait_until(lambda: isinstance(play.app.screen, SaveDialog))
        play.app.screen.query_one(Input).value = str(tmp_path / "board.json")
        await play.pilot.press("enter")
        await wait_until((tmp_path / "board.json").exists, "written")
        written = json.loads((tmp_path / "board.json").read_text())
        (tmp_path / "board.json").write_text("a thesis")
        await play.pilot.press("e")
        await wait_until(lambda: isinstance(play.app.screen, SaveDialog))
        play.app.screen.query_one(Input).value = str(tmp_path / "board.json")
        await play.pilot.press("enter")
        await play.pilot.pause()
        assert "exists already" in str(play.app.screen.query_one("#hint").render())
        assert (tmp_path / "board.json").read_text() == "a thesis"
        await play.pilot.press("enter")
        await wait_until(lambda: not isinstance(play.app.screen, SaveDialog))
        assert json.loads((tmp_path / "board.json").read_text()) == written
        board = leaderboard(results.turns())
        assert [s["elo"] for s in written["standings"]] == [s.elo for s in board.standings]
        (tmp_path / "none.sqlite3").unlink()
        (tmp_path / "none.sqlite3").mkdir()
        await play.pilot.press("escape")
        assert "No votes yet" in await shown(play, Results(tmp_path / "none.sqlite3"))


def test_an_interval_is_a_line_with_ends_or_open() -> None:
    assert line_plot(Span(2, 5, 9), 0, 10, 11) == "  ├──●───┤ "
    assert line_plot(Span(None, 5, None), 0, 10, 11) == "◂────●────▸"
    assert line_plot(Span(0.3, 0.7, 0.9), 0, 1, 11, middle=True) == "   ├─┼─●─┤ "
    assert axis_of([]) == (900, 1100)
    assert axis_of([Span(None, 5, 9)]) == (5, 9)
