"""Blind votes on recorded runs: nothing on the screen tells the sides apart before the vote."""

from pathlib import Path

import pytest
from textual.widgets import Button

from engine.protocol.answers import Decoded
from engine.results import Results
from engine.votes.votes import Shuffle, exclusion_of
from tests.tui.conftest import Stager
from tests.tui.replay import Stage, recording, wait_until
from tui.blind.lockstep import KEPT_BACK
from tui.blind.pane import BlindTabs
from tui.screens.blind import BlindScreen
from tui.screens.leaderboard import LeaderboardScreen
from tui.widgets.delta import Delta
from tui.widgets.prompt import Prompt
from tui.widgets.thoughts import Thoughts

A_LEFT, B_LEFT = (next(seed for seed in range(99) if Shuffle(seed).left() == side) for side in (0, 1))
Rows = list[list[tuple[str, str]]]  # of cells: a character and its style
HOLD = 100  # events of B's answer
HELD_CHARACTERS = sum(
    len(event.text) for event in recording("smollm2-nf4.answer")[:HOLD] if isinstance(event, Decoded)
)


class Booth:
    """A blind screen on recorded sessions."""

    def __init__(self, play: Stage, folder: Path, seed: int = A_LEFT) -> None:
        self.play = play
        self.results = Results(folder / "results.sqlite3")
        self.screen = BlindScreen(play.duel.bridge, self.results, seed, pace=1000.0)
        self.ended: list[str | None] = []

    async def open(self) -> None:
        self.play.app.push_screen(self.screen, self.ended.append)
        await wait_until(lambda: self.play.app.screen is self.screen and self.screen.query(Prompt))
        await self.play.pilot.pause()

    async def ask(self, prompt: str) -> None:
        before = self.screen.ballot
        self.screen.query_one(Prompt).text = prompt
        self.screen.query_one(Prompt).focus()
        await self.play.pilot.press("enter")
        await wait_until(lambda: self.screen.ballot is not before, "asked")

    async def painted(self) -> None:
        """Wait until everything that may be seen is on the screen."""
        ballot = self.screen.ballot
        replies = [pane.transcript.reply for pane in self.screen.places]
        await wait_until(
            lambda: (
                all(reply.source == reply.text for reply in replies)
                and tuple(reply.text for reply in replies) == ballot.texts
            ),
            "painted",
        )
        await self.play.pilot.pause()

    async def shown(self, characters: int) -> None:
        """Wait until so many characters of both are painted."""
        await wait_until(lambda: self.screen.ballot.lockstep.length == characters, f"{characters} shown")
        await self.painted()

    async def complete(self) -> None:
        """Wait until both answers are on the screen."""
        replies = [pane.transcript.reply for pane in self.screen.places]
        await wait_until(lambda: self.screen.ballot.is_complete and all(r.settled for r in replies))
        await self.painted()

    async def revealed(self) -> None:
        """Wait until the figures are there."""
        await wait_until(lambda: self.screen.query_one(Delta).display, "revealed")
        await self.play.pilot.pause()

    async def picture(self) -> Rows:
        """The whole screen at rest, cell by cell: three ticks of its clock change nothing."""
        seen: list[Rows] = []
        while len(seen) < 3 or seen[-3:] != 3 * seen[-1:]:
            assert len(seen) < 100, "never at rest"
            self.screen._tick()
            await self.play.pilot.pause()
            seen.append(self.rows())
        return seen[-1]

    def rows(self) -> Rows:
        """The whole screen as it is now."""
        strips = self.play.app.screen._compositor.render_strips()
        return [
            [(letter, str(segment.style)) for segment in strip for letter in segment.text] for strip in strips
        ]

    def text(self) -> str:
        return text_of(self.rows())


def text_of(rows: Rows) -> str:
    return "\n".join("".join(letter for letter, _ in row) for row in rows)


def swapped(rows: Rows, booth: Booth) -> Rows:
    """The same screen with what stands in both places exchanged; their titles and frame stay."""
    left, right = (pane.transcript.region for pane in booth.screen.places)
    assert left.size == right.size
    result = list(rows)
    for y in range(left.y, left.bottom):
        row = rows[y]
        a, b = row[left.x : left.right], row[right.x : right.right]
        result[y] = row[: left.x] + b + row[left.right : right.x] + a + row[right.right :]
    return result


