"""transformers' own `generate`, timed from inside: the figures to compare the engine's loop with.

Owns the hooks. They only take timestamps; they change no token and add no wait but the one for the first
logits.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import DynamicCache, LogitsProcessor, StoppingCriteria
from transformers.generation.streamers import BaseStreamer

from engine.machine.energy import Meter
from engine.protocol.answers import Decode
from engine.worker.interrupt import CancelledError
from engine.worker.load import LoadedModel


@dataclass(frozen=True, slots=True)
class Stamps:
    """What a measured run leaves: when it started, when the prompt was read, when each token was known.

    Nanoseconds of the worker's monotonic clock; and the joules from the first token to the last.
    """

    started_ns: int
    prefilled_ns: int
    token_ns: tuple[int, ...]
    decode: Decode | None = None
    decode_joules: float | None = None


class Tokens:
    """A run's tokens as they come: their stamps, the energy from the first on, whether to stop."""

    def __init__(self, cancelled: Callable[[], bool], energy: Meter | None = None) -> None:
        self.cancelled = cancelled
        self.ns: list[int] = []
        self._energy = energy

    def add(self, ns: int) -> None:
        """One more token of each sequence."""
        self.ns.append(ns)
        if self._energy is not None and len(self.ns) == 1:
            self._energy.begin()

    def joules(self) -> float | None:
        """Until now."""
        return self._energy.joules() if self._energy is not None and self.ns else None


def generate(loaded: LoadedModel, prompt: Tensor, cache: DynamicCache, steps: int, tokens: Tokens) -> Stamps:
    """Read the part of `prompt` [batch, n] that is not in `cache`, and write `steps` greedy tokens.

    The clock starts before the call, so its set-up belongs to the prefill, as it does for whoever calls it.
    """
    prefill = _PrefillClock()
    never = loaded.model.get_input_embeddings().num_embeddings  # an end token that no model can choose
    started_ns = time.monotonic_ns()
    loaded.model.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        past_key_values=cache,
        use_cache=True,
        do_sample=False,
        num_beams=1,
        repetition_penalty=1.0,
        max_new_tokens=steps,
        eos_token_id=never,
        pad_token_id=0,
        logits_processor=[prefill],
        streamer=_TokenClock(tokens),
        stopping_criteria=[_CancelCheck(tokens.cancelled)],
    )
    joules = tokens.joules()
    if tokens.cancelled():
        raise CancelledError
    return Stamps(started_ns, prefill.ns, tuple(tokens.ns), decode_joules=joules)


class _PrefillClock(LogitsProcessor):
    """Stamps the first logits, which are those after the prompt."""

    ns = 0

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        if not self.ns:
            if scores.is_cuda:
                torch.cuda.synchronize(scores.device)
            self.ns = time.monotonic_ns()
        return scores


class _TokenClock(BaseStreamer):
    """Stamps every token when `generate` has it on the host; the prompt, which comes first, is none."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self._prompt_seen = False

    def put(self, value: Tensor) -> None:
        if self._prompt_seen:
            self._tokens.add(time.monotonic_ns())
        self._prompt_seen = True

    def end(self) -> None:
        """Nothing is held back."""


class _CancelCheck(StoppingCriteria):
    """Ends every sequence once the request is cancelled."""

    def __init__(self, cancelled: Callable[[], bool]) -> None:
        self._cancelled = cancelled

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: object) -> Tensor:
        return torch.full((input_ids.shape[0],), self._cancelled(), device=input_ids.device)
