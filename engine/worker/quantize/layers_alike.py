"""Whether each layer of a finished checkpoint does what its source's does, given the same input.

Owns the first tokens' way through the source's layers, and the refusal of a result with a layer that goes
another: experts whose rows were exchanged may leave the perplexity as it was.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from engine.config.methods import Fp8, Savable
from engine.errors import LoadError

TOKENS = 64
LEAST_COSINE = 0.5
"""Of 4 bits and more: 0.85 is the least that rounding alone left, with tiny models of wide random weights."""
_FEWEST_BITS = 4
_SMALL = 0.01  # of a layer's input: less than that is lost in 16 bits

Passed = dict[int, tuple[Tensor, Tensor]]  # a layer's input and output, [1, tokens, hidden]


def passed(
    model: PreTrainedModel, ids: list[int], device: torch.device, instead: Passed | None = None
) -> Passed:
    """What goes into each layer and comes out, with the inputs of another model instead of its own."""
    found: Passed = {}
    tokens = torch.tensor([ids[:TOKENS]], device=device)
    with torch.inference_mode(), _watched(model, found, instead or {}):
        model(tokens, use_cache=False)
    return found


def require_alike(source: Passed, result: Passed, method: Savable, label: str) -> None:
    """LoadError where what a layer adds to its input points elsewhere; fewer than four bits pass."""
    if not isinstance(method, Fp8) and method.bits < _FEWEST_BITS:
        return
    for layer in sorted(source.keys() & result.keys()):
        (before, own), (_, other) = source[layer], result[layer]
        added, adds = (own - before).flatten(), (other - before).flatten()
        if added.norm() < _SMALL * before.norm():
            continue
        cosine = float(torch.dot(added, adds) / (added.norm() * adds.norm()).clamp(min=1e-30))
        if cosine < LEAST_COSINE:
            raise LoadError(
                f"the result of {label} is broken: layer {layer} does something else than its source's "
                f"(cosine {cosine:.2f} of what it adds)",
                "it was not kept; this kind of model needs another method",
            )


@contextmanager
def _watched(model: PreTrainedModel, found: Passed, instead: Passed) -> Iterator[None]:
    hooks = []
    for index, layer in enumerate(layers(model)):
        before, after = _hooks(index, found, instead)
        hooks.append(layer.register_forward_pre_hook(before, with_kwargs=True))
        hooks.append(layer.register_forward_hook(after))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _hooks(index: int, found: Passed, instead: Passed) -> tuple[Callable[..., Any], Callable[..., Any]]:
    def before(_: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        given = args[0] if args else named.get("hidden_states")
        if not isinstance(given, Tensor):
            return None
        if index in instead:
            given = instead[index][0].to(given)
        found[index] = (given.float().cpu(),) * 2
        return ((given, *args[1:]), named) if args else (args, {**named, "hidden_states": given})

    def after(_: nn.Module, __: tuple[Any, ...], output: Any) -> None:
        made = output[0] if isinstance(output, tuple) else output
        if index in found and isinstance(made, Tensor) and made.shape == found[index][0].shape:
            found[index] = (found[index][0], made.float().cpu())
        else:
            found.pop(index, None)

    return before, after


def layers(model: PreTrainedModel) -> nn.ModuleList:
    """A model's layers, in order: its list of as many modules as its config says; empty where it has none."""
    count = model.config.get_text_config().num_hidden_layers
    lists = (part for part in model.modules() if isinstance(part, nn.ModuleList) and len(part) == count)
    return next(lists, nn.ModuleList())
