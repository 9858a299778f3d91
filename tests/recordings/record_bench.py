"""Record the events of a real bench, a JSON line each: `python tests/recordings/record_bench.py`.

Each line is an event's type, its fields, and the document where it has grown; the first line is the empty
document. Tests play them back.
"""

import asyncio
from contextlib import aclosing
from pathlib import Path

import msgspec

from engine.bench import document, plan
from engine.bench.run import Bench
from engine.config.profiles import find
from engine.jobs.events import Completed
from engine.jobs.profiles import distinct

FILE = Path(__file__).parent / "bench.jsonl"
PROFILES = ("random-tiny-bf16", "random-tiny-nf4")


async def main() -> None:
    """Two tiny models, three contexts; the last does not fit their window."""
    profiles = distinct([find(name) for name in PROFILES])
    begun = document.begun(plan.Settings(profiles=profiles, contexts=(16, 64, 4096), steps=8, repeat=2))
    bench, lines = Bench(begun), list[object]([begun])
    async with aclosing(bench.run()) as events:
        async for event in events:
            grown = bench.document if isinstance(event, Completed) else None
            lines.append((type(event).__name__, event, grown))
    FILE.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))


if __name__ == "__main__":
    asyncio.run(main())
