"""Bytes to the terminal: `python -m benchmarks.wire_bytes [--real A B] [--low-bandwidth] [--peer OTERM]`.

The application runs in a pseudo-terminal of 120×36 with 24-bit colour that synchronizes its output. Two
recorded sides, one after the other, answer with the same 256 tokens, twenty a second, so that each is
painted by itself: prose in one turn, Markdown in the next. With `--real`, two profiles answer the same
questions. Printed are the bytes from the start until both are ready, and the bytes of a turn for each token
of both sides. With `--peer`, the path of oterm's executable, the same is printed of it: one
side that says the same tokens at the same pace; it is ready once only its cursor blinks.
"""

import argparse
import asyncio
import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from msgspec.structs import replace

from benchmarks import wire_peer
from engine.config import profiles
from engine.config.profile import Generation
from engine.protocol.answers import Decoded, Finished, Message
from engine.protocol.wire import Event
from tests.tui.replay import Replay, recording
from tui.app import QuantDuelApp
from tui.launch import Launch
from tui.widgets.prompt import Prompt

TOKENS = 256
TOKEN_S = 1 / 20
BLINK_BYTES = 300  # a cursor that blinks writes less
QUIET_S = 1.5  # after a turn: what still waits to be painted is painted
ANSWERS_A_QUESTION = b"\x1b[?2026$p"
SYNCHRONIZES = b"\x1b[?2026;2$y"
QUESTIONS = ("Tell me about the lighthouse.", "List and tabulate its lamps, with code.")
PROSE = """The keeper of the lighthouse rose before the sun and climbed the narrow stairs to the lamp. Below
him the sea lay grey and still, and only the gulls moved over the rocks. He trimmed the wick, wiped
the glass, and wrote the hour into the book that his father had begun. No ship had passed in the
night. When the light went out he stayed for a while at the window, for in the first hour of the day
the coast looked as it had looked to those who built the tower, without a road, without a roof, and
without a name.

In the afternoon the wind turned. He saw the clouds gather behind the island and knew that the boats
would not come back before dark. So he carried oil up the stairs, two cans at a time, and set the
clockwork that turned the lens. The first drops fell as he lit the lamp. All night the beam went
round over the water, and all night he counted: three short, one long, as it stands in the book.
Toward morning a horn answered from the sea, and then another, and when the storm was over there
were seven boats in the bay, and smoke rose from the chimneys of the village as if nothing had ever
been the matter with the weather or the world around it.
"""
MARKDOWN = """## The lamps

There are **three** lamps, and each has its own `rhythm`:

1. The *great* lamp, with a lens of the first order
2. The harbour lamp, red to the left and green to the right
3. The lamp at the pier, which nobody has lit for years

| lamp | rhythm | range |
|---|---|---|
| great | three short, one long | 22 miles |
| harbour | steady | 6 miles |
| pier | none | none |

```python
def beam(second: int) -> bool:
    phase = second % 12
    return phase in (0, 2, 4) or 6 <= phase < 9

for second in range(24):
    print("#" if beam(second) else ".", end="")
```

- Oil is kept *below* the stairs
- The lens is wiped **every** morning
- The book is never closed
"""


def tokens_of(text: str) -> list[str]:
    """Exactly 256 pieces: words and signs, over again where the text is short."""
    words: list[str] = []
    while len(words) < TOKENS:
        for line in text.splitlines(keepends=True):
            indent = line[: len(line) - len(line.lstrip(" "))]
            words += [indent] * bool(indent)
            for word in line.strip().split(" "):
                words += [word + " "] if word else []
            words[-1:] = [words[-1].rstrip(" ") + "\n"] if line.strip() else [*words[-1:], "\n"]
        words.append("\n")
    return words[:TOKENS]


class Recorded(Replay):
    """A recorded side whose answers are ours, at a steady pace."""

    async def generate(
        self,
        messages: tuple[Message, ...],
        generation: Generation,
        **how: object,
    ) -> AsyncGenerator[Event]:
        text = PROSE if len(messages) < 3 else MARKDOWN
        said = recording(f"{self.profile.name}.answer")
        decoded = next(event for event in said if isinstance(event, Decoded))
        for event in said[: said.index(decoded)]:
            yield replace(event, ns=time.monotonic_ns())
        for number, piece in enumerate(tokens_of(text)):
            yield replace(decoded, text=piece, token_id=number, ns=time.monotonic_ns())
            await asyncio.sleep(TOKEN_S)
        for event in said:
            if isinstance(event, Finished):
                yield replace(event, ns=time.monotonic_ns())


