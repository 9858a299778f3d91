"""Forward passes that grow one cache: which kind of step runs, and what is done where one cannot.

Owns the choice between a captured step, the compiled one, the native one and the model's own pass. Knows a
model and its cache; must not know requests, nor how tokens are chosen.
"""

import traceback
from collections.abc import Callable

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from engine.protocol import Decode
from engine.worker import forward
from engine.worker.failures import first_line
from engine.worker.host import memory
from engine.worker.interrupt import CancelledError, interruptible
from engine.worker.step import captured_step, native
from engine.worker.step.captured_step import ReplayedStep
from engine.worker.step.cpu import compiled_step
from engine.worker.step.kv_cache import GrowingCache, pieces

REPLAYING = ("cuda",)  # devices on which a decode step is captured once and replayed
NO_NUMBERS = "logits were infinite or no numbers at all: the model's arithmetic overflowed, its text is void"
WINDOWS = "a CUDA graph needs layers that keep every token, and some of this model keep a window or a state"


class Stepper:
    """Forward passes that grow one cache; `logits` [batch, vocab], float32, are those for the next token.

    Where steps are replayed (`REPLAYING`) the cache knows what it holds after `settle` only.
    """

    logits: Tensor

    def __init__(self, model: PreTrainedModel, cache: DynamicCache) -> None:
        self._model, self._cache = model, cache
        has_rooms = isinstance(cache, GrowingCache) and captured_step.suits(cache)
        self._compiled = compiled_step.of(model) if has_rooms else None
        self._native = native.of(model)
        is_wanted = self.replays_on(model.device)
        self._why_not = _why_not_replayed(model, cache) if is_wanted else ""
        can = hasattr(cache, "made_for_rooms") and captured_step.suits(cache) and not self._why_not
        self._can_replay = is_wanted and can
        self._captures = self._can_replay and model.device.type in captured_step.CAPTURING
        self._replayed: ReplayedStep | None = None
        self._largest: Tensor | None = None  # the sum over steps of their largest logits

    @staticmethod
    def replays_on(device: torch.device) -> bool:
        """Whether steps are captured once, and replayed, on devices of this type."""
        return device.type in REPLAYING

    @property
    def runs_ahead(self) -> bool:
        """Whether the next step should be on its way before anybody looks at this one's token."""
        is_ready = not self._captures or self._ready() is not None
        return self._can_replay and is_ready

    @property
    def mode(self) -> Decode:
        """How steps are run."""
        return "graph" if self._can_replay else "eager"

    @property
    def notes(self) -> tuple[str, ...]:
        """Why steps are not replayed, where that was wanted; whether logits were numbers. Waits."""
        failure = f"decoded eagerly: {self._why_not}" if self._why_not else ""
        return tuple(note for note in (failure, self._unusable()) if note)

    def pieces(self, token_ids: Tensor, length: int) -> tuple[Tensor, ...]:
        """`token_ids` [batch, n] as they may be read one after the other: at most `length` at once."""
        return pieces(self._cache, token_ids, length)

    @torch.inference_mode()
    def prepare(self, token_ids: Tensor) -> bool:
        """Have the step captured for the cache's rooms, by the way of any `token_ids` [batch, 1].

        Call it before the cache reads a prompt: between tokens nothing is captured. True where there was any
        need. A failure is noted, and steps are then run eagerly.
        """
        if not self._captures or self._ready() is not None:
            return False
        try:
            captured_step.make_rooms(self._model, self._cache, token_ids)
            step = captured_step.step_of(self._model)
            self._cache.made_for_rooms = ReplayedStep(step, self._cache, token_ids)
        except Exception as error:
            self._give_up_replaying(error)
        return True

    @torch.inference_mode()
    def read(self, token_ids: Tensor) -> None:
        """Go on by `token_ids` [batch, n]; on a GPU the logits may still be on their way."""
        is_step = token_ids.shape[1] == 1 and self._cache.get_seq_length() > 0
        if not is_step:
            self.settle()
        logits = self._stepped(token_ids) if is_step else self._passed(token_ids)
        self.logits = logits[:, -1].float()
        largest = self.logits.amax()
        self._largest = largest if self._largest is None else self._largest.add_(largest)

    def read_unless(self, cancelled: Callable[[], bool], token_ids: Tensor) -> bool:
        """Read and wait; False, and the cache as it was, where it was cancelled on the way."""
        if cancelled():
            return False
        held = self._cache.get_seq_length()
        try:
            with interruptible(cancelled, token_ids.device):
                self.read(token_ids)
                self.wait()
        except CancelledError:
            if isinstance(self._cache, GrowingCache):
                self._cache.forget_beyond(held)
            return False
        return True

    def wait(self) -> None:
        """Until the logits are really there."""
        if self.logits.is_cuda:
            torch.cuda.synchronize(self.logits.device)

    def settle(self) -> None:
        """Let the cache know what it holds."""
        if self._replayed is not None:
            self._replayed.settle()
            self._replayed = None

    def _passed(self, token_ids: Tensor) -> Tensor:
        """The model's own forward pass; logits [batch, some, vocab]."""
        return forward.logits(self._model, token_ids, self._cache, kept=1)

    def _stepped(self, token_ids: Tensor) -> Tensor:
        """One token: logits [batch, 1, vocab]."""
        if self._can_replay:
            try:
                step = self._replayed_step(token_ids)
                if step is not None:
                    return step(token_ids)
                self._outgrow()
            except CancelledError:
                raise
            except Exception as error:
                self._give_up_replaying(error)
        if self._compiled is not None and len(token_ids) <= self._compiled.most_sequences:
            return self._compiled(token_ids, self._cache)
        return self._native(token_ids, self._cache) if self._native is not None else self._passed(token_ids)

    def _replayed_step(self, token_ids: Tensor) -> ReplayedStep | None:
        """The step under way, the cache's from before, or a new one; None where that would be captured."""
        found = self._ready()
        if found is None:
            self.settle()
            if self._captures:
                return None
            step = captured_step.step_of(self._model)
            found = self._cache.made_for_rooms = ReplayedStep(step, self._cache, token_ids)
        self._replayed = found
        return found

    def _ready(self) -> ReplayedStep | None:
        """The step under way, or the cache's from before, with a place for one more token."""
        if self._replayed is not None:
            return self._replayed if self._replayed.lasts() else None
        kept = self._cache.made_for_rooms
        step = captured_step.step_of(self._model)
        return kept if isinstance(kept, ReplayedStep) and kept.goes_on(step) else None

    def _outgrow(self) -> None:
        """Go on without a graph: to capture one now would stand between two tokens."""
        held = self._cache.get_seq_length()
        outgrown = f"from {held} tokens on, more than a graph was made for"
        self._stop_replaying(
            outgrown if self._cache.made_for_rooms else "no CUDA graph was made for this answer"
        )

    def _give_up_replaying(self, error: Exception) -> None:
        traceback.print_exc()  # into the log
        self.settle()
        self._stop_replaying(f"a CUDA graph failed ({first_line(error)})")
        if not memory.is_out_of_memory(error):  # there may be more the next time
            captured_step.failures[self._model] = self._why_not

    def _stop_replaying(self, why: str) -> None:
        self._can_replay = self._captures = False
        self._cache.made_for_rooms, self._why_not = None, why

    def _unusable(self) -> str:
        """A sum that once was infinite or no number stays so."""
        return NO_NUMBERS if self._largest is not None and not bool(self._largest.isfinite()) else ""


def _why_not_replayed(model: PreTrainedModel, cache: GrowingCache) -> str:
    """Why steps that should be replayed cannot be; empty where they can, or where that is tried."""
    if not captured_step.suits(cache):
        return WINDOWS if model.device.type in captured_step.CAPTURING else ""
    return captured_step.failures.get(model) or captured_step.obstacle(model)
