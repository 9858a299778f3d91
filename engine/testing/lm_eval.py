"""Tasks of lm-eval, EleutherAI's evaluation harness, as sets of questions; lm-eval itself is the judge.

Owns the process in which lm-eval runs: what it imports, and a task's own code, stay out of this one. It ends
with its standard input. The models are asked by QuantDuel's own workers.
"""

import asyncio
import hashlib
import subprocess
import sys
import weakref
from importlib.util import find_spec
from pathlib import Path
from typing import IO

import msgspec
from msgspec import Struct

from engine import paths
from engine.errors import InputError
from engine.testing.checks import Verdict
from engine.testing.questions import Question, Questions, Response

NAMED = {
    "hellaswag": "hellaswag",
    "arc": "arc_challenge",
    "mmlu": "mmlu",
    "gsm8k": "gsm8k",
    "ifeval": "ifeval",
}
PREFIX = "lm-eval:"
HELP = f"{', '.join(NAMED)}, {PREFIX}TASK or {PREFIX}FILE.yaml through lm-eval"
_MODULE = "engine.worker.texts.lm_eval_tasks"


class Opened(Struct, frozen=True, kw_only=True, tag="opened"):
    """The task's questions, as lm-eval puts them."""

    questions: tuple[Question, ...]
    version: str
    """Of lm-eval."""


class Refused(Struct, frozen=True, kw_only=True, tag="refused"):
    """Why there are none."""

    message: str
    hint: str = ""


class Given(Struct, frozen=True, kw_only=True):
    """An answer to be judged."""

    index: int
    text: str
    log_likelihoods: tuple[float, ...] = ()


Begun = Opened | Refused


def means(name: str) -> bool:
    """Whether the name is one of lm-eval's."""
    return name in NAMED or name.startswith(PREFIX)


def find(name: str, limit: int | None = None) -> Questions:
    """The first `limit` questions of a task; InputError where lm-eval is not installed or has none."""
    if find_spec("lm_eval") is None:
        raise InputError(f"{name} needs the package lm-eval", 'pip install "quantduel[lm-eval]"')
    harness = _Harness(_task(name), limit)
    found = harness.begun
    if isinstance(found, Refused):
        raise InputError(f"{name}: {found.message}", found.hint)
    called = name.removeprefix(PREFIX) + (f", first {limit}" if limit else "")
    content = msgspec.json.encode([found.version, found.questions], order="deterministic")
    return Questions(
        name=called,
        sha256=hashlib.sha256(content).hexdigest(),
        questions=found.questions,
        judge=harness.judge,
        judged_by=f"lm-eval {found.version}",
    )


def _task(name: str) -> str:
    """What lm-eval calls it: a task, or a file by its whole path."""
    task = NAMED.get(name, name.removeprefix(PREFIX))
    return str(paths.expanded(task).absolute()) if Path(task).suffix in {".yaml", ".yml"} else task


class _Harness:
    """The process; it ends when this is forgotten."""

    def __init__(self, task: str, limit: int | None) -> None:
        command = [sys.executable, "-P", "-m", _MODULE, task, str(limit or 0)]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=paths.neutral_folder(),
            env=paths.environment(),
        )
        weakref.finalize(self, _end, self._process)
        self._asking = asyncio.Lock()
        self.begun: Begun = Refused(message="lm-eval ended without a word")
        if line := self._out.readline():
            self.begun = msgspec.json.decode(line, type=Begun)

    @property
    def _in(self) -> IO[bytes]:
        return _open(self._process.stdin)

    @property
    def _out(self) -> IO[bytes]:
        return _open(self._process.stdout)

    async def judge(self, index: int, response: Response) -> Verdict:
        """What lm-eval says of an answer; InputError where it has ended."""
        given = Given(index=index, text=response.text, log_likelihoods=response.log_likelihoods)
        async with self._asking:
            return await asyncio.to_thread(self._judged, given)

    def _judged(self, given: Given) -> Verdict:
        try:
            self._in.write(msgspec.json.encode(given) + b"\n")
            self._in.flush()
            line = self._out.readline()
        except OSError:
            line = b""
        if not line:
            raise InputError("lm-eval ended, and judges no more", "run the same command again: it goes on")
        return msgspec.json.decode(line, type=Verdict)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.communicate()


def _open(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:
        raise RuntimeError("it was opened with pipes")
    return stream
