"""Footers: the keys stand where they stood, whatever has the focus."""

from msgspec.structs import replace
from textual.widgets._footer import FooterKey

from engine.protocol.model import ServedModel
from tests.tui.conftest import Stager
from tests.tui.replay import wait_until
from tui.active import keys_of
from tui.screens.blind import BlindScreen
from tui.screens.history import HistoryScreen
from tui.widgets.prompt import Prompt
from tui.widgets.transcript import Transcript


def labels(play: object) -> list[str]:
    return [key.description for key in play.app.screen.query(FooterKey)]  # type: ignore[attr-defined]


async def test_keys_do_not_move_with_the_focus(stage: Stager) -> None:
    async with stage(size=(80, 24)) as play:
        await play.ready()
        await play.pilot.press("f2")
        await wait_until(lambda: isinstance(play.app.screen, BlindScreen) and labels(play))
        order = ["Stop, leave", "Side", "Thoughts", "Help", "Leaderboard", "Quit"]
        for widget in (Prompt, Transcript, Prompt):
            play.app.screen.query(widget).first().focus()
            await play.pilot.pause()
            await wait_until(lambda: labels(play) == order, str(labels(play)))


async def test_they_stand_as_declared_and_fit(stage: Stager) -> None:
    async with stage(size=(80, 24)) as play:
        await play.ready()
        await play.pilot.press("f4")
        await wait_until(lambda: isinstance(play.app.screen, HistoryScreen) and labels(play))
        assert labels(play)[:3] == ["Close", "Reopen", "Read"] and labels(play)[-1] == "Help"
        assert play.app.screen.query(FooterKey).last().region.right <= 80
        await play.pilot.press("escape", "f5")
        await wait_until(lambda: "Earlier" in labels(play))
        assert labels(play)[0] == "Back" and "Help" in labels(play)


async def test_they_are_whole_after_the_terminal_has_grown(stage: Stager) -> None:
    async with stage(size=(80, 24)) as play:
        await play.ready()
        await wait_until(lambda: "Settings" in labels(play))
        await play.pilot.resize_terminal(120, 36)

        def are_whole() -> bool:
            keys = play.app.screen.query(FooterKey)
            return all(key.region.width == key.render().cell_len for key in keys)

        await wait_until(lambda: play.app.screen.size.width == 120 and are_whole())


async def test_the_keys_of_the_duel_fit_in_80_columns(stage: Stager) -> None:
    async with stage(size=(80, 24)) as play:
        await play.ready()
        await wait_until(lambda: {"Quit", "View"} <= set(labels(play)))
        await play.pilot.pause()
        keys = {key.key: key for key in play.app.screen.query(FooterKey)}
        shown = [keys[f"f{number}"].render().plain for number in range(1, 13)]
        assert shown[:2] == ["f1Help", "2Vote"] and shown[6] == "7Rank" and shown[11] == "12View"
        listed = [key.keys.casefold() for key in keys_of(play.app.screen)]
        assert len(listed) == len(set(listed)) and {"tab", "^d"} <= set(listed)
        assert max(key.region.right for key in play.app.screen.query(FooterKey)) <= 80


async def test_what_a_side_turns_out_not_to_do_is_grey(stage: Stager) -> None:
    async with stage(size=(80, 24)) as play:
        await play.ready()
        await wait_until(lambda: "View" in labels(play))
        side = play.duel.sides[1]
        assert side.info
        side.info = replace(side.info, served=ServedModel(engine="openai", address=""))
        play.duel.refresh_bindings()

        def grey() -> set[str]:
            return {key.description for key in play.app.screen.query(FooterKey) if key.has_class("-disabled")}

        await wait_until(lambda: {"Lens", "Eval"} <= grey(), "those of the server's model")
        assert "Bench" not in grey()
