"""How fast the engine decodes next to transformers' `generate`: `python benchmarks/decode.py [PROFILE…]`.

All write greedy tokens behind the same prompt, in step: whenever `generate` hands its streamer a token, each
of the others takes one step, so that a busy machine slows all alike. All run in one thread, because libgomp
cuts its spinning short where a process has more OpenMP threads than cores, as a team for each contestant
would make it, and a worker has one team. `generate` runs on the model as it is loaded, without the engine's
packing. Printed are medians over runs of each run's median step, without the prefill. On one thread a step's
time is that thread's CPU time, otherwise elapsed time. llama.cpp runs the demo's Q4_1 file where llama_cpp is
installed.

With `--alone` each answer is written by a process of its own, A B, B A, …: the engine's by a worker, as the
app starts it, `generate`'s with the OpenMP settings torch comes with. A step's time is elapsed time then.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from itertools import pairwise
from statistics import median

from engine.worker import environment

OPENMP = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
if "--stock" in sys.argv:  # before torch, which brings OpenMP
    for variable in OPENMP:
        environment.ENVIRONMENT.pop(variable)
environment.set_environment()

import torch  # noqa: E402
from transformers import PreTrainedModel  # noqa: E402
from transformers.generation.streamers import BaseStreamer  # noqa: E402

from engine.config import profiles  # noqa: E402
from engine.config.profile import Generation  # noqa: E402
from engine.protocol.answers import Decoded, Message  # noqa: E402
from engine.protocol.failure import Failed  # noqa: E402
from engine.session import schedule  # noqa: E402
from engine.session.client import Session  # noqa: E402
from engine.worker.checkpoints import demo  # noqa: E402
from engine.worker.generate import decode, prompt  # noqa: E402
from engine.worker.load import LoadedModel, load  # noqa: E402
from engine.worker.step.kv_cache import growing_cache  # noqa: E402
from engine.worker.step.linear import FusedLinear  # noqa: E402

PROFILES = ("smollm2-bf16", "smollm2-nf4", "smollm2-rtn4", "smollm2-gptq4")
QUESTION = (Message("user", "Write a long story about a lighthouse keeper and the sea."),)

Clock = Callable[[], float]


class OverError(Exception):
    """Somebody's answer has ended, and the run with it."""


@dataclass
class Contestant:
    """What somebody has written, and how long each token took; the first has the prefill in it."""

    name: str
    step_s: list[float] = field(default_factory=list)
    token_ids: list[int] = field(default_factory=list)

    def took(self, token_id: int, seconds: float) -> None:
        """One token more."""
        self.step_s.append(seconds)
        self.token_ids.append(token_id)

    def step(self, answer: Iterator[int], clock: Clock) -> None:
        """Go on by one token of this answer, on the clock; OverError where there is none."""
        began_s = clock()
        token_id = next(answer, None)
        if token_id is None:
            raise OverError
        self.took(token_id, clock() - began_s)


@dataclass(frozen=True)
class Task:
    """What all contestants do."""

    token_ids: list[int]
    steps: int


class Driver(BaseStreamer):
    """Takes `generate`'s time, which stands still while all others take a step for each of its tokens."""

    def __init__(self, theirs: Contestant, clock: Clock, then: Callable[[], None] = lambda: None) -> None:
        self._theirs, self._clock, self._then = theirs, clock, then
        self._began_s = clock()

    def put(self, value: torch.Tensor) -> None:
        """Comes with the prompt [1, n], then with each token [1]."""
        if value.dim() == 1:
            self._theirs.took(int(value), self._clock() - self._began_s)
            self._then()
        self._began_s = self._clock()

    def end(self) -> None:
        """Nothing is held back."""


def transformers(model: PreTrainedModel, task: Task, driver: Driver) -> None:
    """transformers' `generate`, which writes on behind an end token."""
    inputs = torch.tensor([task.token_ids])
    never = model.get_input_embeddings().num_embeddings
    options = {"do_sample": False, "max_new_tokens": task.steps, "eos_token_id": never, "pad_token_id": 0}
    model.generate(inputs, attention_mask=torch.ones_like(inputs), streamer=driver, **options)


def engine(loaded: LoadedModel, task: Task) -> Iterator[int]:
    """The engine's loop as a worker runs it, detokenizer included."""
    settings, cache = Generation(max_new_tokens=task.steps), growing_cache(loaded.model.config)
    for step in decode.generate(loaded, task.token_ids, settings, lambda: False, cache):
        if isinstance(step, decode.Token):
            yield step.id


