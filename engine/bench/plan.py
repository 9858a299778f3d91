"""What a bench will measure: its settings, the matrix they span, and how much work each part of it is.

Pure. Knows neither sessions nor results.
"""

import math

from msgspec import Struct
from msgspec.structs import replace

from engine.config.profile import Profile
from engine.errors import InputError
from engine.protocol.runs import BenchRun, Generator, ServedRun
from engine.session.schedule import Schedule

CONTEXTS = (32, 64, 128, 256, 512, 1024, 2048)
CONTEXT_AT_ONCE = 512  # where many requests are asked at once and nothing else is said
MOST_AT_ONCE = 1024
FOLLOW_UP_TOKENS = 128  # the prompt that `depth` puts after the context
WARM_UP_STEPS = 8
OF_A_WORKER = "a server batches requests itself: --concurrency measures that"
PREFILL_COST = 1 / 8  # of a prompt's token, in decoded tokens; only the estimate of the time left uses it


class Shape(Struct, frozen=True, order=True):
    """One cell of the matrix."""

    context: int
    batch: int
    at_once: int = 0
    """Requests under way at any time; 0 is one run after the other."""

    @property
    def text(self) -> str:
        """`context 64`, `context 64, batch 2`, `context 512, 16 at once`."""
        at_once = f", {self.at_once} at once" if self.at_once else ""
        return f"context {self.context}" + (f", batch {self.batch}" if self.batch > 1 else "") + at_once


class Settings(Struct, frozen=True, kw_only=True):
    """Everything a row depends on besides the machine."""

    profiles: tuple[Profile, ...]
    """Their names are distinct."""
    contexts: tuple[int, ...] = CONTEXTS
    batches: tuple[int, ...] = (1,)
    steps: int = 128
    """Decoded tokens a sequence."""
    repeat: int = 5
    depth: bool = False
    """Read `context` tokens off the clock, and measure a prompt of FOLLOW_UP_TOKENS after them."""
    generator: Generator = "engine"
    schedule: Schedule = "sequential"
    """`concurrent` runs the repeats of all profiles at once, `swap` has one of them loaded at a time."""

    concurrency: tuple[int, ...] = ()
    """Requests at once, level after level: of served models alone, and in place of batches and repeats."""
    requests: int = 16
    """The least of a level; twice the level where that is more."""

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """The matrix, batch after batch, or level after level."""
        if self.concurrency:
            return tuple(Shape(context, 1, level) for context in self.contexts for level in self.concurrency)
        return tuple(Shape(context, batch) for batch in self.batches for context in self.contexts)

    def run(self, shape: Shape) -> BenchRun:
        """A timed run of this shape."""
        prompt = FOLLOW_UP_TOKENS if self.depth else shape.context
        return BenchRun(
            context=prompt,
            batch=shape.batch,
            steps=self.steps,
            depth=shape.context if self.depth else 0,
            generator=self.generator,
        )

    def warm_up(self, shape: Shape) -> BenchRun:
        """The same with fewer steps."""
        return replace(self.run(shape), steps=min(self.steps, WARM_UP_STEPS))

    def runs(self, shape: Shape) -> tuple[BenchRun, ...]:
        """All of a row's runs: warm-up, memory, then the timed ones."""
        timed = self.run(shape)
        return (self.warm_up(shape), replace(timed, with_memory=True), *[timed] * self.repeat)

    def served_run(self, shape: Shape) -> ServedRun:
        """A timed run of this shape, by a server."""
        if not shape.at_once:
            return ServedRun(context=shape.context, steps=self.steps)
        requests = max(self.requests, 2 * shape.at_once)
        return ServedRun(context=shape.context, steps=self.steps, requests=requests, at_once=shape.at_once)

    def served_warm_up(self, shape: Shape) -> ServedRun:
        """As many requests as are under way later, with fewer steps."""
        steps = min(self.steps, WARM_UP_STEPS)
        return replace(self.served_run(shape), steps=steps, requests=max(1, shape.at_once))

    def served_runs(self, shape: Shape) -> tuple[ServedRun, ...]:
        """All of a row's runs by a server: warm-up, then the timed ones; none where it cannot be asked."""
        if self.not_served(shape):
            return ()
        return (self.served_warm_up(shape), *[self.served_run(shape)] * self.served_repeats(shape))

    def served_repeats(self, shape: Shape) -> int:
        """A level is asked once: it is many requests."""
        return 1 if shape.at_once else self.repeat

    def not_served(self, shape: Shape) -> str:
        """Why a server cannot be asked for this shape; empty where it can."""
        if shape.batch > 1:
            return OF_A_WORKER
        asked = "--depth" if self.depth else "--generator hf" if self.generator == "hf" else ""
        return f"{asked} needs a model in a worker" if asked else ""

    def row_work(self, shape: Shape, profile: Profile) -> float:
        """How much a profile's row is, in decoded tokens."""
        if profile.needs_torch:
            return sum(map(work, self.runs(shape)))
        return sum(map(served_work, self.served_runs(shape)))


def work(run: BenchRun) -> float:
    """How much a run is, in decoded tokens: a rough guess, for the estimate of the time left."""
    return run.batch * (run.depth + run.context) * PREFILL_COST + run.steps


def served_work(run: ServedRun) -> float:
    """The same of requests at once: between a server that computes them together and one that does not."""
    each = run.context * PREFILL_COST + run.steps
    return each * run.requests / math.sqrt(min(run.at_once, run.requests))


def contexts(*, at_once: bool) -> tuple[int, ...]:
    """What is measured where nothing else is said."""
    return (CONTEXT_AT_ONCE,) if at_once else CONTEXTS


def checked(settings: Settings, *, self_check: bool = False) -> Settings:
    """The settings; InputError where many requests at once are asked of a worker, or with its settings."""
    levels = settings.concurrency
    if not levels:
        return settings
    own = [profile.name for profile in settings.profiles if not (profile.is_served or profile.serve)]
    if own:
        raise InputError(
            f"{', '.join(own)}: a model in a worker answers one request at a time",
            "--concurrency is for served models: http://HOST:PORT/v1",
        )
    if max(levels) > MOST_AT_ONCE:
        raise InputError(f"{max(levels)} requests at once: one client asks {MOST_AT_ONCE} at most")
    if settings.batches != (1,) or settings.depth or settings.generator == "hf":
        raise InputError("--concurrency leaves batches to the server, without --batch, --depth, --generator")
    if self_check:
        raise InputError(
            "--self-check looks for errors of runs one after the other", "leave out --concurrency"
        )
    if settings.schedule == "concurrent":
        raise InputError("--concurrency asks one side after the other", "leave out --schedule concurrent")
    return settings
