"""`quantduel history`: listed, shown, renamed, deleted, brought back."""

import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from engine import cli
from engine.duel.duel import Duel
from engine.recordings.recording import Recording
from engine.recordings.store import Duels

Keep = Callable[..., Awaitable[Recording]]


@pytest.fixture
def duels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Duels:
    """The user's own."""
    monkeypatch.setenv("QUANTDUEL_HOME", str(tmp_path))
    return Duels()


async def test_a_duel_is_listed_and_shown_as_it_was(
    recorded: Callable[..., Duel], keep: Keep, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = await keep(recorded(turns=2), "Hello \x1b[31mthere", "more")
    assert cli.run(["history", "list"]) == 0
    out, err = capsys.readouterr()
    assert "Hello ␛[31mthere" in out and "\x1b" not in out and err.startswith("1 duel, in ")
    assert cli.run(["history", "list", "no such words", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    assert cli.run(["history", "show", "1"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("A  smollm2-bf16  (bf16, cpu)") == shown.count("nf4 against bf16: decode") == 2
    assert shown.index("Hello") < shown.index("TTFT ") < shown.index("more")
    assert cli.run(["history", "show", "1", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [turn["prompt"] for turn in document["turns"]] == [turn.prompt for turn in kept.turns]
    assert document["records"][1]["sides"][0]["metrics"]["new_tokens"] > 0


async def test_renamed_deleted_restored(
    recorded: Callable[..., Duel], keep: Keep, duels: Duels, capsys: pytest.CaptureFixture[str]
) -> None:
    await keep(recorded(), "Hello")
    assert cli.run(["history", "rename", "1", "Another", "name"]) == 0
    assert duels.found()[0].title == "Another name"
    assert cli.run(["history", "delete", "1"]) == 0
    assert "`quantduel history restore 1`" in capsys.readouterr().err and not duels.found()
    assert cli.run(["history", "restore", "1"]) == 0 and duels.found()
    assert cli.run(["history", "delete", "--for-good", "1"]) == 0
    assert cli.run(["history", "restore", "1"]) == 2
    assert "no kept duel 1" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["show", "rename", "delete", "delete --for-good", "restore"])
def test_a_number_that_no_file_can_hold_is_no_duel(
    command: str, duels: Duels, capsys: pytest.CaptureFixture[str]
) -> None:
    number = str(2**63)
    assert cli.run(["history", *command.split(), number]) == 2
    assert f"no kept duel {number}" in capsys.readouterr().err
