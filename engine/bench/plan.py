"""What a bench will measure: its settings, the matrix they span, and how much work each part of it is.

Pure. Knows neither sessions nor results.
"""

from msgspec import Struct
from msgspec.structs import replace

from engine.config.profile import Profile
from engine.protocol import BenchRun, Generator
from engine.session.schedule import Schedule

CONTEXTS = (32, 64, 128, 256, 512, 1024, 2048)
FOLLOW_UP_TOKENS = 128  # the prompt that `depth` puts after the context
WARM_UP_STEPS = 8
PREFILL_COST = 1 / 8  # of a prompt's token, in decoded tokens; only the estimate of the time left uses it


class Shape(Struct, frozen=True, order=True):
    """One cell of the matrix."""

    context: int
    batch: int

    @property
    def text(self) -> str:
        """`context 64`, `context 64, batch 2`."""
        return f"context {self.context}" + (f", batch {self.batch}" if self.batch > 1 else "")


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

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """The matrix, batch after batch."""
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

    def row_work(self, shape: Shape) -> float:
        """How much a row is, in decoded tokens."""
        return sum(work(run) for run in self.runs(shape))


def work(run: BenchRun) -> float:
    """How much a run is, in decoded tokens: a rough guess, for the estimate of the time left."""
    return run.batch * (run.depth + run.context) * PREFILL_COST + run.steps