async def record(stage: Stager, seed: int, folder: Path) -> tuple[list[Rows], list[Rows], list[Rows]]:
    """The screen at moments before the vote, the same with places exchanged, and a narrow screen's places."""
    async with stage((120, 36), a={"hold": 30}, b={"hold": HOLD}) as play:
        await play.ready()
        booth = Booth(play, folder, seed)
        await booth.open()
        moments = [await booth.picture()]
        await booth.ask("Three facts about Paris")
        await wait_until(lambda: play.duel.bridge.duel.answers[0].token_ids, "the first side writes")
        await play.pilot.pause()
        moments.append(await booth.picture())
        play.sessions[0].go.set()
        await booth.shown(HELD_CHARACTERS - KEPT_BACK)
        moments.append(await booth.picture())
        play.sessions[1].go.set()
        await booth.complete()
        moments.append(await booth.picture())
        exchanged = [swapped(rows, booth) for rows in moments]
        await play.pilot.resize_terminal(80, 24)
        await booth.painted()
        left = await booth.picture()
        await play.pilot.press("ctrl+n")
        await booth.painted()
        return moments, exchanged, [left, await booth.picture()]


async def test_a_recording_of_the_screen_tells_no_side_from_the_other(stage: Stager, tmp_path: Path) -> None:
    straight, straight_exchanged, straight_narrow = await record(stage, A_LEFT, tmp_path)
    crossed, crossed_exchanged, crossed_narrow = await record(stage, B_LEFT, tmp_path)
    assert straight == crossed_exchanged
    assert crossed == straight_exchanged
    assert straight[2] != crossed[2]  # the words are seen
    below = [[text_of(rows[2:]) for rows in each] for each in (straight_narrow, crossed_narrow[::-1])]
    assert below[0] == below[1]  # below the tabs, which say what is in view
    shown = "\n".join(map(text_of, [*straight, *straight_narrow]))
    assert "capital of France" in shown and "Louvre" in shown
    for name in ("smollm2", "bf16", "nf4", "tok/s", "MiB", "TTFT", "cpu", "tokens,"):
        assert name not in shown


async def test_equal_words_make_equal_places(stage: Stager, tmp_path: Path) -> None:
    """Colours and marks that go with a side would go with its words in the test above; here they cannot."""
    async with stage(a={"hold": HOLD}, b={"hold": HOLD, "voice": "smollm2-bf16"}) as play:
        await play.ready()
        booth = Booth(play, tmp_path)
        await booth.open()
        await booth.ask("Three facts about Paris")
        play.sessions[0].go.set()
        await wait_until(lambda: booth.screen.ballot.lockstep.length > 100, "held")
        await booth.painted()
        middle = await booth.picture()
        play.sessions[1].go.set()
        await booth.complete()
        for rows in (middle, await booth.picture()):
            assert swapped(rows, booth) == rows
            assert "capital of France" in text_of(rows)
        booth.results.file.mkdir()  # a history that cannot be written stops nobody
        await play.pilot.press("2")
        await booth.revealed()
        assert "Left was A" in booth.text()
        assert any("cannot be used" in note.message for note in play.app._notifications)


async def test_a_vote_reveals_and_is_kept(stage: Stager, tmp_path: Path) -> None:
    async with stage() as play:
        await play.ready()
        booth = Booth(play, tmp_path, B_LEFT)
        await booth.open()
        await booth.ask("Three facts about Paris")
        await booth.complete()
        await play.pilot.press("1")
        await booth.revealed()
        text = booth.text()
        assert "Left was B  smollm2-nf4  nf4" in text and "Right was A  smollm2-bf16  bf16" in text
        assert "Your vote: left, which is B" in text and "nf4 against bf16" in text
        assert "50 + 139" in text and "256.6 MiB" in text
        (turn,) = booth.results.turns()
        assert (turn.verdict, turn.left, turn.prompt) == ("b", 1, "Three facts about Paris")
        assert [answer.profile for answer in turn.answers] == ["smollm2-bf16", "smollm2-nf4"]
        assert [answer.metrics.new_tokens for answer in turn.answers] == [139, 140]
        assert exclusion_of(turn) is None
        assert not play.duel.panes[0].answer  # the duel's own conversation is untouched
        await booth.ask("and again")
        await booth.complete()
        assert "was" not in booth.text().split("Three")[0]
        assert not booth.screen.query_one(Delta).display
        assert len(play.sessions[0].asked[1]) == 1  # a conversation of its own


