"""Duels kept while they happen: killed in the middle, gone on with, files that do not take it."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import get_args

import msgspec
import pytest
from msgspec.structs import replace

from engine import private
from engine.duel.comparison import compare
from engine.duel.conversation import History
from engine.duel.duel import Duel
from engine.errors import HistoryError, InputError
from engine.protocol.answers import Message, Prompted
from engine.protocol.wire import Event
from engine.recordings.figures import remarks
from engine.recordings.keeper import Keeper
from engine.recordings.page import page
from engine.recordings.rebuilt import conversation, conversations, rebuilt
from engine.recordings.recording import NOT_RECORDED, TORN
from engine.recordings.store import MIGRATIONS, Duels

ASKER = """
import asyncio, sys
from pathlib import Path
from engine.config import profiles
from engine.duel.duel import Duel
from engine.protocol.wire import Event
from engine.recordings.keeper import Keeper
from engine.recordings.playback import Pace, Playback
from engine.recordings.store import Duels
from tests.tui.replay import recording

async def main():
    names, pace = ("smollm2-bf16", "smollm2-nf4"), Pace(0)
    said = [(profiles.find(n), recording(f"{n}.load"), [recording(f"{n}.answer")]) for n in names]
    duel = Duel([Playback(*each, pace) for each in said])
    for session in duel.sessions:
        async for _ in session.load():
            pass
    pace.speed = 1.0
    settings = duel.sessions[0].profile.generation
    events = Keeper(Duels(Path(sys.argv[1]))).keep(duel, "Hello", duel.ask("Hello", settings), settings)
    async for side, event in events:
        print(getattr(event, "text", "").replace(chr(10), "/"), flush=True)

