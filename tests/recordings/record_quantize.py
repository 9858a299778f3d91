"""Record the quantizing of a tiny model, an event a line: `python tests/recordings/record_quantize.py`."""

import asyncio
import tempfile
from pathlib import Path

from msgspec.structs import replace

from engine.config import profiles
from engine.protocol.loading import Quantized
from engine.protocol.wire import encode
from engine.session.client import Session

FILE = Path(__file__).parent / "quantize.jsonl"
PROFILE = """
model: {source: 'random:tiny'}
quantization:
  {method: gptq, bits: 4, group_size: 64, calibration: {dataset: python-docs, samples: 4, length: 64}}
"""


async def main() -> None:
    """GPTQ, made again whatever the store has."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "tiny-gptq4.yaml"
        file.write_text(PROFILE)
        session = Session(profiles.read(file))
        events = [event async for event in session.quantize(force=True)]
        await session.close()
    reported = [
        replace(event, path="checkpoint") if isinstance(event, Quantized) else event for event in events
    ]
    FILE.write_bytes(b"".join(encode(event) + b"\n" for event in reported))


if __name__ == "__main__":
    asyncio.run(main())