async def ask(app: QuantDuelApp, marks: int) -> None:
    """Ask by itself, and tell `marks` what happens."""
    duel = app.duel_screen
    await until(lambda: duel._bridge is not None and all(side.state == "ready" for side in duel.sides))
    await asyncio.sleep(QUIET_S)
    os.write(marks, b"ready 0\n")
    for question in QUESTIONS:
        duel.query_one(Prompt).post_message(Prompt.Sent(question))
        await until(lambda: any(side.is_turning for side in duel.sides))
        await until(lambda: not any(side.is_turning for side in duel.sides) and not duel.bridge.answering)
        await asyncio.sleep(QUIET_S)
        count = sum(side.figures.metrics.new_tokens for side in duel.sides if side.figures)
        os.write(marks, f"turn {count}\n".encode())
    app.exit()


async def until(condition: Callable[[], bool]) -> None:
    """Wait, without keeping a core busy."""
    while not condition():  # noqa: ASYNC110 - it looks at widgets, which have no event for this
        await asyncio.sleep(0.02)


def play(names: list[str], low_bandwidth: bool, marks: int) -> None:
    """The application in this terminal."""
    a, b = names or ["smollm2-bf16", "smollm2-nf4"]
    launch = Launch(low_bandwidth=low_bandwidth)
    app = QuantDuelApp(profiles.find(a), profiles.find(b), None if names else Recorded, launch=launch)

    async def both() -> None:
        asking = asyncio.create_task(ask(app, marks))
        await app.run_async()
        asking.cancel()

    asyncio.run(both())


@dataclass
class Seen:
    """What was written until each mark."""

    total: int = 0
    until: list[tuple[str, int, int]] = field(default_factory=list)
    """(what happened, its count, bytes so far)."""
    data: bytes = b""


TERMINAL = {"TERM": "xterm-256color", "COLORTERM": "truecolor"}


def opened(command: list[str], env: Mapping[str, str], *passed: int) -> tuple[subprocess.Popen[bytes], int]:
    """A command in a pseudo-terminal of its own, and our end of that."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 36, 120, 0, 0))
    process = subprocess.Popen(
        ["setsid", "--ctty", *command],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env={**env, **TERMINAL},
        pass_fds=passed,
    )
    os.close(slave)
    return process, master


def watch(command: list[str]) -> Seen:
    """Run a command in a pseudo-terminal until it ends."""
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    process, master = opened([*command, str(writer)], os.environ, writer)
    os.close(writer)
    seen = Seen()
    data = b""
    while process.poll() is None:
        ready = select.select([master, reader], [], [], 0.2)[0]
        if master in ready:
            with suppress(OSError):  # it has ended
                data = os.read(master, 1 << 16)
            seen.data += data
            if ANSWERS_A_QUESTION in data:
                os.write(master, SYNCHRONIZES)
        elif reader in ready and (mark := os.read(reader, 64)):
            what, count = mark.decode().split()
            seen.until.append((what, int(count), len(seen.data)))
    os.close(master)
    os.close(reader)
    return seen


def watch_peer(oterm: Path) -> Seen:
    """Ask oterm the same questions."""
    server = wire_peer.FakeOllama([tokens_of(PROSE), tokens_of(MARKDOWN)], TOKEN_S)
    seen = Seen()
    with TemporaryDirectory() as folder:
        process, master = opened([str(oterm)], wire_peer.prepared(oterm, Path(folder), server))

        def settle(condition: Callable[[], bool]) -> None:
            written_s = time.monotonic()
            while time.monotonic() - written_s < QUIET_S or not condition():
                data = os.read(master, 1 << 16) if select.select([master], [], [], 0.1)[0] else b""
                seen.data += data
                if len(data) > BLINK_BYTES:
                    written_s = time.monotonic()
                if ANSWERS_A_QUESTION in data:
                    os.write(master, SYNCHRONIZES)

        for said in wire_peer.play(server, QUESTIONS, lambda keys: os.write(master, keys), settle):
            seen.until.append(("turn" if said else "ready", said, len(seen.data)))
        process.kill()
        process.wait()
    return seen


def report(name: str, seen: Seen) -> None:
    """Bytes until ready, then a token of each turn."""
    before = 0
    parts = []
    for what, count, total in seen.until:
        parts.append(
            f"{what} {(total - before) / 1000:6.1f} kB" if not count else f"{(total - before) / count:6.0f}"
        )
        before = total
    print(f"{name:28} {'  '.join(parts)} bytes a token", flush=True)


def main() -> None:
    """Measure, or be measured."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--play", action="store_true")
    options.add_argument("--real", nargs=2, default=[])
    options.add_argument("--low-bandwidth", action="store_true")
    options.add_argument("--peer", type=Path)
    options.add_argument("marks", nargs="?", type=int)
    chosen = options.parse_args()
    if chosen.play:
        play(chosen.real, chosen.low_bandwidth, chosen.marks)
        return
    arguments = ["--low-bandwidth"] * chosen.low_bandwidth + ["--real", *chosen.real] * bool(chosen.real)
    command = [sys.executable, "-m", "benchmarks.wire_bytes", "--play", *arguments, "--"]
    seen = watch(command)
    report(" ".join(["quantduel", *arguments]), seen)
    if chosen.peer:
        report("oterm", watch_peer(chosen.peer))


if __name__ == "__main__":
    main()
