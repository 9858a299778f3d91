"""One side by itself: decode speed as a CUDA graph, eagerly and by `generate`, at depths and in batches.

    python -m benchmarks.gpu.speed bf16|nf4|int8|int8-0|gptq4|awq4 …

Also its share of the copy speed, TTFT of short and long prompts, the kernels of a step, whether graph and
eager write the same tokens, and memory. A line a figure, one line in all at the end, everything in
`$OUT/speed.jsonl`. The step should be the engine's own, the first TTFT near the later ones, and the longest
gap between tokens near the median.
"""

import json
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import torch

from benchmarks.gpu.settings import DEVICE, HAS_GPU, MADE, OUT, SHAPE, WITH_CUDNN
from engine.config.methods import BitsAndBytes, Full, Method, Stored
from engine.config.profile import Generation, Model, Profile
from engine.protocol.failure import Failed
from engine.protocol.runs import BenchRun, Generator, Measure, Measured
from engine.worker.generate import decode
from engine.worker.generate.prefix_cache import KeptCache
from engine.worker.host import bandwidth, memory
from engine.worker.load import LoadedModel, load
from engine.worker.measure import bench_run
from engine.worker.step import captured_step, stepper
from engine.worker.step.cuda import choice
from engine.worker.step.kv_cache import growing_cache
from engine.worker.step.stepper import Stepper

METHODS: dict[str, Method] = {
    "bf16": Full(),
    "nf4": BitsAndBytes(bits=4),
    "int8": BitsAndBytes(bits=8),
    "int8-0": BitsAndBytes(bits=8, threshold=0.0),
    "gptq4": Stored(),
    "awq4": Stored(),
}
DEPTHS = (128, 1024, 8192) if HAS_GPU else (128,)
STEPS = 97 if HAS_GPU else 17
BATCHES = (4, 16, 32) if HAS_GPU else (12,)
PROMPTS = (32, 2048) if HAS_GPU else (32,)
FEW_STEPS = 25 if HAS_GPU else 3
PROFILED = 4  # steps
SAMPLED = {"temperature": 0.8, "top_k": 50, "seed": 4}
GIB = 1 << 30

Figures = dict[str, Any]


@dataclass(slots=True)
class Side:
    """A loaded model and what was found out about it."""

    loaded: LoadedModel
    copy_bytes_s: float
    kept: KeptCache = field(default_factory=KeptCache)
    figures: Figures = field(default_factory=dict)

    def note(self, **figures: object) -> None:
        """Keep and print."""
        self.figures |= figures
        print("  ", figures, flush=True)

    def run(
        self, name: str, context: int, generator: Generator = "engine", batch: int = 1, steps: int = STEPS
    ) -> None:
        """Decode after `context` tokens."""
        run = BenchRun(context=context, batch=batch, steps=steps, generator=generator)
        said = bench_run.measured(self.loaded, Measure(request=1, run=run), lambda: False, self.kept)
        self.note(**{name: said.message if isinstance(said, Failed) else self._speeds(said, batch)})

    def _speeds(self, run: Measured, batch: int) -> Figures:
        gaps_ms = [(b - a) / 1e6 for a, b in zip(run.token_ns, run.token_ns[1:], strict=False)]
        steps_s = 1e3 * len(gaps_ms) / sum(gaps_ms)
        return {
            "tok_s": round(batch * steps_s, 1),
            "median_ms": round(median(gaps_ms), 3),
            "longest_ms": round(max(gaps_ms), 3),
            "ttft_ms": round((run.token_ns[0] - run.started_ns) / 1e6, 1),
            "mode": run.decode,
            "share": round((run.step_bytes or 0) * steps_s / self.copy_bytes_s, 3),
        }


def main(name: str) -> None:
    """Everything about one method."""
    side = read(name)
    try:
        speeds(side)
        side.note(**likeness(side.loaded))
        if HAS_GPU:
            side.note(**kernels(side.loaded))
            side.note(**memory_afterwards(side))
    finally:  # what was found until then
        with (OUT / "speed.jsonl").open("a") as file:
            file.write(json.dumps({"name": name, **side.figures}) + "\n")
        print(name, summary(side.figures), flush=True)


def read(name: str) -> Side:
    """The side, loaded and described."""
    source = str(MADE / f"{SHAPE}-{name}") if isinstance(METHODS[name], Stored) else f"random:{SHAPE}"
    model = Model(source=source, dtype="bfloat16", device=DEVICE)
    loaded = load(Profile(model=model, quantization=METHODS[name]), None, lambda staged: None)
    torch.backends.cuda.enable_cudnn_sdp(WITH_CUDNN)
    read = memory.read(loaded.model, loaded.device, None)
    side = Side(loaded, max(bandwidth.copy_speed(loaded.device)[1]))
    side.note(
        kernel=loaded.info.kernel,
        step=loaded.info.step,
        dtype=loaded.info.dtype,
        attention=loaded.model.config._attn_implementation,
        load_notes=loaded.info.notes,
        copy_gb_s=round(side.copy_bytes_s / 1e9),
        weights_gib=round(read.weights_bytes / GIB, 3),
        load_peak_gib=round(read.peak_bytes / GIB, 2),
        process_gib=round(read.process_bytes / GIB, 2),
        process_source=read.process_source,
    )
    return side