async def test_an_early_vote_is_kept_before_the_answers_end(stage: Stager, tmp_path: Path) -> None:
    async with stage(b={"hold": HOLD}) as play:
        await play.ready()
        booth = Booth(play, tmp_path)
        await booth.open()
        await booth.ask("Three facts about Paris")
        await booth.shown(HELD_CHARACTERS - KEPT_BACK)
        await play.pilot.click(booth.screen.query(Button)[2])
        await wait_until(booth.results.turns, "kept")
        (early,) = booth.results.turns()
        assert early.verdict == "tie" and early.answers[1].finish_reason is None
        assert "Left was A" in booth.text()
        play.sessions[1].go.set()
        await booth.revealed()
        (late,) = booth.results.turns()
        assert late.verdict == "tie" and late.answers[1].finish_reason == "stop"
        assert late.answers[1].text.startswith(early.answers[1].text)


async def test_escape_takes_back_stops_and_leaves(stage: Stager, tmp_path: Path) -> None:
    async with stage(a={"hold": 30}, b={"load_hold": 40}) as play:
        await wait_until(lambda: play.duel.sides[0].state == "ready")
        booth = Booth(play, tmp_path)
        await booth.open()
        await booth.ask("early")
        await wait_until(lambda: "as soon as both models are loaded" in booth.text())
        await play.pilot.press("escape")
        assert booth.screen.ballot is None
        play.sessions[1].go.set()
        await play.ready()
        assert play.duel.sides[1].loaded and not play.sessions[0].asked
        await booth.ask("Three facts about Paris")
        await wait_until(lambda: play.sessions[0].asked)
        await play.pilot.press("1")  # there is nothing to vote on
        assert booth.screen.ballot.choice is None
        await play.pilot.press("escape")
        await wait_until(booth.results.turns, "kept")
        assert "Stopped before there was anything" in booth.text()
        await booth.ask("Three facts about Paris")
        await booth.complete()
        await play.pilot.press("escape")
        await wait_until(lambda: booth.ended == [""], "left without a vote")
        assert play.app.screen is play.duel
        reasons = [exclusion_of(turn) for turn in booth.results.turns()]
        assert reasons == ["cancelled before any text", "no vote"]


async def test_a_lost_side_ends_the_blind_votes_with_a_line(stage: Stager, tmp_path: Path) -> None:
    async with stage(b={"answers": ["killed"]}) as play:
        await play.ready()
        booth = Booth(play, tmp_path)
        await booth.open()
        await booth.ask("Three facts about Paris")
        await wait_until(lambda: booth.ended, "ended")
        assert "smollm2-nf4: the worker was killed" in str(booth.ended[0])
        await wait_until(lambda: play.duel.sides[1].state == "failed", "the duel's screen knows, too")
        assert exclusion_of(booth.results.turns()[0]) == "failed"


async def test_keys_lead_there(stage: Stager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANTDUEL_HOME", str(tmp_path))  # a history of its own
    async with stage() as play:
        await play.ready()
        await play.pilot.press("f2")
        await wait_until(lambda: isinstance(play.app.screen, BlindScreen), "F2")
        await play.pilot.press("escape")
        await wait_until(lambda: play.app.screen is play.duel, "Esc")
        play.duel.panes[1].transcript.focus()
        await play.pilot.press("f2")
        await wait_until(lambda: isinstance(play.app.screen, BlindScreen), "F2 in a pane")
        await play.pilot.press("f7")  # also where the prompt has a meaning of its own for it
        await wait_until(lambda: isinstance(play.app.screen, LeaderboardScreen), "F7")


@pytest.mark.usefixtures("thinks")
async def test_thoughts_are_folded_and_counted_after_the_vote_alone(stage: Stager, tmp_path: Path) -> None:
    async with stage((80, 24), b={"voice": "smollm2-bf16"}) as play:
        await play.ready()
        booth = Booth(play, tmp_path)
        await booth.open()
        await booth.ask("Three facts about Paris")
        await wait_until(lambda: booth.screen.ballot.is_complete)
        assert booth.screen.query_one(BlindTabs).render().plain.split() == [
            "Left",
            "Right",
            "not",
            "in",
            "view",
        ]
        thoughts = booth.screen.query(Thoughts)
        for place, found in enumerate(thoughts):
            await wait_until(lambda found=found: found.query_one(".line").render().plain == "▸ thoughts")
            assert not found.query_one(".text").display, place
        await play.pilot.press("f12")
        assert all(found.is_open for found in thoughts)
        assert [found.query_one(".text").render().plain for found in thoughts] == ["Paris?", "Paris?"]
        await play.pilot.press("f12", "1")
        await booth.revealed()
        assert not any(found.is_open for found in thoughts)
        for found in thoughts:
            await wait_until(
                lambda found=found: "3 tokens of thoughts" in found.query_one(".line").render().plain
            )
        assert "<think>" in booth.results.turns()[0].answers[0].text
