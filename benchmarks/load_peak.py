"""How much memory loading takes at its highest, against a bare `from_pretrained`: `load_peak.py [PROFILE…]`.

The libraries' own cost is the peak of a worker that loads random:tiny, whose weights are next to nothing; it
is what `engine/plan/running.py` has as LIBRARIES. Exit code 1 where a bf16 profile's peak is above 1.2 × its
weights plus the libraries, tokenizer included: it would hold two copies.
"""

import asyncio
import resource
import subprocess
import sys
from dataclasses import dataclass

from engine import tables
from engine.config import profiles
from engine.config.methods import Full
from engine.config.profile import Profile
from engine.errors import LoadError
from engine.plan.local import planned
from engine.protocol.failure import Failed
from engine.protocol.loading import Loaded
from engine.session.client import Session
from engine.units import bytes_text

ALLOWED = 1.2  # times the weights
BARE = """
import resource, sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=getattr(torch, sys.argv[2]))
AutoTokenizer.from_pretrained(sys.argv[1])
with torch.inference_mode():
    model(torch.zeros((1, 2), dtype=torch.long))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


@dataclass(frozen=True)
class Peak:
    """One load: the weights it left, and the highest resident set on the way."""

    weights_bytes: int
    peak_bytes: int


async def load_peak(wanted: Profile) -> Peak:
    """Load in a worker of its own and end it."""
    session = Session(wanted)
    try:
        async for event in session.load():
            if isinstance(event, Failed):
                raise LoadError(event.message, event.hint)
            if isinstance(event, Loaded):
                return Peak(event.info.weights.total_bytes, event.memory.peak_bytes)
    finally:
        await session.close()
    raise LoadError("the load ended without a word")


def bare_peak(wanted: Profile) -> int | None:
    """The same checkpoint through transformers alone, for folders in full precision."""
    origin = planned(wanted).origin.removeprefix("safetensors headers in ")
    if not isinstance(wanted.quantization, Full) or not origin.startswith("/"):
        return None
    done = subprocess.run(
        [sys.executable, "-c", BARE, origin, wanted.model.dtype], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


def libraries_of(wanted: Profile) -> int:
    """The peak of a worker that loads a tiny model by the same method."""
    tiny = profiles.changed(wanted, {"model.source": "random:tiny"})
    return asyncio.run(load_peak(tiny)).peak_bytes


def main(names: list[str]) -> int:
    """Print a row a profile; 1 where a bf16 one holds two copies."""
    rows, failed = [], False
    for wanted in map(profiles.find, names):
        libraries = libraries_of(wanted)
        tokenizer = sum(term.bytes for term in planned(wanted).runtime if term.name == "tokenizer")
        found = asyncio.run(load_peak(wanted))
        allowed = int(ALLOWED * found.weights_bytes) + libraries + tokenizer
        is_bf16 = isinstance(wanted.quantization, Full) and wanted.model.dtype == "bfloat16"
        failed = failed or (is_bf16 and found.peak_bytes > allowed)
        rows.append(
            {
                "profile": wanted.name,
                "weights": bytes_text(found.weights_bytes),
                "libraries": bytes_text(libraries),
                "tokenizer": bytes_text(tokenizer),
                "peak": bytes_text(found.peak_bytes),
                "1.2 × weights + libraries": bytes_text(allowed) if is_bf16 else None,
                "bare from_pretrained": bytes_text(bare_peak(wanted)),
            }
        )
    print(tables.table(rows))
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(f"this process, which loads nothing: {bytes_text(own)}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or ["smollm2-bf16", "smollm2-fp32"]))
