"""Record a real evaluation: `python tests/recordings/record_eval.py`. Tests play it back.

Each line is an event's type, its fields, and the report at that moment.
"""

import asyncio
from contextlib import aclosing
from pathlib import Path

import msgspec

from engine.config.profiles import find
from engine.evaluation.run import Evaluation
from engine.evaluation.settings import Settings, require_text
from engine.jobs.profiles import distinct

FILE = Path(__file__).parent / "eval.jsonl"
PROFILES = ("smollm2-bf16", "smollm2-int8", "smollm2-nf4")


async def main() -> None:
    """The demo in bf16 against int8 and nf4, on a short text."""
    profiles = distinct([find(name) for name in PROFILES])
    settings = Settings(
        profiles=profiles, text=require_text("python-docs"), window=128, tokens=512, decode_steps=8
    )
    evaluation, lines = Evaluation(settings), []
    async with aclosing(evaluation.run()) as events:
        async for event in events:
            lines.append((type(event).__name__, event, evaluation.report))
    FILE.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))


if __name__ == "__main__":
    asyncio.run(main())
