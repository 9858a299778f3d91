"""How fast the engine decodes beside transformers' `generate`: `python benchmarks/decode.py [PROFILE…]`.

All write greedy tokens behind the same prompt, in step: one token each, in turns, so that a busy machine
slows all alike. `generate` runs on the model as it is loaded, without the engine's packing. Printed are
medians over runs of each run's median step, without the prefill. On one thread a step's time is that thread's
CPU time, otherwise elapsed time. llama.cpp runs the demo's Q4_1 file where llama_cpp is installed.
"""

import argparse
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from statistics import median

from engine.worker import quiet

quiet.set_environment()

import torch  # noqa: E402
from transformers import PreTrainedModel  # noqa: E402
from transformers.generation.streamers import BaseStreamer  # noqa: E402

from engine import profile  # noqa: E402
from engine.profile import Generation  # noqa: E402
from engine.protocol import Message  # noqa: E402
from engine.worker import decode, demo, prompt  # noqa: E402
from engine.worker.growing_cache import growing_cache  # noqa: E402
from engine.worker.load import LoadedModel, load  # noqa: E402
from engine.worker.packed_linear import PackedLinear  # noqa: E402

PROFILES = ("smollm2-bf16", "smollm2-nf4", "smollm2-rtn4", "smollm2-gptq4")
QUESTION = "Write a long story about a lighthouse keeper and the sea."
TIMEOUT_S = 60.0

Write = Callable[[Callable[[int], None]], None]
"""Writes an answer and calls back with each token."""


class Contestant(threading.Thread):
    """Writes an answer in a thread of its own, which runs only while it is told to take a step."""

    def __init__(self, name: str, write: Write, threads: int) -> None:
        super().__init__(name=name, daemon=True)
        self.step_s, self.token_ids = list[float](), list[int]()
        self._write, self._threads, self._began_s = write, threads, 0.0
        self._clock = time.thread_time if threads == 1 else time.perf_counter
        self._go, self._done = threading.Semaphore(0), threading.Semaphore(0)
        self.start()

    def step(self) -> bool:
        """One token, or the prefill and the first one; False where the answer is over."""
        before = len(self.step_s)
        self._go.release()
        if not self._done.acquire(timeout=TIMEOUT_S):
            raise TimeoutError(f"{self.name} took no step")
        return len(self.step_s) > before

    def run(self) -> None:
        """The thread's life."""
        torch.set_num_threads(self._threads)
        self._begin()
        self._write(self._took)
        self._done.release()

    def _begin(self) -> None:
        self._go.acquire()
        self._began_s = self._clock()

    def _took(self, token_id: int) -> None:
        self.step_s.append(self._clock() - self._began_s)
        self.token_ids.append(token_id)
        self._done.release()
        self._begin()


@dataclass(frozen=True)
class Task:
    """What all contestants do."""

    token_ids: list[int]
    steps: int


def engine(loaded: LoadedModel, task: Task) -> Write:
    """The engine's loop as a worker runs it, detokenizer included."""

    def write(took: Callable[[int], None]) -> None:
        settings, cache = Generation(max_new_tokens=task.steps), growing_cache(loaded.model.config)
        for step in decode.generate(loaded, task.token_ids, settings, lambda: False, cache):
            if isinstance(step, decode.Token):
                took(step.id)

    return write


class _Streamer(BaseStreamer):
    """Hands on every token of `generate` but the prompt's."""

    def __init__(self, took: Callable[[int], None]) -> None:
        self._took, self._prompt_seen = took, False

    def put(self, value: torch.Tensor) -> None:
        if self._prompt_seen:
            self._took(int(value))
        self._prompt_seen = True

    def end(self) -> None:
        """Nothing is held back."""


def transformers(model: PreTrainedModel, task: Task) -> Write:
    """transformers' `generate`, seen through its streamer."""

    def write(took: Callable[[int], None]) -> None:
        inputs = torch.tensor([task.token_ids])
        options = {"do_sample": False, "max_new_tokens": task.steps, "pad_token_id": 0}
        model.generate(inputs, attention_mask=torch.ones_like(inputs), streamer=_Streamer(took), **options)

    return write


def llama_cpp(task: Task, threads: int) -> Write:
    """llama.cpp on the demo's file."""
    from llama_cpp import Llama

    file = str(demo.gguf(lambda staged: None))
    model = Llama(file, n_ctx=2048, n_threads=threads, use_extra_bufts=False, verbose=False)

    def write(took: Callable[[int], None]) -> None:
        model.reset()
        for index, token_id in enumerate(model.generate(task.token_ids, temp=0.0), start=1):
            took(token_id)
            if index == task.steps:
                return

    return write


def as_loaded(loaded: LoadedModel) -> PreTrainedModel:
    """The model without the engine's packing: loaded anew where it was packed."""
    if not any(isinstance(module, PackedLinear) for module in loaded.model.modules()):
        return loaded.model
    return load(loaded.profile, loaded.info.threads, lambda staged: None, packed=False).model


def race(field: dict[str, Write], threads: int) -> list[Contestant]:
    """One run: every contestant takes a step, until one has finished."""
    contestants = [Contestant(name, write, threads) for name, write in field.items()]
    still_writing = contestants
    while len(still_writing) == len(contestants):
        still_writing = [contestant for contestant in contestants if contestant.step()]
    return contestants


def measure(name: str, runs: int, steps: int, threads: int) -> None:
    """Race one profile and print a line for each contestant."""
    loaded = load(profile.find(name), threads, lambda staged: None)
    _, token_ids = prompt.render(loaded.tokenizer, loaded.profile.prompt, (Message("user", QUESTION),))
    task = Task(token_ids, steps)
    field = {
        "generate": transformers(as_loaded(loaded), task),
        f"engine ({loaded.info.decode})": engine(loaded, task),
    }
    if find_spec("llama_cpp") and loaded.profile.model.source == "demo":
        field["llama.cpp Q4_1"] = llama_cpp(task, threads)
    report(name, [race(field, threads) for _ in range(runs)])


def report(name: str, runs: list[list[Contestant]]) -> None:
    """Medians over runs, ratios to `generate` within each run, and for how long the tokens are alike."""
    for index, contestant in enumerate(runs[0]):
        steps_s = [median(run[index].step_s[1:]) for run in runs]
        ratios = [median(run[0].step_s[1:]) / step_s for run, step_s in zip(runs, steps_s, strict=True)]
        pairs = list(zip(runs[0][0].token_ids, contestant.token_ids, strict=False))
        alike = next((i for i, (theirs, ours) in enumerate(pairs) if theirs != ours), len(pairs))
        print(
            f"{name:14} {contestant.name:18} {1 / median(steps_s):6.1f} tok/s  × {median(ratios):.2f}"
            f" ({min(ratios):.2f}–{max(ratios):.2f})  first {alike} of {len(pairs)} tokens alike",
            flush=True,
        )


def main() -> None:
    """Race every profile named."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("profiles", nargs="*", default=PROFILES)
    options.add_argument("--runs", type=int, default=5)
    options.add_argument("--steps", type=int, default=128)
    options.add_argument("--threads", type=int, default=2)
    chosen = options.parse_args()
    for name in chosen.profiles:
        measure(name, chosen.runs, chosen.steps, chosen.threads)


if __name__ == "__main__":
    main()