def llama_cpp(task: Task, threads: int) -> Callable[[], Iterator[int]]:
    """llama.cpp on the demo's file."""
    from llama_cpp import Llama

    file = str(demo.gguf(lambda staged: None))
    model = Llama(file, n_ctx=2048, n_threads=threads, use_extra_bufts=False, verbose=False)

    def write() -> Iterator[int]:
        model.reset()
        yield from model.generate(task.token_ids, temp=0.0)

    return write


def task_for(loaded: LoadedModel, steps: int) -> Task:
    """The question as this model reads it."""
    _, token_ids = prompt.render(loaded.tokenizer, loaded.profile.prompt, QUESTION)
    return Task(token_ids, steps)


def as_loaded(loaded: LoadedModel) -> PreTrainedModel:
    """The model without the engine's repacking: loaded again where it was repacked."""
    if not any(isinstance(module, FusedLinear) for module in loaded.model.modules()):
        return loaded.model
    return load(loaded.profile, loaded.info.threads, lambda staged: None, native_step=False).model


def race(
    model: PreTrainedModel, task: Task, others: dict[str, Callable[[], Iterator[int]]], clock: Clock
) -> list[Contestant]:
    """One run: `generate` and all others, until one has finished."""
    theirs = Contestant("generate")
    lanes = [(Contestant(name), write()) for name, write in others.items()]

    def all_others_step() -> None:
        for contestant, answer in lanes:
            contestant.step(answer, clock)

    with suppress(OverError):
        transformers(model, task, Driver(theirs, clock, all_others_step))
    return [theirs, *(contestant for contestant, _ in lanes)]


def races(name: str, runs: int, steps: int, threads: int) -> list[list[Contestant]]:
    """All runs of one profile, in this process."""
    loaded = load(profiles.find(name), threads, lambda staged: None)
    model, task = as_loaded(loaded), task_for(loaded, steps)
    others = {f"engine ({loaded.info.step})": lambda: engine(loaded, task)}
    if find_spec("llama_cpp") and loaded.profile.model.source == "demo":
        others["llama.cpp Q4_1"] = llama_cpp(task, threads)
    clock = time.thread_time if threads == 1 else time.perf_counter
    return [race(model, task, others, clock) for _ in range(runs)]


def by_worker(name: str, steps: int, threads: int) -> Contestant:
    """The engine's answer, by a worker."""
    return asyncio.run(_by_worker(Session(profiles.find(name), threads=threads), steps))


async def _by_worker(session: Session, steps: int) -> Contestant:
    try:
        events = [event async for event in session.load()]
        events += [event async for event in session.generate(QUESTION, Generation(max_new_tokens=steps))]
    finally:
        await session.close()
    for event in events:
        if isinstance(event, Failed):
            raise SystemExit(event.message)
    tokens = [event for event in events if isinstance(event, Decoded)]
    times_s = [0.0, *((after.ns - before.ns) / 1e9 for before, after in pairwise(tokens))]
    return Contestant("engine, a worker", times_s, [token.token_id for token in tokens])


def by_stock(name: str, steps: int, threads: int) -> Contestant:
    """`generate`'s answer, by a process without the worker's OpenMP settings."""
    options = ["--stock", f"--steps={steps}", f"--threads={threads}"]
    stock = {key: value for key, value in os.environ.items() if key not in OPENMP}
    told = subprocess.run(
        [sys.executable, __file__, name, *options], env=stock, stdout=subprocess.PIPE, check=True
    )
    return Contestant(**json.loads(told.stdout.splitlines()[-1]))


def tell_stock(name: str, steps: int, threads: int) -> None:
    """What that process does."""
    loaded = load(profiles.find(name), threads, lambda staged: None, native_step=False)
    theirs = Contestant("generate, stock")
    transformers(loaded.model, task_for(loaded, steps), Driver(theirs, time.perf_counter))
    print(json.dumps(asdict(theirs)))


def alone(name: str, runs: int, steps: int, threads: int) -> list[list[Contestant]]:
    """All runs of one profile, each answer by a process of its own, in turns."""
    writers, found = (by_stock, by_worker), list[list[Contestant]]()
    for run in range(runs):
        wrote = {index: writers[index](name, steps, threads) for index in schedule.order(run)}
        found.append([wrote[index] for index in sorted(wrote)])
    return found


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
    """Compare on every profile named."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("profiles", nargs="*", default=PROFILES)
    options.add_argument("--runs", type=int, default=5)
    options.add_argument("--steps", type=int, default=128)
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--alone", action="store_true", help="each answer by a process of its own")
    options.add_argument("--stock", action="store_true", help=argparse.SUPPRESS)
    chosen = options.parse_args()
    for name in chosen.profiles:
        if chosen.stock:
            tell_stock(name, chosen.steps, chosen.threads)
        else:
            measure = alone if chosen.alone else races
            report(name, measure(name, chosen.runs, chosen.steps, chosen.threads))


if __name__ == "__main__":
    main()