asyncio.run(main())
"""


async def _asked(duel: Duel, keeper: Keeper, prompt: str) -> None:
    settings = duel.sessions[0].profile.generation
    for session in duel.sessions:
        if session.info is None:
            async for _ in session.load():
                pass
    async for _ in keeper.keep(duel, prompt, duel.ask(prompt, settings), settings):
        pass


async def test_a_kept_duel_is_the_duel_that_was(duels: Duels, recorded: Callable[..., Duel]) -> None:
    duel, keeper = recorded(turns=2), Keeper(duels)
    await _asked(duel, keeper, "Hello")
    first = {side: (answer.text, answer.metrics) for side, answer in duel.answers.items()}
    await _asked(duel, keeper, "And again")
    await keeper.aclose()
    (listed,) = duels.found()
    assert (listed.title, listed.turns, listed.labels) == ("Hello", 2, ("bf16", "nf4"))
    kept = duels.get(listed.id)
    assert [turn.after for turn in kept.turns] == [None, 0]
    again = rebuilt(kept)[0]
    assert {side: (answer.text, answer.metrics) for side, answer in again.answers.items()} == first
    assert compare(rebuilt(kept)[1]) == compare(duel)
    assert conversations(kept, 1) == duel.conversations


async def test_what_each_side_read_is_known_of_a_kept_duel_and_said_in_exports(
    duels: Duels, recorded: Callable[..., Duel]
) -> None:
    duel, keeper = recorded(turns=6), Keeper(duels)
    read: list[list[tuple[Message, ...]]] = []
    for history in get_args(History):
        duel.history = history
        for prompt in ("Hello", "more"):
            await _asked(duel, keeper, prompt)
            read.append([duel.answers[side].messages for side in (0, 1)])
        duel.forget()
        keeper.forget()
    await keeper.aclose()
    again = [each for number in (1, 2, 3) for each in rebuilt(duels.get(number))]
    assert [[each.answers[side].messages for side in (0, 1)] for each in again] == read
    kept = duels.get(1)
    *_, (side, event) = ((s, e) for s, e in kept.turns[1].events if s and isinstance(e, Prompted))
    events = tuple(
        (s, replace(event, sha256="of other tokens") if (s, e) == (side, event) else e)
        for s, e in kept.turns[1].events
    )  # recordings know one prompt
    first, second = kept.turns
    page_text = page(replace(kept, turns=(first, replace(second, events=events))))
    assert page_text.count("each side reads its own earlier answers") == 1


async def test_a_prompt_belongs_to_the_duel_it_goes_on_with(
    duels: Duels, recorded: Callable[..., Duel]
) -> None:
    """After a restart, too; asked again from an earlier place it is a branch, cleared it is another duel."""
    duel, keeper = recorded(turns=9), Keeper(duels)
    await _asked(duel, keeper, "one")
    before = duel.conversations
    await _asked(duel, keeper, "two")
    duel.take_up(before)
    await _asked(duel, keeper, "two, said otherwise")
    duel.forget()
    keeper.forget()
    await _asked(duel, keeper, "another")
    await keeper.aclose()
    newest, oldest = duels.found()
    kept = duels.get(oldest.id)
    assert [turn.after for turn in kept.turns] == [None, 0, 0] and newest.turns == 1

    duel, keeper = recorded(turns=9), Keeper(duels)
    duel.go_on(tree := conversation(kept))
    keeper.go_on(kept, tree, oldest.id, duels.turn_ids(oldest.id))
    await _asked(duel, keeper, "three")
    await keeper.aclose()
    assert [turn.after for turn in duels.get(oldest.id).turns] == [None, 0, 0, 2]
    assert len(duels.found()) == 2


def test_a_kill_in_the_middle_of_an_answer_leaves_what_was_said(duels: Duels) -> None:
    """Two at once, both killed: all that was said but for the last moments, and the file is whole."""
    root = Path(__file__).parents[4]
    askers = [
        subprocess.Popen(
            [sys.executable, "-c", ASKER, str(duels.file)], stdout=subprocess.PIPE, cwd=root, text=True
        )
        for _ in range(2)
    ]
    while len(duels.found("capital")) < 2:  # answers, as far as they are in the file
        assert all(asker.stdout and asker.stdout.readline() for asker in askers)
    for asker in askers:
        os.kill(asker.pid, signal.SIGKILL)
        asker.communicate()
    assert len(duels.found()) == 2
    for listed in duels.found():
        kept = duels.get(listed.id)
        answer = rebuilt(kept)[0].answers[0]
        assert len(answer.token_ids) > 3 and answer.text and answer.ended
        assert answer.failure and "ended before this answer did" in answer.failure.message
        assert duels.found(answer.text[:8]) and answer.is_cut
        said, nothing = conversations(kept, 0)
        assert [message.content for message in said] == ["Hello", answer.text] and nothing == ()
    with sqlite3.connect(duels.file) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert duels.file.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("fault", ["damaged", "newer", "no place"])
async def test_a_file_that_cannot_be_used_is_reported_once_and_ends_no_answer(
    duels: Duels, recorded: Callable[..., Duel], fault: str
) -> None:
    duels.file.parent.mkdir()
    if fault == "damaged":
        duels.file.write_bytes(b"this is no database, " * 300)
    elif fault == "newer":
        with sqlite3.connect(duels.file) as db:
            db.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    else:
        duels.file.mkdir()
    reported: list[HistoryError] = []
    duel, keeper = recorded(turns=2), Keeper(duels, reported.append)
    for prompt in ("one", "two"):
        await _asked(duel, keeper, prompt)
        assert all(answer.finish_reason for answer in duel.answers.values())
    await keeper.aclose()
    (error,) = reported
    assert str(duels.file) in error.message and "\n" not in str(error)


async def test_what_could_not_be_written_is_written_later(
    duels: Duels, recorded: Callable[..., Duel]
) -> None:
    duels.file.parent.mkdir()
    duels.file.mkdir()
    reported: list[HistoryError] = []
    duel, keeper = recorded(turns=2), Keeper(duels, reported.append)
    await _asked(duel, keeper, "one")
    while not reported:
        keeper.flush()
    duels.file.rmdir()
    await _asked(duel, keeper, "two")
    await keeper.aclose()
    (listed,) = duels.found()
    assert [turn.prompt for turn in duels.get(listed.id).turns] == ["one", "two"]


async def test_found_renamed_deleted_restored(duels: Duels, recorded: Callable[..., Duel]) -> None:
    duel, keeper = recorded(), Keeper(duels)
    await _asked(duel, keeper, "ÄRGER mit\nder Straße")
    await keeper.aclose()
    (listed,) = duels.found("ärger")
    assert duels.found("strasse") and duels.found("PARIS") and duels.found("nf4") and not duels.found("%")
    duels.rename(listed.id, "A name")
    assert duels.found("a NAME")[0].title == "A name"
    duels.delete(listed.id)
    assert not duels.found() and duels.found(deleted=True)
    with pytest.raises(InputError, match=f"no kept duel {listed.id}"):
        duels.get(listed.id)
    duels.restore(listed.id)
    assert duels.get(listed.id).title == "A name"
    duels.remove(listed.id)
    assert not duels.found() and b"der Stra" not in duels.file.read_bytes()


async def test_what_was_deleted_long_ago_is_gone(duels: Duels, recorded: Callable[..., Duel]) -> None:
    duel, keeper = recorded(turns=2), Keeper(duels)
    await _asked(duel, keeper, "old")
    await keeper.aclose()
    with sqlite3.connect(duels.file) as db:
        db.execute("UPDATE duels SET deleted = '2020-01-01T00:00:00+00:00'")
    keeper = Keeper(duels)
    await _asked(duel, keeper, "new")
    await keeper.aclose()
    assert not duels.found(deleted=True) and len(duels.found()) == 1


def test_a_profile_of_another_version_is_read_without_what_is_unknown(duels: Duels) -> None:
    with duels.change() as change:
        change.begin_duel((), (), "2026-01-01T00:00:00+00:00")
    profile = '{"name":"%s","model":{"source":"demo"},"generation":{"compile":true,"warp":9},"shade":{}}'
    with sqlite3.connect(duels.file) as db:
        db.execute(
            "UPDATE duels SET profiles = ?, histories = '[[],[]]'", (f"[{profile % 'a'},{profile % 'b'}]",)
        )
    assert [listed.profiles for listed in duels.found()] == [("a", "b")]
    assert duels.get(duels.found()[0].id).profiles[0].model.source == "demo"


async def test_what_is_missing_of_a_duel_is_said(duels: Duels, recorded: Callable[..., Duel]) -> None:
    duel, keeper = recorded(turns=2), Keeper(duels)
    await _asked(duel, keeper, "one")
    keeper.flush()
    await _asked(duel, keeper, "two")
    await keeper.aclose()
    with sqlite3.connect(duels.file) as db:
        said = msgspec.json.decode(
            b"".join(db.execute("SELECT events FROM pieces WHERE turn = 1").fetchone())
        )
        db.execute("DELETE FROM pieces")
        for number, events in ((1, said[:20]), (3, said[40:])):
            db.execute("INSERT INTO pieces VALUES (1, ?, ?)", (number, msgspec.json.encode(events)))
    torn, gone = rebuilt(duels.get(1))
    assert [remarks(torn.answers[side])[-1] for side in (0, 1)] == [TORN.message] * 2
    assert torn.answers[0].text and torn.answers[0].metrics.new_tokens == len(torn.answers[0].token_ids) < 20
    assert [remarks(gone.answers[side]) for side in (0, 1)] == [[NOT_RECORDED.message]] * 2


async def test_a_duel_that_cannot_be_read_hides_no_other(duels: Duels, recorded: Callable[..., Duel]) -> None:
    for prompt in ("one", "two"):
        keeper = Keeper(duels)
        await _asked(recorded(), keeper, prompt)
        await keeper.aclose()
    with sqlite3.connect(duels.file) as db:
        db.execute("UPDATE duels SET profiles = '[{}]' WHERE id = 1")
    assert [(listed.title, listed.profiles[0]) for listed in duels.found()] == [
        ("two", "smollm2-bf16"),
        ("one", "unreadable"),
    ]
    with pytest.raises(HistoryError, match=r"duel 1 of .* cannot be read"):
        duels.get(1)
    duels.remove(1)


@pytest.mark.parametrize("fault", [PermissionError("no place"), "SQLITE_READONLY_DIRECTORY", "SQLITE_FULL"])
async def test_what_is_kept_can_be_read_where_nothing_can_be_written(
    duels: Duels,
    recorded: Callable[..., Duel],
    monkeypatch: pytest.MonkeyPatch,
    fault: OSError | str,
) -> None:
    keeper = Keeper(duels)
    await _asked(recorded(), keeper, "one")
    await keeper.aclose()
    error = sqlite3.OperationalError("no place") if isinstance(fault, str) else fault
    if isinstance(fault, str):
        error.sqlite_errorname = fault  # type: ignore[union-attr]

    def refuse(path: Path) -> Path:
        raise error

    monkeypatch.setattr(private, "file", refuse)
    assert duels.found("one") and duels.get(1).turns[0].prompt == "one"
    with pytest.raises(HistoryError, match="cannot be used: no place"):
        duels.rename(1, "two")
    duels.file.with_name(f"{duels.file.name}-wal").write_bytes(b"more")  # changes that only a writer can read
    with pytest.raises(HistoryError, match="cannot be used: no place"):
        duels.found()


async def test_an_answer_that_was_taken_over_stands_in_both_turns(
    duels: Duels, recorded: Callable[..., Duel]
) -> None:
    """One side is gone on with, the other one's answer stays: after a restart, too."""
    duel, keeper = recorded(turns=3), Keeper(duels)
    await _asked(duel, keeper, "one")
    cut = duel.conversation.last
    assert cut is not None
    duel.show(cut.before)
    answered = duel.conversation.begin(cut.prompt)
    duel.conversation.exchanges.pop()
    answered.answers, answered.said_in = dict(cut.answers), dict(cut.said_in)

    async def resumed() -> AsyncGenerator[tuple[int, Event]]:
        duel.conversation.last = answered
        duel.conversation.exchanges.append(answered)
        answered.said_in[0] = answered.number
        async for event in duel.sessions[0].generate((), duel.generation):
            yield 0, event

    async for _ in keeper.keep(duel, "one", resumed(), duel.generation):
        pass
    await keeper.aclose()
    kept = duels.get(1)
    assert [turn.taken for turn in kept.turns] == [(None, None), (None, 0)]
    tree = conversation(kept)
    assert tree.last is tree.exchanges[1] and tree.last.said_in == {0: 1, 1: 0}
    assert tree.messages(1, "own")[1].content == cut.answers[1].text


async def test_a_prompt_after_a_deletion_begins_another_duel(
    duels: Duels, recorded: Callable[..., Duel]
) -> None:
    duel, keeper = recorded(turns=2), Keeper(duels)
    await _asked(duel, keeper, "one")
    keeper.flush()
    duels.delete(1)
    await _asked(duel, keeper, "two")
    await keeper.aclose()
    assert [listed.title for listed in duels.found()] == ["two"]
    duels.restore(1)
    assert [turn.prompt for turn in duels.get(1).turns] == ["one"]


async def test_a_duel_that_was_removed_meanwhile_is_begun_again(
    duels: Duels, recorded: Callable[..., Duel]
) -> None:
    duel, keeper = recorded(turns=2), Keeper(duels, lambda error: pytest.fail(str(error)))
    await _asked(duel, keeper, "one")
    assert keeper.recording()
    duels.remove(1)
    await _asked(duel, keeper, "two")
    await keeper.aclose()
    (listed,) = duels.found()
    assert [turn.prompt for turn in duels.get(listed.id).turns] == ["two"]
