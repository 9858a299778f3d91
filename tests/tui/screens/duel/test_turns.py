"""Again, on, otherwise, alone: the turn menu and histories, key by key on recorded sessions."""

from textual.widgets import OptionList

from engine.duel.comparison import compare
from tests.tui.conftest import Stager
from tests.tui.replay import Stage, wait_until
from tui.screens.duel.turn import MenuDialog
from tui.widgets.delta import Delta
from tui.widgets.prompt import Prompt
from tui.widgets.top_bar import TopBar

SMALL = (80, 24)


async def menu(play: Stage, *keys: str) -> None:
    """Open the turn menu and press these there."""
    await play.pilot.press("f9")
    await wait_until(lambda: isinstance(play.app.screen, MenuDialog))
    await play.pilot.pause()
    await play.pilot.press(*keys)


async def asked(play: Stage, *prompts: str) -> None:
    await play.ready()
    for prompt in prompts:
        await play.ask(prompt)
        await play.settled()


def shown(play: Stage, side: int) -> list[str]:
    """The prompts that a pane shows."""
    exchanges = play.duel.panes[side].transcript.query("Exchange")
    return [str(e.query(".turn").first().render()) for e in exchanges if e.display]  # type: ignore[attr-defined]


async def test_regenerate_begins_a_branch_with_the_same_or_a_new_seed(stage: Stager) -> None:
    async with stage(size=SMALL) as play:
        await asked(play, "one", "two")
        for count, letter in enumerate("rn", 3):
            await menu(play, letter)
            await wait_until(lambda count=count: len(play.sessions[0].asked) == count)
            await play.settled()
        assert play.sessions[0].asked[1] == play.sessions[0].asked[2] == play.sessions[0].asked[3]
        seeds = [generation.seed for generation in play.sessions[1].generations]
        assert seeds[:3] == [0, 0, 0] and seeds[3] != 0
        assert shown(play, 0) == shown(play, 1) == ["one", "two"]
        assert len(play.duel.panes[0].transcript.query("Exchange")) == 4


async def test_what_was_cut_is_gone_on_with_and_the_other_side_stays(stage: Stager) -> None:
    async with stage(a={"answers": ["cancelled", "answer"]}) as play:
        await asked(play, "one")
        await menu(play, "c")
        await wait_until(lambda: len(play.sessions[0].asked) == 2)
        await play.settled()
        assert play.sessions[0].asked[0] == play.sessions[0].asked[1]
        assert len(play.sessions[0].how[1]["answered"]) > 0
        assert len(play.sessions[1].asked) == 1
        assert shown(play, 0) == shown(play, 1) == ["one"]
        assert "Louvre" in play.text(1)
        await menu(play)
        options = play.app.screen.query_one(OptionList)
        assert [option.disabled for option in options.options if "Continue" in str(option.prompt)] == [True]


async def test_a_side_that_waits_to_go_on_shows_what_it_said_and_keeps_it_without_its_turn(
    stage: Stager,
) -> None:
    async with stage(a={"answers": ["cancelled"]}, b={"answers": ["cancelled"]}) as play:
        await asked(play, "one")
        said = [play.duel.bridge.duel.answers[side] for side in (0, 1)]
        for session in play.sessions:
            session._hold = 0
            session.go.clear()
        await menu(play, "c")
        await wait_until(lambda: any(len(session.asked) == 2 for session in play.sessions))
        first = next(side for side in (0, 1) if len(play.sessions[side].asked) == 2)
        for side in (0, 1):
            await wait_until(lambda side=side: said[side].text in play.text(side))  # type: ignore[misc]
        await play.pilot.press("escape")
        await play.settled()
        assert len(play.sessions[1 - first].asked) == 1
        assert play.duel.bridge.duel.answers[1 - first] is said[1 - first]
        assert shown(play, 0) == shown(play, 1) == ["one"]
        assert said[1 - first].text in play.text(1 - first).replace("◆", "")


async def test_an_earlier_prompt_is_edited_and_the_old_branch_kept(stage: Stager) -> None:
    async with stage(size=SMALL) as play:
        await asked(play, "one", "two")
        await play.pilot.press(*"draft")
        await menu(play, "e")
        await wait_until(
            lambda: (
                len(play.app.screen_stack) == 2 and play.app.screen.query_one(OptionList).option_count == 2
            )
        )
        await play.pilot.press("1")
        prompt = play.duel.query_one(Prompt)
        await wait_until(lambda: prompt.text == "one")
        await play.pilot.press("escape")
        assert prompt.text == "draft"
        await menu(play, "e")
        await wait_until(lambda: isinstance(play.app.screen, MenuDialog))
        await play.pilot.pause()
        await play.pilot.press("up", "enter")
        await wait_until(lambda: prompt.text == "one")
        await play.pilot.press(*" more", "enter")
        await wait_until(lambda: len(play.sessions[0].asked) == 3)
        await play.settled()
        assert [message.content for message in play.sessions[1].asked[2]] == ["one more"]
        assert shown(play, 0) == shown(play, 1) == ["one more"]
        for side in play.duel.sides:
            side.figures = None
        await menu(play, "o")
        await wait_until(lambda: shown(play, 0) == ["one", "two"])
        assert all(side.figures and side.figures.metrics.new_tokens for side in play.duel.sides)
        await play.ask("three")
        await play.settled()
        assert [message.content for message in play.sessions[0].asked[3]][::2] == ["one", "two", "three"]


