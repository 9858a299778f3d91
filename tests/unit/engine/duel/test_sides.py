"""More than two sides: each is compared with A, kept, exported and read again; a blind vote draws a pair."""

import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from engine import cli
from engine.duel import turn as records
from engine.duel.comparison import comparisons
from engine.duel.duel import Duel
from engine.duel.sides import LETTERS, MOST_SIDES
from engine.errors import FileError
from engine.recordings import export, recording
from engine.recordings.document import json_text
from engine.recordings.figures import divergence_offset
from engine.recordings.markdown import markdown
from engine.recordings.page import page
from engine.recordings.rebuilt import rebuilt
from engine.recordings.recording import Recording
from engine.recordings.store import MIGRATIONS, Duels
from engine.votes.blind import Blind
from engine.votes.votes import Shuffle

Recorded = Callable[..., Duel]
Keep = Callable[..., Awaitable[Recording]]
FOUR = ("smollm2-bf16", "smollm2-nf4")
"""What C and D say: C the same as A, D the same as B."""


async def _asked(duel: Duel) -> records.Turn:
    for session in duel.sessions:
        async for _ in session.load():
            pass
    async for _ in duel.ask("Hi"):
        pass
    sides = [records.side(session, duel.answers.get(n)) for n, session in enumerate(duel.sessions)]
    return records.record(duel, "Hi", duel.generation, sides)


async def test_each_side_is_compared_with_the_first(recorded: Recorded) -> None:
    duel = recorded(more=FOUR)
    turn = await _asked(duel)
    b, c, d = comparisons(duel)
    assert [one.side for one in (b, c, d)] == [1, 2, 3]
    assert (b.labels, c.labels, d.labels) == (("A bf16", "B nf4"), ("A bf16", "C bf16"), ("A bf16", "D nf4"))
    assert c.divergence is None and c.decode == 1 and b.divergence == d.divergence is not None
    assert turn.first_divergence == b.divergence.token
    assert turn.comparisons == (b, c, d)
    assert divergence_offset(duel, 2) is None
    assert divergence_offset(duel, 0) == divergence_offset(duel, 3) == b.divergence.offsets[0]


async def test_two_sides_have_the_keys_that_they_had(recorded: Recorded) -> None:
    two, four = await _asked(recorded()), await _asked(recorded(more=FOUR))
    keys = [set(msgspec.to_builtins(turn)) for turn in (two, four)]
    assert keys[1] - keys[0] == {"comparisons"}
    assert len(four.sides) == 4 and two.sides[1].text == four.sides[1].text


async def test_all_sides_are_kept_exported_and_read_again(
    recorded: Recorded, keep: Keep, tmp_path: Path
) -> None:
    duel = recorded(more=FOUR, turns=2)
    kept = await keep(duel, "Name three facts about Paris", "more")
    assert len(kept.profiles) == len(kept.histories) == 4
    again = rebuilt(kept)[1]
    assert comparisons(again) == comparisons(duel)
    assert [again.answers[side].text for side in range(4)] == [duel.answers[s].text for s in range(4)]
    for text in (page(kept), markdown(kept)):
        assert "D against A" in text and "C: same answer" in text
    export.export(kept, file := tmp_path / "duel.json")
    assert recording.read(file).turns == kept.turns


async def test_a_recording_whose_sides_do_not_match_is_refused(
    recorded: Recorded, keep: Keep, tmp_path: Path
) -> None:
    kept = await keep(recorded(more=FOUR), "Hi")
    turn, (_, event) = kept.turns[0], kept.turns[0].events[-1]
    for bad in (
        replace(kept, histories=((), ())),
        replace(kept, profiles=kept.profiles * 2),
        replace(kept, turns=(replace(turn, events=(*turn.events, (4, event))),)),
    ):
        (file := tmp_path / "bad.json").write_text(json_text(replace(kept, turns=())))
        fields = msgspec.json.decode(file.read_bytes()) | msgspec.to_builtins(bad)
        file.write_bytes(msgspec.json.encode(fields))
        with pytest.raises(FileError, match="is not a recording"):
            recording.read(file)


async def test_a_file_that_was_written_for_two_sides_takes_more(
    recorded: Recorded, keep: Keep, duels: Duels
) -> None:
    duels.file.parent.mkdir()
    with closing(sqlite3.connect(duels.file)) as db, db:
        for statement in (line for migration in MIGRATIONS[:3] for line in migration):
            db.execute(statement)
        db.execute("PRAGMA user_version = 3")
        db.execute("INSERT INTO duels VALUES (1, '2026-01-01', 'before', '[]', '[[],[]]', NULL)")
        db.execute(
            "INSERT INTO turns (id, duel, created, prompt, generation, schedule) VALUES (1,1,'','','','')"
        )
        db.execute("INSERT INTO answers VALUES (1, 1, 'said long ago')")
    assert [found.title for found in duels.found("said long ago")] == ["before"]
    await keep(recorded(more=FOUR), "Hi")
    assert [len(found.profiles) for found in duels.found("hi")] == [4]
    assert [found.title for found in duels.found("said long ago")] == ["before"]


async def test_a_pair_is_drawn_for_each_blind_turn(recorded: Recorded) -> None:
    duel = recorded(more=FOUR, turns=12)
    for session in duel.sessions:
        async for _ in session.load():
            pass
    blind, pairs = Blind(duel, seed=1), set()
    for _ in range(12):
        async for _ in blind.ask("Hi"):
            pass
        turn, (first, second) = blind.turn(), blind.pair
        pairs.add(blind.pair)
        assert first < second and sorted(blind.answers) == [first, second]
        assert [answer.profile for answer in turn.answers] == [
            duel.sessions[side].profile.name for side in blind.pair
        ]
        assert blind.comparison and blind.comparison.side == second
    assert len(pairs) > 3
    assert [Shuffle(3).pair((0, 1)) for _ in range(9)] == [(0, 1)] * 9


async def test_a_side_without_a_model_is_drawn_by_nobody(recorded: Recorded) -> None:
    duel = recorded(more=FOUR, turns=12)
    for session in duel.sessions[1:]:
        async for _ in session.load():
            pass
    blind = Blind(duel, seed=1)
    duel.refused = {0}
    duel.schedule = "swap"
    drawn = {side for _ in range(20) for side in blind._shuffle.pair(blind._able)}
    assert drawn == {1, 2, 3}


def test_a_seventh_profile_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["duel"], ["arena", "--prompts", "none"]):
        assert cli.run([*command, *["random:tiny"] * (MOST_SIDES + 1)]) == 2
        assert "a duel has 6 sides at most, and 7 profiles are named" in capsys.readouterr().err
    assert len(set(LETTERS)) == MOST_SIDES
