"""How far a worker's work is: the one place that puts its stages into words. Knows no terminal."""

from collections.abc import Mapping

from engine.protocol.loading import Staged, Step
from engine.units import bytes_text, share_text

STEPS: Mapping[Step, str] = {
    "wait for greeting": "waiting for the first word of",
    "hash source": "hashing the source",
    "wait for demo": "waiting for another worker that fetches the demo model",
    "convert demo": "converting the demo model to bf16, once",
    "parse GGUF": "parsing the GGUF file",
    "unpack GGUF": "unpacking the GGUF file to bf16, once",
    "load source": "the source in full precision",
    "load result": "the result, to check it",
    "measure source": "the source on held-out text",
    "measure result": "the result on held-out text",
    "calibration text": "calibration text",
    "quantize layers": "",
    "quantize while reading": "while it is read",
    "write checkpoint": "writing the checkpoint",
    "compile kernel": "compiling the Marlin kernel, once on this machine: minutes, fewer with more cores",
    "compile decode step": "compiling the decode step, once on this machine",
    "capture decode step": "the decode step, as a CUDA graph",
}
UNHEARD = STEPS["wait for greeting"]
ELSEWHERE = "another QuantDuel is making this checkpoint"


def stage_text(event: Staged, *, with_share: bool = True) -> str:
    """`read 42 %, 108.2 MiB of 256.6 MiB`; without the share where that stands next to it."""
    share = share_text(event.done, event.total) if with_share else ""
    parts = (share, amount_text(event), step_text(event))
    return " ".join((event.stage, ", ".join(part for part in parts if part))).rstrip()


def amount_text(event: Staged) -> str:
    """`130.2 MiB of 256.6 MiB`, `7 of 30 layers`, or nothing where nothing is counted."""
    if not event.done and not event.total:
        return ""
    counts = [event.done, event.total] if event.total else [event.done]
    if event.unit == "bytes":
        return " of ".join(map(bytes_text, counts))
    return f"{' of '.join(map(str, counts))} {event.unit}".rstrip()


def step_text(event: Staged) -> str:
    """`calibration text: wikitext2`, `peak 600.3 MiB`, `on gpu2`: what is done, to what, where."""
    step = STEPS[event.step] if event.step else ""
    what = ": ".join(part for part in (step, event.subject) if part)
    peak = "" if event.peak_bytes is None else f"peak {bytes_text(event.peak_bytes)}"
    host = f"on {event.host}" if event.host else ""
    return ", ".join(part for part in (ELSEWHERE if event.elsewhere else "", what, peak, host) if part)
