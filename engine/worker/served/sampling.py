"""Whether a server samples at all: two seeds at a high temperature must not say the same.

Some servers take a temperature and stay greedy, without a word.
"""

from collections.abc import Callable

import msgspec
from msgspec.structs import replace

from engine.config.profile import Generation, Prompt
from engine.protocol.answers import Message
from engine.worker.served.adapter import Adapter, Asked
from engine.worker.served.connection import Connection
from engine.worker.served.events import events
from engine.worker.served.reads import Cancelled, Read, Reads

QUESTION = (Message("user", "Write down some words that come to your mind."),)
SETTINGS = Generation(max_new_tokens=16, temperature=2.0)
UNPROVED = "the server gave two seeds at temperature 2 the same text: that it samples at all is not proved"


def note(engine: Adapter, model: str, connection: Connection, cancelled: Callable[[], bool]) -> str:
    """What to say of its sampling; empty where two seeds differ."""
    first, second = (_text(engine, model, connection, cancelled, seed) for seed in (1, 2))
    return "" if first != second else UNPROVED


def _text(
    engine: Adapter, model: str, connection: Connection, cancelled: Callable[[], bool], seed: int
) -> str:
    prompt = Prompt()
    asked = Asked(
        messages=QUESTION,
        prompt=prompt,
        generation=replace(SETTINGS, seed=seed),
        rendered=engine.rendered(connection, model, QUESTION, prompt),
    )
    path, body = engine.request(model, asked)
    items = Reads(connection, "POST", path, body).items(cancelled)
    found = []
    try:
        reads = (item for item in items if isinstance(item, Read))
        for _, data in events(reads, engine.framing):
            piece = engine.piece(data)
            found.append(piece.text + piece.thought if piece else "")
    except (msgspec.MsgspecError, ValueError, Cancelled):  # the answer itself will say so
        return f"seed {seed}"
    return "".join(found)
