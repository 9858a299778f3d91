"""Record a real test's report: `python tests/recordings/record_answers.py`. The tour's picture shows it."""

import asyncio
from pathlib import Path

import msgspec

from engine.config.profiles import find
from engine.testing import sets
from engine.testing.run import Exam
from engine.testing.settings import Settings

FILE = Path(__file__).parent / "test.json"
PROFILES = ("smollm2-bf16", "smollm2-int8", "smollm2-nf4")


async def main() -> None:
    """The demo in bf16, int8 and nf4, asked the first questions of a set."""
    profiles = tuple(find(name) for name in PROFILES)
    exam = Exam(Settings(profiles=profiles), sets.find("arithmetic", 30))
    async for _ in exam.run():
        pass
    FILE.write_bytes(msgspec.json.format(msgspec.json.encode(exam.report), indent=1) + b"\n")


if __name__ == "__main__":
    asyncio.run(main())
