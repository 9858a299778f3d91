"""Forward passes that extend one cache: which kind of step runs, and what replaces one that cannot.

Owns the choice between a captured step, the compiled one, the native one and the model's own pass. Knows a
model and its cache; must not know requests, nor how tokens are chosen.
"""

import math
import traceback
from collections.abc import Callable

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from engine.config import runtime
from engine.protocol.answers import Decode
from engine.worker import forward
from engine.worker.failures import first_line
from engine.worker.host import memory
from engine.worker.interrupt import CancelledError, interruptible
from engine.worker.step import captured_step, native
from engine.worker.step.captured_step import CapturedStep
from engine.worker.step.cpu import compiled_step
from engine.worker.step.cuda import choice
from engine.worker.step.kv_cache import GrowingCache, chunks, has_buffers

REPLAYING = ("cuda",)  # devices on which a decode step is captured once and replayed
NOT_FINITE = "logits were infinite or NaN: the model's arithmetic overflowed, and its text means nothing"
READ_AGAIN = (
    "at {} tokens all was read once more, within one token's time: RoPE's factors are others from there on"
)
WINDOWS = (
    "a CUDA graph needs layers that keep every token, and some layers of this model keep a window or a state"
)


class Stepper:
    """Forward passes that extend one cache; `logits` [batch, vocab], float32, are those for the next token.

    Where steps are replayed (`REPLAYING`) the cache's length is right only after `sync_length`.
    """

    logits: Tensor

    def __init__(self, model: PreTrainedModel, cache: DynamicCache) -> None:
        self._model, self._cache = model, cache
        reads = isinstance(cache, GrowingCache) and has_buffers(cache) and _reads(cache)
        self._compiled = (compiled_step.step_for(model) or choice.step_for(model)) if reads else None
        self._native = native.step_for(model)
        is_wanted = self.replays_on(model.device)
        self._eager_reason = _reason_not_captured(model, cache) if is_wanted else ""
        can = hasattr(cache, "captured_step") and has_buffers(cache) and not self._eager_reason
        self._can_capture = is_wanted and can
        self._captures = self._can_capture and model.device.type in captured_step.CAPTURING
        self._running: CapturedStep | None = None
        self._was_read_again = ""
        self._largest: Tensor | None = None  # the sum over steps of their largest logits

    @staticmethod
    def replays_on(device: torch.device) -> bool:
        """Whether steps are captured once, and replayed, on devices of this type."""
        return device.type in REPLAYING

    @property
    def runs_ahead(self) -> bool:
        """Whether the next step should be launched before this one's token is read."""
        is_ready = not self._captures or self._ready() is not None
        return self._can_capture and is_ready

    @property
    def mode(self) -> Decode:
        """How steps are run."""
        return "graph" if self._can_capture else "eager"

    @property
    def notes(self) -> tuple[str, ...]:
        """Why steps are not replayed where they should be; and whether logits were not finite. Waits."""
        failure = f"decoded eagerly: {self._eager_reason}" if self._eager_reason else ""
        without_kernels = choice.failures.get(self._model, "")
        found = (without_kernels, failure, self._was_read_again, self._unusable())
        return tuple(note for note in found if note)

    def chunks(self, token_ids: Tensor, length: int) -> tuple[Tensor, ...]:
        """`token_ids` [batch, n] in chunks that may be read one after the other, of at most `length`."""
        return chunks(self._cache, token_ids, length)

    @torch.inference_mode()
    def prepare(self, token_ids: Tensor) -> bool:
        """Capture the step for the cache's buffers, with any `token_ids` [batch, 1].

        Call it before the cache reads a prompt: between tokens nothing is captured. True where it was
        needed. A failure is noted, and steps then run eagerly.
        """
        if not self._captures or self._ready() is not None:
            return False
        try:
            captured_step.allocate(self._model, self._cache, token_ids)
            step = captured_step.step_of(self._model, self._cache.dtype)
            self._cache.captured_step = CapturedStep(step, self._cache, token_ids)
        except Exception as error:
            self._give_up_capturing(error)
        return True

    @torch.inference_mode()
    def read(self, token_ids: Tensor) -> None:
        """Append `token_ids` [batch, n]; on a GPU the logits may still be in flight."""
        is_step = token_ids.shape[1] == 1 and self._cache.get_seq_length() > 0
        if not is_step:
            self.sync_length()
        logits = self._decoded(token_ids) if is_step else self._forward(token_ids)
        self.logits = logits[:, -1].float()
        largest = self.logits.amax()
        self._largest = largest if self._largest is None else self._largest.add_(largest)

    def read_unless(self, cancelled: Callable[[], bool], token_ids: Tensor) -> bool:
        """Read and wait; False, and the cache as it was, where it was cancelled meanwhile."""
        if cancelled():
            return False
        held = self._cache.get_seq_length()
        try:
            with interruptible(cancelled, token_ids.device):
                self.read(token_ids)
                self.wait()
        except CancelledError:
            if isinstance(self._cache, GrowingCache):
                self._cache.truncate(held)
            return False
        return True

    @property
    def read_again_at(self) -> float:
        """The length at which a text has to be read once more, with `read_again_unless`."""
        return getattr(self._cache, "read_again_at", math.inf)

    def read_again_unless(self, cancelled: Callable[[], bool], token_ids: Tensor) -> bool:
        """Read a whole text [batch, n] in place of what the cache holds; False where it was cancelled."""
        self.sync_length()
        if isinstance(self._cache, GrowingCache):
            self._cache.clear(self._model.config)
        self._was_read_again = READ_AGAIN.format(token_ids.shape[1])
        return self.read_unless(cancelled, token_ids)

    def wait(self) -> None:
        """Until the logits are computed."""
        if self.logits.is_cuda:
            torch.cuda.synchronize(self.logits.device)

    def sync_length(self) -> None:
        """Set the cache's length to the tokens it holds."""
        if self._running is not None:
            self._running.sync_length()
            self._running = None

    def _forward(self, token_ids: Tensor) -> Tensor:
        """The model's own forward pass; logits [batch, some, vocab]."""
        return forward.logits(self._model, token_ids, self._cache, kept=1)

    def _decoded(self, token_ids: Tensor) -> Tensor:
        """One token: logits [batch, 1, vocab]."""
        if self._can_capture:
            try:
                step = self._captured_step(token_ids)
                if step is not None:
                    return step(token_ids)
                self._leave_graph()
            except CancelledError:
                raise
            except Exception as error:
                self._give_up_capturing(error)
        if self._compiled is not None and len(token_ids) <= self._compiled.most_sequences:
            return self._compiled(token_ids, self._cache)
        return self._native(token_ids, self._cache) if self._native is not None else self._forward(token_ids)

    def _captured_step(self, token_ids: Tensor) -> CapturedStep | None:
        """The running step, the cache's earlier one, or a new one; None where a new one would be captured."""
        found = self._ready()
        if found is None:
            self.sync_length()
            if self._captures:
                return None
            step = captured_step.step_of(self._model, self._cache.dtype)
            found = self._cache.captured_step = CapturedStep(step, self._cache, token_ids)
        self._running = found
        return found

    def _ready(self) -> CapturedStep | None:
        """The running step, or the cache's earlier one, with a position for one more token."""
        if self._running is not None:
            return self._running if self._running.is_valid() else None
        kept = self._cache.captured_step
        step = captured_step.step_of(self._model, self._cache.dtype)
        return kept if isinstance(kept, CapturedStep) and kept.can_resume(step) else None

    def _leave_graph(self) -> None:
        """Continue without a graph: capturing one now would delay the next token."""
        held = self._cache.get_seq_length()
        outgrown = f"from {held} tokens on, beyond the capacity of the CUDA graph"
        self._decode_eagerly(
            outgrown if self._cache.captured_step else "no CUDA graph was captured for this answer"
        )

    def _give_up_capturing(self, error: Exception) -> None:
        traceback.print_exc()  # into the log
        self.sync_length()
        self._decode_eagerly(f"a CUDA graph failed ({first_line(error)})")
        if not memory.is_out_of_memory(error):  # next time there may be enough
            captured_step.failures[self._model] = self._eager_reason

    def _decode_eagerly(self, why: str) -> None:
        self._can_capture = self._captures = False
        self._cache.captured_step, self._eager_reason = None, why

    def _unusable(self) -> str:
        """A sum that was once infinite or NaN stays so."""
        return NOT_FINITE if self._largest is not None and not bool(self._largest.isfinite()) else ""


def _reads(cache: GrowingCache) -> bool:
    """Whether a compiled step reads what it holds."""
    return runtime.reads_cache("compiled", cache.dtype)


def _reason_not_captured(model: PreTrainedModel, cache: GrowingCache) -> str:
    """Why steps that should be captured cannot be; empty where they can, or where that is tried."""
    if not has_buffers(cache):
        return WINDOWS if model.device.type in captured_step.CAPTURING else ""
    return captured_step.failures.get(model) or captured_step.obstacle(model)
