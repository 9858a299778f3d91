"""Record the duel that comes with QuantDuel: `python tests/recordings/record_demo.py`, on a machine at rest.

Two prompts, and the lens on the first one's answers.
"""

import asyncio
import tempfile
from pathlib import Path

import msgspec

from engine.config import profiles
from engine.duel.duel import Duel
from engine.duel.lens import Lens
from engine.duel.looking import look
from engine.recordings.keeper import Keeper
from engine.recordings.recording import FORMAT, SHIPPED, VERSION, Recording, RecordingFile
from engine.recordings.store import Duels
from engine.session.client import Session

PROFILES = ("smollm2-bf16", "smollm2-nf4")
PROMPTS = (
    "Name three facts about Paris as a numbered list.",
    "Write a Python function that adds two numbers.",
)
TITLE = "SmolLM2 135M: bf16 against NF4"


def write(recording: Recording) -> None:
    """The file, without what is computed from it."""
    fields = {name: getattr(recording, name) for name in Recording.__struct_fields__} | {"title": TITLE}
    SHIPPED.write_bytes(msgspec.json.encode(RecordingFile(format=FORMAT, version=VERSION, **fields)) + b"\n")


async def recorded(duels: Duels) -> Recording:
    """Each prompt is a conversation of its own."""
    duel, keeper = Duel([Session(profiles.find(name)) for name in PROFILES]), Keeper(duels)
    for session in duel.sessions:
        async for _ in session.load():
            pass
    for prompt in PROMPTS:
        duel.forget()
        async for _ in keeper.keep(duel, prompt, duel.ask(prompt), duel.generation):
            pass
        if prompt == PROMPTS[0] and isinstance(found := await look(duel), Lens):
            keeper.add_lens(found)
    await keeper.aclose()
    await asyncio.gather(*(session.close() for session in duel.sessions))
    return duels.get(1)


def main() -> None:
    """Record and write."""
    with tempfile.TemporaryDirectory() as folder:
        write(asyncio.run(recorded(Duels(Path(folder) / "duels.sqlite3"))))


if __name__ == "__main__":
    main()
