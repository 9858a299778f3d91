"""Record the lens on a real turn: `python tests/recordings/record_lens.py`. Tests show it on the screen."""

import asyncio
from pathlib import Path

import msgspec
from msgspec.structs import replace

from engine.config.profiles import find
from engine.duel.duel import Duel
from engine.duel.looking import look
from engine.session.client import Session

FILE = Path(__file__).parent / "lens.json"
PROFILES = ("smollm2-bf16", "smollm2-nf4")
PROMPT = "Name three facts about Paris as a numbered list."


async def main() -> None:
    """Both answer the prompt; then each reads both answers."""
    profiles = [find(name) for name in PROFILES]
    duel = Duel([Session(each) for each in profiles])
    for session in duel.sessions:
        async for _ in session.load():
            pass
    async for _ in duel.ask(PROMPT, replace(profiles[0].generation, max_new_tokens=64)):
        pass
    FILE.write_bytes(msgspec.json.encode(await look(duel)) + b"\n")
    await asyncio.gather(*(session.close() for session in duel.sessions))


if __name__ == "__main__":
    asyncio.run(main())
