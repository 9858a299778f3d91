"""What a terminal receives of every command, where names, notes, answers and records want to act on it."""

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from engine.config.record import Record
from engine.results import Results
from tests.engine.cli import hostile_worker
from tests.engine.cli.hostile_worker import EVIL, RECORD
from tests.unit.engine.votes.samples import turn

NAME = EVIL.replace("/", "")
SEEN = "␛]0;PWN␇"
ESCAPED = (r"\u001b]0;PWN\u0007", r"\e]0;PWN\a", r"\x1b]0;PWN\x07")  # in JSON, YAML and errors
OURS = re.compile(r"\x1b\[[0-9;]*m|\x1b\[2K|\x1b\[\?2004[hl]|\r")
ACTED_ON = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
RUN = """
import json, sys
from engine.session import worker_process
worker_process.COMMAND = (sys.executable, "-P", *json.loads(sys.argv[1]))
from engine import cli
sys.exit(cli.run(json.loads(sys.argv[2])))
"""
SHORT = ["--contexts", "8", "--steps", "2", "--repeat", "1"]
COMMANDS = {
    "duel": ["duel", NAME, f"./{NAME}.yaml", "-p", EVIL.replace("\x00", ""), "--show-prompt", "--lens"],
    "duel json": ["duel", NAME, NAME, "-p", "hi", "--json"],
    "chat": ["chat", NAME],
    "prompt": ["prompt", NAME, "-p", "hi"],
    "plan": ["plan", NAME],
    "plan json": ["plan", NAME, "--json"],
    "plan check": ["plan", NAME, "--check"],
    "profiles list": ["profiles", "list"],
    "profiles list json": ["profiles", "list", "--json"],
    "profiles show": ["profiles", "show", NAME],
    "profiles check": ["profiles", "check", f"profiles/{NAME}.yaml", f"{NAME}/broken.yaml"],
    "store list": ["store", "list"],
    "store list json": ["store", "list", "--json"],
    "store show": ["store", "show", "0123456789abcdef"],
    "store prune": ["store", "prune", "--all", "--dry-run"],
    "bench": ["bench", NAME, *SHORT],
    "bench json": ["bench", NAME, *SHORT, "--format", "json"],
    "bench csv": ["bench", NAME, *SHORT, "--format", "csv"],
    "eval": ["eval", NAME, "random-tiny-nf4"],
    "quantize": ["quantize", NAME],
    "quantize json": ["quantize", NAME, "--json"],
    "leaderboard": ["leaderboard"],
    "leaderboard json": ["leaderboard", "--format", "json"],
    "leaderboard csv": ["leaderboard", "--format", "csv"],
    "no such profile": ["duel", NAME + "x", NAME, "-p", "hi"],
    "no such option": ["duel", "--" + NAME],
    "no such file": ["bench", NAME, "--resume", NAME + ".json"],
    "no such text": ["eval", NAME, NAME, "--text", NAME + ".txt"],
    "help": ["--help"],
    "doctor": ["doctor"],
}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stranger's folder, and a home in which a stranger's names are kept."""
    here = tmp_path_factory.mktemp("here")
    (here / "profiles").mkdir()
    (here / NAME).mkdir()
    description = json.dumps(EVIL)
    text = "model: {source: 'random:tiny'}\nquantization: {method: bitsandbytes}\n"
    text += f"description: {description}\n"
    (here / "profiles" / f"{NAME}.yaml").write_text(text)
    (here / f"{NAME}.yaml").write_text(text)
    (here / NAME / "broken.yaml").write_text(f"{description}: 1\n")
    entry = here / "home/cache/checkpoints/0123456789abcdef"
    entry.mkdir(parents=True)
    (entry / "quantduel.json").write_bytes(msgspec.json.encode(RECORD))
    results = Results(here / "home/data/history.sqlite3")
    results.keep_turn(turn(NAME, "=evil" + NAME, "a"))
    return here


def received(here: Path, args: list[str], typed: bytes) -> str:
    """All that a terminal gets of a command."""
    worker = [str(Path(hostile_worker.__file__)), str(here)]
    ours, theirs = pty.openpty()
    environment = {**os.environ, "QUANTDUEL_HOME": str(here / "home"), "TERM": "xterm", "COLUMNS": "4000"}
    running = subprocess.Popen(
        [sys.executable, "-c", RUN, json.dumps(worker), json.dumps(args)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=here,
        env=environment,
    )
    os.close(theirs)
    os.write(ours, typed)
    found = bytearray()
    try:
        while chunk := os.read(ours, 1 << 16):
            found += chunk
    except OSError:  # EIO: nobody is at the other end
        pass
    running.wait()
    os.close(ours)
    return found.decode()


@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_acts_on_the_terminal(command: str, here: Path) -> None:
    typed = b"hi\n/quit\n" if command == "chat" else b""
    text = received(here, COMMANDS[command], typed)
    acts = ACTED_ON.search(OURS.sub("", text))
    assert acts is None, text[max(0, acts.start() - 60) : acts.end() + 20] if acts else ""
    assert "Traceback" not in text
    if command not in {"duel", "chat", "prompt"}:  # an answer may have lines
        assert "\nB  forged" not in text.replace("\r", "")
    if command not in {"help", "doctor"}:
        assert any(seen in text for seen in (SEEN, *ESCAPED)), text


def test_the_record_is_one() -> None:
    assert msgspec.json.decode(msgspec.json.encode(RECORD), type=Record) == RECORD
