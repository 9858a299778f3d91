"""The lens on a recorded turn, and the mark where two answers part."""

import asyncio
import re

import msgspec
import pytest

from engine.duel.lens import Lens, NoLens
from engine.protocol.answers import Decoded
from tests.tui.conftest import Stager
from tests.tui.replay import RECORDINGS, Stage, recording, wait_until
from tui.lens.heat_map import HeatMap, heat, laid_out
from tui.lens.top_choices import TopChoices
from tui.markdown.divergence import SENTINEL, SIGN, with_mark
from tui.screens.lens import LensScreen
from tui.widgets.delta import Delta
from tui.widgets.run_progress import RunProgress


def recorded() -> Lens:
    return msgspec.json.decode((RECORDINGS / "lens.json").read_bytes(), type=Lens)


async def opened(play: Stage, found: Lens | NoLens) -> LensScreen:
    """The lens's screen, which gets this as the engine's answer."""
    await play.ready()

    async def look() -> Lens | NoLens:
        return found

    play.duel.bridge.look = look  # type: ignore[method-assign]
    await play.pilot.press("f3")
    await wait_until(lambda: isinstance(play.app.screen, LensScreen))
    screen = play.app.screen
    assert isinstance(screen, LensScreen)
    return screen


async def test_the_lens_begins_where_the_answers_part(stage: Stager) -> None:
    found = recorded()
    assert found.verdict
    async with stage(size=(80, 24)) as play:
        screen = await opened(play, found)
        await wait_until(lambda: screen.query("TopChoices") and screen.query_one(TopChoices).token)
        summary = str(screen.query_one(".summary").render())
        assert f"{found.summary.mean_kld:.3g} ± {found.summary.kld_stderr:.2g} nats" in summary
        assert found.summary.text in summary
        assert found.verdict.text in summary
        token = found.readings[0].tokens[found.verdict.index]
        assert screen.query_one(TopChoices).token == token
        choices = screen.query_one(TopChoices).render().plain
        for view in token.views:
            assert f"margin {view.margin:.3g} nats" in choices
            for choice in view.top:
                assert re.search(rf"“{re.escape(choice.text)}” +{choice.probability:.2%}", choices)


async def test_the_cursor_walks_over_both_answers(stage: Stager) -> None:
    found = recorded()
    async with stage(size=(120, 36)) as play:
        screen = await opened(play, found)
        await wait_until(lambda: len(screen.query(HeatMap)) == 2 and screen.query("TopChoices"))
        top = screen.query_one(TopChoices)

        async def press(key: str, index: int, side: int = 0) -> None:
            await play.pilot.press(key)
            await wait_until(lambda: top.token == found.readings[side].tokens[index], f"{key} to {index}")

        await press("home", 0)
        await press("right", 1)
        await press("n", next(place for place in found.readings[0].different_top if place > 1))
        await press("end", len(found.readings[0].tokens) - 1)
        assert found.verdict
        await press("d", found.verdict.index)
        await press("tab", found.verdict.index, side=1)
        await press("left", found.verdict.index - 1, side=1)
        text = str(screen.query_one("#heat-a Static").render())  # type: ignore[attr-defined]
        words = "".join(token.text for token in found.readings[0].tokens).split()
        assert text.replace("⏎", " ").split() == words


async def test_why_there_is_no_lens(stage: Stager) -> None:
    missing = NoLens(reason="other tokenizer", message="the tokenizers differ", hint="texts still compare")
    async with stage() as play:
        screen = await opened(play, missing)
        progress = screen.query_one(RunProgress)
        await wait_until(lambda: "the tokenizers differ (texts still compare)" in progress.render().plain)
        assert not screen.query(HeatMap)
        await play.pilot.press("escape")
        await wait_until(lambda: play.app.screen is play.duel)


async def test_escape_gives_up_reading(stage: Stager) -> None:
    async with stage() as play:
        await play.ready()
        given_up = asyncio.Event()

        async def look() -> Lens:
            try:
                await asyncio.Event().wait()
            finally:
                given_up.set()
            return recorded()

        play.duel.bridge.look = look  # type: ignore[method-assign]
        await play.pilot.press("f3")
        await wait_until(
            lambda: isinstance(play.app.screen, LensScreen) and play.app.screen.query("RunProgress")
        )
        await play.pilot.press("escape")
        await wait_until(given_up.is_set)
        await wait_until(lambda: play.app.screen is play.duel)


async def test_both_panes_mark_where_the_answers_part(stage: Stager) -> None:
    async with stage() as play:
        await play.ready()
        await play.ask("hi")
        await play.settled()
        await wait_until(lambda: play.duel.query_one(Delta).comparison)
        for side, word in enumerate(("the", "a")):
            await wait_until(lambda side=side: SIGN in play.text(side))
            assert f"Paris is {SIGN}{word} " in play.text(side)
            assert play.text(side).count(SIGN) == 1
        copied = play.duel.panes[0].answer
        said = "".join(event.text for event in recording("smollm2-bf16.answer") if isinstance(event, Decoded))
        assert SIGN not in copied and said in copied


@pytest.mark.parametrize(
    ("text", "offset", "marked"),
    [
        ("Paris is the capital", 8, "Paris is |the capital"),
        ("1. Paris\n2. London", 8, "1. Paris\n2. |London"),  # not into a list's number
        ("1. Paris\n2. London", 9, "1. Paris\n2. |London"),
        ("see **bold** text", 4, "see **|bold** text"),
        ("so:\n```python\nx = 1\n```", 3, "so:\n```python\n|x = 1\n```"),  # nor into a fence's language
        ("# Title", 0, "# |Title"),
        ("the end.", 8, "the end."),
        (" e\x19\x10e", 1, " |e\x19\x10e"),
        (" e\x19\x10e", 2, " e|\x19\x10e"),  # what is no letter diverges as well
        (" “Paris”, so", 0, " |“Paris”, so"),
        ("Paris. So", 5, "Paris|. So"),
        ("```\nf(x):\n```", 5, "```\nf|(x):\n```"),
        ("```\nf(x)\n```\nso", 8, "```\nf(x)\n```\n|so"),
        ("f(x): [y](z)", 1, "f|(x): [y](z)"),
        ("f(x): [y](z)", 9, "f(x): [y](|z)"),
        ("- 1. Paris", 3, "- 1. |Paris"),
        (f"a {SENTINEL}trick", 0, "|a \ufffdtrick"),
    ],
)
def test_a_mark_leaves_the_document_as_it_is(text: str, offset: int, marked: str) -> None:
    assert with_mark(text, offset) == marked.replace("|", SENTINEL)


def test_surprise_has_a_colour() -> None:
    assert heat(0.1) == ""
    assert heat(5) == heat(99) == "on $error 80%"
    assert heat(2.0) != heat(4.0) != ""


@pytest.mark.parametrize("width", [8, 30, 100])
def test_tokens_are_laid_out_within_the_width(width: int) -> None:
    tokens = recorded().readings[0].tokens
    pieces = laid_out(tokens, width)
    assert {piece.index for piece in pieces} == set(range(len(tokens)))
    assert max(piece.column + len(piece.text) for piece in pieces) <= width
    assert [piece.row for piece in pieces] == sorted(piece.row for piece in pieces)
