"""A decode step that always runs the same kernels on the same buffers: what a CUDA graph can hold.

Owns the step's inputs on the device, and the check that a captured step computes what the step does. On a CPU
the same step runs kernel after kernel, which is how it is tested. When it is used is `stepper`'s.
"""

from collections.abc import Callable
from functools import lru_cache
from weakref import WeakKeyDictionary, ref

import torch
from torch import Tensor
from transformers import PreTrainedModel

from engine.config import runtime
from engine.config.runtime import CacheDtype
from engine.worker import older
from engine.worker.step import capturable, cuda_graph, native
from engine.worker.step.cuda import choice
from engine.worker.step.kv_cache import GrowingCache, GrowingLayer

CAPTURING = ("cuda",)  # devices on which a step is captured, which takes far longer than a step
TOLERANCE = 0.02  # of the largest logit: a replay may not differ more from the step itself

failures: WeakKeyDictionary[PreTrainedModel, str] = WeakKeyDictionary()
"""Why a model's step could not be captured: it is not tried again."""

_obstacles: WeakKeyDictionary[PreTrainedModel, str] = WeakKeyDictionary()

Step = Callable[[Tensor, Tensor, Tensor, GrowingCache], Tensor]
"""(token ids [batch, 1], position [1], mask [1, 1, 1, capacity], cache) to logits [batch, 1, vocab]."""


def obstacle(model: PreTrainedModel) -> str:
    """Why the model's step is not even tried to be captured; empty where it is."""
    if model.device.type not in CAPTURING:
        return ""
    if model not in _obstacles:
        _obstacles[model] = older.OLDER if older.is_older() else capturable.obstacle(model)
    return _obstacles[model]


@lru_cache(maxsize=1)
def step_of(model: PreTrainedModel, dtype: CacheDtype = "auto") -> Step:
    """The model's step with such a cache: the engine's own, or its forward pass."""
    compiled = choice.step_for(model) if runtime.reads_cache("compiled", dtype) else None
    own = compiled or native.step_for(model)
    return own.at_position if own else _forward(model)


def _forward(model: PreTrainedModel) -> Step:
    def step(token_ids: Tensor, position: Tensor, mask: Tensor, cache: GrowingCache) -> Tensor:
        logits: Tensor = model(
            input_ids=token_ids,
            position_ids=position.expand(len(token_ids), 1),
            attention_mask=mask.expand(len(token_ids), -1, -1, -1),
            past_key_values=cache,
            use_cache=True,
        ).logits
        return logits

    return step


def allocate(model: PreTrainedModel, cache: GrowingCache, token_ids: Tensor) -> None:
    """Have an empty cache allocate its buffers, by a step of the model with `token_ids` [batch, 1]."""
    if cache.get_seq_length() == 0 and not all(layer.is_initialized for layer in cache.layers):
        model(input_ids=token_ids, past_key_values=cache, use_cache=True)
        cache.crop(-1)


class CapturedStep:
    """A step for one cache's present buffers. `held` is how many tokens the cache holds; its views are
    updated by `sync_length` only.
    """

    logits: Tensor

    def __init__(self, step: Step, cache: GrowingCache, token_ids: Tensor) -> None:
        self._step, self._cache, self.held = step, ref(cache), cache.get_seq_length()
        self._layers = [layer for layer in cache.layers if isinstance(layer, GrowingLayer)]
        for layer in self._layers:
            layer.reserve(self.held + 1)
        self._buffers = [layer.key_buffer for layer in self._layers]
        self._token_ids = token_ids.clone()
        self._position = torch.tensor([self.held], device=token_ids.device)
        self._positions = torch.arange(self._buffers[0].shape[-2], device=token_ids.device)
        self._run = capture(self) if token_ids.device.type in CAPTURING else self.run

    def is_valid(self) -> bool:
        """Whether the cache still has these buffers, and a free position in them."""
        same = all(
            layer.key_buffer is buffer for layer, buffer in zip(self._layers, self._buffers, strict=True)
        )
        return same and self.held < self.capacity_tokens

    @property
    def capacity_tokens(self) -> int:
        """How many tokens the buffers hold."""
        return len(self._positions)

    def can_resume(self, step: Step) -> bool:
        """Whether it runs that step, and can continue from what the cache holds now."""
        self.held = self._layers[0].get_seq_length()
        return step is self._step and self.is_valid()

    def __call__(self, token_ids: Tensor) -> Tensor:
        """Append `token_ids` [batch, 1]; logits [batch, 1, vocab], overwritten by the next call."""
        self.put(token_ids, self.held)
        self._run()
        self.held += 1
        return self.logits

    def put(self, token_ids: Tensor, position: int) -> None:
        """Set the step's input: `token_ids` [batch, 1], and the position they are written to."""
        self._token_ids.copy_(token_ids)
        self._position.fill_(position)

    def run(self) -> None:
        """The step itself, from its inputs to `logits`."""
        for layer in self._layers:
            layer.position = self._position
        try:
            mask = (self._positions <= self._position)[None, None, None]
            cache = self._cache()
            if cache is not None:  # which it never is: the cache owns this
                self.logits = self._step(self._token_ids, self._position, mask, cache)
        finally:
            for layer in self._layers:
                layer.position = None

    def sync_length(self) -> None:
        """Set the cache's length to the tokens it holds."""
        for layer in self._layers:
            layer.set_length(self.held)


def capture(step: CapturedStep) -> Callable[[], None]:
    """`step.run` as a CUDA graph. RuntimeError where it cannot be captured or gives other logits.

    It is checked with two tokens at two positions beyond the cache's length; nothing that an earlier run left
    can pass for a replay's logits.
    """
    tokens, device = step._token_ids.clone(), step._token_ids.device
    inputs, expected = [], []
    for position in range(step.held, min(step.held + 2, step.capacity_tokens)):
        step.put(tokens, position)
        step.run()
        inputs.append((tokens, position))
        expected.append(step.logits.float().clone())
        tokens = step.logits[:, -1].argmax(dim=-1, keepdim=True)
    replay = cuda_graph.capture(step.run, device)
    for (tokens, position), logits in zip(inputs, expected, strict=True):
        step.put(tokens, position)
        step.logits.fill_(torch.nan)
        replay()
        _require_equal(step.logits.float(), logits)
    return replay


def _require_equal(found: Tensor, expected: Tensor) -> None:
    """RuntimeError unless these logits are about the same. Waits for the device."""
    tolerance = TOLERANCE * float(expected.abs().max())
    if not torch.allclose(found, expected, rtol=0, atol=tolerance):
        raise RuntimeError("the captured step gives different logits")
