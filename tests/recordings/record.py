"""Record event streams of real runs, one JSON line an event: `python tests/recordings/record.py [PROFILE…]`.

For each profile: `load` (from the first word to Loaded), `answer` (to a prompt that asks for Markdown),
`cancelled` (after a few tokens), `killed` (kill -9 of the worker after a few tokens). Tests play them back.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterable, Callable
from pathlib import Path

from msgspec.structs import replace

from engine.config import profiles
from engine.config.profile import Profile
from engine.protocol.answers import Decoded, Message
from engine.protocol.wire import Event, encode
from engine.session.client import Session

FOLDER = Path(__file__).parent
PROFILES = ("smollm2-bf16", "smollm2-nf4")
PROMPT = "Name three facts about Paris as a numbered list, then show a Python function that adds two numbers."
CUT_AFTER_TOKENS = 12


def write(name: str, events: list[Event]) -> None:
    """One stream as JSON lines."""
    (FOLDER / f"{name}.jsonl").write_bytes(b"".join(encode(event) + b"\n" for event in events))


async def collect(events: AsyncIterable[Event], cut: Callable[[], object] | None = None) -> list[Event]:
    """All events; `cut` is called once a few tokens have come."""
    collected: list[Event] = []
    async for event in events:
        collected.append(event)
        tokens = sum(isinstance(known, Decoded) for known in collected)
        if cut and isinstance(event, Decoded) and tokens == CUT_AFTER_TOKENS:
            cut()
    return collected


async def record(wanted: Profile) -> None:
    """The four streams of one profile."""
    session = Session(wanted)
    messages, settings = (Message("user", PROMPT),), replace(wanted.generation, max_new_tokens=192)
    write(f"{wanted.name}.load", await collect(session.load()))
    pid = session.pid or 0
    write(f"{wanted.name}.answer", await collect(session.generate(messages, settings)))
    write(f"{wanted.name}.cancelled", await collect(session.generate(messages, settings), session.cancel))
    kill = lambda: os.kill(pid, signal.SIGKILL)  # noqa: E731
    write(f"{wanted.name}.killed", await collect(session.generate(messages, settings), kill))
    await session.close()


async def main(names: list[str]) -> None:
    """One profile after the other, so that no speed is contended."""
    for name in names:
        await record(profiles.find(name))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:] or list(PROFILES)))