def speeds(side: Side) -> None:
    """Twice each: the first also shows what happens once."""
    window = side.loaded.info.context_length
    for depth in DEPTHS:
        if depth + STEPS <= window:
            side.run(f"first at {depth}", depth)
            side.run(f"at {depth}", depth)
    for tokens in PROMPTS:
        if tokens + FEW_STEPS <= window:
            side.run(f"first prompt of {tokens}", tokens, steps=FEW_STEPS)
            side.run(f"prompt of {tokens}", tokens, steps=FEW_STEPS)
    for batch in BATCHES:
        side.run(f"batch {batch}", DEPTHS[0], batch=batch, steps=FEW_STEPS)
    model = side.loaded.model
    side.note(failures=[each[model] for each in (captured_step.failures, choice.failures) if model in each])
    with eagerly():
        side.run("eager", DEPTHS[0])
    if not choice.step_for(model):  # which `generate` knows nothing of
        side.run("first generate", DEPTHS[0], "hf")
        side.run("generate", DEPTHS[0], "hf")


@contextmanager
def eagerly() -> Iterator[None]:
    """Within it no step is replayed."""
    before, stepper.REPLAYING = stepper.REPLAYING, ()
    try:
        yield
    finally:
        stepper.REPLAYING = before


def likeness(loaded: LoadedModel) -> Figures:
    """Where replayed and eager tokens part, greedy and sampled; in bf16 they may, late."""
    found: Figures = {}
    for name, settings in {"greedy": {}, "sampled": SAMPLED}.items():
        generation = Generation(max_new_tokens=48, **settings)
        replayed, notes = written(loaded, generation)
        with eagerly():
            single, _ = written(loaded, generation)
        found |= {f"{name}_alike": alike(replayed, single), f"{name}_notes": notes}
    return found


def alike(replayed: list[int], single: list[int]) -> str:
    """How many tokens are the same; once they part, one answer may end before the other."""
    pairs = enumerate(zip(replayed, single, strict=False))
    same = next((index for index, (a, b) in pairs if a != b), min(len(replayed), len(single)))
    return f"{same} of {max(len(replayed), len(single))}"


def written(loaded: LoadedModel, generation: Generation) -> tuple[list[int], tuple[str, ...]]:
    """An answer's token ids, and its notes."""
    prompt = bench_run.made_up(loaded, 1, 64)[0].tolist()
    cache = growing_cache(loaded.model.config, len(prompt) + generation.max_new_tokens)
    decode.prepare(loaded, cache)
    steps = list(decode.generate(loaded, prompt, generation, lambda: False, cache))
    assert isinstance(steps[-1], decode.End)
    return [step.id for step in steps if isinstance(step, decode.Token)], steps[-1].notes


def kernels(loaded: LoadedModel) -> Figures:
    """What the device does in a step: how many kernels, for how long, the longest of them."""
    cache = growing_cache(loaded.model.config, 256)
    decode.prepare(loaded, cache)
    stepper = Stepper(loaded.model, cache)
    stepper.read(bench_run.made_up(loaded, 1, 64))
    token = stepper.logits.argmax(-1, keepdim=True)
    stepper.read(token)
    torch.cuda.synchronize()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiled:
        for _ in range(PROFILED):
            stepper.read(token)
        torch.cuda.synchronize()
    ran = [each for each in profiled.events() if each.device_type == torch.autograd.DeviceType.CUDA]
    times, counts = Counter[str](), Counter(each.name[:80] for each in ran)
    for each in ran:
        times[each.name[:80]] += each.time_range.elapsed_us()
    return {
        "kernels_a_step": len(ran) / PROFILED,
        "busy_ms": round(times.total() / PROFILED / 1e3, 3),
        "longest_us": {
            name: (round(us / PROFILED, 1), counts[name] / PROFILED) for name, us in times.most_common(14)
        },
    }


def memory_afterwards(side: Side) -> Figures:
    """What is held, and what is left when nobody needs a cache any more."""
    peak_bytes = memory.read(side.loaded.model, side.loaded.device, None).peak_bytes
    side.kept.drop()
    torch.cuda.empty_cache()
    return {
        "peak_gib": round(peak_bytes / GIB, 2),
        "reserved_gib": round(torch.cuda.memory_reserved() / GIB, 2),
        "allocated_gib": round(torch.cuda.memory_allocated() / GIB, 2),
    }


def summary(figures: Figures) -> str:
    """The figures that matter, in a line."""
    runs = {name: run for name, run in figures.items() if isinstance(run, dict) and "tok_s" in run}
    said = [f"{name} {run['tok_s']} tok/s ({run['share']}, {run['mode']})" for name, run in runs.items()]
    first, later = (runs.get(f"{word}{DEPTHS[0]}", {}).get("ttft_ms") for word in ("first at ", "at "))
    prompts = [(tokens, runs.get(f"prompt of {tokens}", {}).get("ttft_ms")) for tokens in PROMPTS]
    return (
        f"{figures['kernel']} {figures['step']}: {'; '.join(said)}; TTFT first {first} ms, later {later},"
        f" of prompts {prompts};"
        f" kernels {figures.get('kernels_a_step')}, busy {figures.get('busy_ms')} ms;"
        f" greedy alike {figures.get('greedy_alike')}; {'; '.join(figures.get('failures', ()))}"
    )


if __name__ == "__main__":
    for name in sys.argv[1:]:
        main(name)
