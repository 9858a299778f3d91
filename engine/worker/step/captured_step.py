"""A decode step that always does the same to the same memory, a cache's rooms: what a CUDA graph can hold.

Owns the step's inputs on the device, and the proof that a captured step computes what the step does. On a CPU
the same step runs kernel after kernel, which is how it is tested. When it is used is `decode`'s.
"""

from collections.abc import Callable
from functools import lru_cache
from weakref import WeakKeyDictionary, ref

import torch
from torch import Tensor
from transformers import PreTrainedModel

from engine.worker.step import capturable, cuda_graph, native
from engine.worker.step.kv_cache import GrowingCache, GrowingLayer

CAPTURING = ("cuda",)  # devices on which a step is captured, which takes far longer than a step
TOLERANCE = 0.02  # of the largest logit: a replay may not differ more from the step itself

failures: WeakKeyDictionary[PreTrainedModel, str] = WeakKeyDictionary()
"""Why a model's step cannot be replayed: it is not tried again."""

_obstacles: WeakKeyDictionary[PreTrainedModel, str] = WeakKeyDictionary()

Step = Callable[[Tensor, Tensor, Tensor, GrowingCache], Tensor]
"""(token ids [batch, 1], place [1], mask [1, 1, 1, room], cache) to logits [batch, 1, vocab]."""


def suits(cache: GrowingCache) -> bool:
    """Whether all layers keep all tokens, in rooms."""
    return all(type(layer) is GrowingLayer for layer in cache.layers)


def obstacle(model: PreTrainedModel) -> str:
    """Why the model's step is not even tried to be captured; empty where it is."""
    if model.device.type not in CAPTURING:
        return ""
    if model not in _obstacles:
        _obstacles[model] = capturable.obstacle(model)
    return _obstacles[model]


@lru_cache(maxsize=1)
def step_of(model: PreTrainedModel) -> Step:
    """The model's step: the engine's own, or its forward pass."""
    own = native.of(model)
    return own.at if own else _forward(model)


def _forward(model: PreTrainedModel) -> Step:
    def step(token_ids: Tensor, place: Tensor, mask: Tensor, cache: GrowingCache) -> Tensor:
        logits: Tensor = model(
            input_ids=token_ids,
            position_ids=place.expand(len(token_ids), 1),
            attention_mask=mask.expand(len(token_ids), -1, -1, -1),
            past_key_values=cache,
            use_cache=True,
        ).logits
        return logits

    return step


def make_rooms(model: PreTrainedModel, cache: GrowingCache, token_ids: Tensor) -> None:
    """Give an empty cache its rooms, whose shapes the model knows, by a step with `token_ids` [batch, 1]."""
    if cache.get_seq_length() == 0 and not all(layer.is_initialized for layer in cache.layers):
        model(input_ids=token_ids, past_key_values=cache, use_cache=True)
        cache.crop(-1)


class ReplayedStep:
    """A step for one cache's present rooms. `held` is how many tokens the cache holds, which the rooms' views
    learn with `settle` only.
    """

    logits: Tensor

    def __init__(self, step: Step, cache: GrowingCache, token_ids: Tensor) -> None:
        self._step, self._cache, self.held = step, ref(cache), cache.get_seq_length()
        self._layers = [layer for layer in cache.layers if isinstance(layer, GrowingLayer)]
        for layer in self._layers:
            layer.make_room(self.held + 1)
        self._rooms = [layer.key_room for layer in self._layers]
        self._token_ids = token_ids.clone()
        self._place = torch.tensor([self.held], device=token_ids.device)
        self._places = torch.arange(self._rooms[0].shape[-2], device=token_ids.device)
        self._run = captured(self) if token_ids.device.type in CAPTURING else self.run

    def lasts(self) -> bool:
        """Whether the cache still has these rooms, and a place free in them."""
        same = all(layer.key_room is room for layer, room in zip(self._layers, self._rooms, strict=True))
        return same and self.held < self.room_tokens

    @property
    def room_tokens(self) -> int:
        """How many tokens the rooms hold."""
        return len(self._places)

    def goes_on(self, step: Step) -> bool:
        """Whether this is that step, and it can go on from what the cache holds now."""
        self.held = self._layers[0].get_seq_length()
        return step is self._step and self.lasts()

    def __call__(self, token_ids: Tensor) -> Tensor:
        """Append `token_ids` [batch, 1]; logits [batch, 1, vocab], overwritten by the next call."""
        self.put(token_ids, self.held)
        self._run()
        self.held += 1
        return self.logits

    def put(self, token_ids: Tensor, place: int) -> None:
        """Have `token_ids` [batch, 1] as the step's input, and `place` as where it writes them."""
        self._token_ids.copy_(token_ids)
        self._place.fill_(place)

    def run(self) -> None:
        """The step itself, out of its inputs and into `logits`."""
        for layer in self._layers:
            layer.place = self._place
        try:
            mask = (self._places <= self._place)[None, None, None]
            cache = self._cache()
            if cache is not None:  # which it never is: the cache owns this
                self.logits = self._step(self._token_ids, self._place, mask, cache)
        finally:
            for layer in self._layers:
                layer.place = None

    def settle(self) -> None:
        """Let the cache know what it holds."""
        for layer in self._layers:
            layer.hold(self.held)


def captured(step: ReplayedStep) -> Callable[[], None]:
    """`step.run` as a CUDA graph. RuntimeError where it cannot be captured or gives other logits.

    It is asked for two tokens at two places, which the cache does not hold yet; nothing of what a run left
    can pass for a replay's logits.
    """
    tokens, device = step._token_ids.clone(), step._token_ids.device
    asked, expected = [], []
    for place in range(step.held, min(step.held + 2, step.room_tokens)):
        step.put(tokens, place)
        step.run()
        asked.append((tokens, place))
        expected.append(step.logits.float().clone())
        tokens = step.logits[:, -1].argmax(dim=-1, keepdim=True)
    replay = cuda_graph.captured(step.run, device)
    for (tokens, place), logits in zip(asked, expected, strict=True):
        step.put(tokens, place)
        step.logits.fill_(torch.nan)
        replay()
        _require_equal(step.logits.float(), logits)
    return replay


def _require_equal(found: Tensor, expected: Tensor) -> None:
    """RuntimeError unless these logits are about the same. Waits for the device."""
    tolerance = TOLERANCE * float(expected.abs().max())
    if not torch.allclose(found, expected, rtol=0, atol=tolerance):
        raise RuntimeError("the replayed step gives other logits")