async def test_a_prompt_that_was_being_edited_is_an_ordinary_one_in_a_new_conversation(stage: Stager) -> None:
    async with stage(size=SMALL) as play:
        await asked(play, "one", "two")
        last = play.duel.bridge.duel.conversation.last
        assert last
        play.duel.edit(last)
        await play.pilot.press("ctrl+l")
        await wait_until(lambda: shown(play, 0) == [])
        await play.ask("new")
        await play.settled()
        assert [message.content for message in play.sessions[0].asked[2]] == ["new"]
        play.duel.edit(play.duel.bridge.duel.conversation.path[-1])
        await menu(play, "a")
        await wait_until(lambda: len(play.sessions[0].asked) == 4)
        await play.settled()
        await play.ask("after it")
        await play.settled()
        contents = [message.content for message in play.sessions[0].asked[4]]
        assert contents[::2] == ["new", "new", "after it"]


async def test_again_with_no_model_loaded_says_so_and_leaves_the_conversation(stage: Stager) -> None:
    async with stage(size=SMALL, toasts=True) as play:
        await asked(play, "one")
        last, delta = play.duel.bridge.duel.conversation.last, play.delta
        for session in play.sessions:
            session.died.set()
        await wait_until(lambda: all(side.is_lost for side in play.duel.sides))
        await menu(play, "r")
        await wait_until(lambda: play.duel.query_one(Prompt).text == "one")
        await wait_until(
            lambda: any("No model is loaded" in toast.message for toast in play.app._notifications)
        )
        assert play.duel.bridge.duel.conversation.last is last and shown(play, 0) == ["one"]
        assert play.delta == delta


async def test_one_side_alone(stage: Stager) -> None:
    async with stage() as play:
        await asked(play, "one")
        await play.pilot.press(*"only b")
        await menu(play, "b")
        await wait_until(lambda: len(play.sessions[1].asked) == 2)
        await play.settled()
        assert len(play.sessions[0].asked) == 1 and play.duel.query_one(Prompt).text == ""
        assert (shown(play, 0), shown(play, 1)) == (["one"], ["one", "only b"])
        assert play.duel.query_one(Delta).comparison is None


async def test_histories_that_differ_grey_the_ratios_and_a_key_makes_them_one(stage: Stager) -> None:
    async with stage() as play:
        await asked(play, "one", "two")
        histories = [play.sessions[side].asked[-1][1].content for side in (0, 1)]
        assert histories[0] != histories[1]
        await play.pilot.press("f10")
        assert "A's history" in play.duel.query_one(TopBar).render().plain
        await play.ask("three")
        await play.settled()
        a, b = (play.sessions[side].asked[-1] for side in (0, 1))
        assert a == b and len(a) == 5
        await menu(play, "f")
        await play.ask("four")
        await play.settled()
        assert [len(play.sessions[side].asked[-1]) for side in (0, 1)] == [1, 1]
        await play.pilot.press("f10")
        assert play.duel.bridge.duel.history == "own"


async def test_ratios_of_different_inputs_are_grey_and_the_reason_is_told(stage: Stager) -> None:
    async with stage() as play:
        await asked(play, "one", "two")
        duel, delta = play.duel.bridge.duel, play.duel.query_one(Delta)
        assert "bold $text-success" in {span.style for span in delta.render().spans}
        duel.answers[1].prompt_sha256 = "of other tokens"  # recordings know one prompt
        delta.comparison = compare(duel)
        assert "each side reads its own earlier answers" in play.delta and "F10" in play.delta
        assert "bold $text-success" not in {span.style for span in delta.render().spans}


async def test_no_turn_begins_while_a_prompt_waits_for_a_model(stage: Stager) -> None:
    async with stage(b={"load_hold": 8}) as play:
        play.sessions[1].go.set()
        await play.ready()
        await play.ask("first")
        await play.settled()
        play.duel.reload(1)
        await wait_until(lambda: play.duel.sides[1].is_loading and len(play.sessions) == 3)
        await play.ask("second")
        await wait_until(lambda: play.duel.is_asking)
        assert not play.duel.bridge.answering
        await play.pilot.press("f9")
        assert play.app.screen is play.duel
        assert any("Still answering" in note.message for note in play.app._notifications)
        play.sessions[2].go.set()
        await wait_until(lambda: "second" in play.text(0))
        await play.settled()
