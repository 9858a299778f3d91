"""How many kernels a token takes, by Triton's interpreter on a CPU: those of a layer, and those around them.

    TRITON_INTERPRET=1 python -m benchmarks.gpu.launches

Counted are the engine's kernels and torch's operators but for views and allocations, in models of two and of
three layers: the difference is a layer's. The native step and transformers' forward pass stand beside it.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from engine.worker.step import native
from engine.worker.step.cuda import launch
from engine.worker.step.cuda.triton_step import TritonStep
from engine.worker.step.kv_cache import GrowingCache, growing_cache

FREE = (
    "empty",
    "view",
    "reshape",
    "expand",
    "slice",
    "select",
    "transpose",
    "permute",
    "t.",
    "detach",
    "unsqueeze",
)
OURS = ("linear", "swiglu", "attend")
MORE_FREE = (
    "alias",
    "split",
    "as_strided",
    "narrow",
    "chunk",
    "squeeze",
    "_local_scalar_dense",
    "lift_fresh",
)

Step = Callable[[torch.Tensor, GrowingCache], object]


class Counting(TorchDispatchMode):
    """Counts operators that launch something."""

    def __init__(self) -> None:
        super().__init__()
        self.counts = Counter[str]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(func).removeprefix("aten.")
        if not name.startswith((*FREE, *MORE_FREE)):
            self.counts[name] += 1
        return func(*args, **(kwargs or {}))


@contextmanager
def ours_as_one(counting: Counting) -> Iterator[None]:
    """Within it a kernel of the engine's counts once, and nothing that its interpreter does."""
    before = {name: getattr(launch, name) for name in OURS}

    def counted(name: str, call: Callable[..., object]) -> Callable[..., object]:
        def run(*args: Any, **kwargs: Any) -> object:
            kept = counting.counts.copy()
            result = call(*args, **kwargs)
            counting.counts = kept + Counter({name: 1})
            return result

        return run

    for name, call in before.items():
        setattr(launch, name, counted(name, call))
    try:
        yield
    finally:
        for name, call in before.items():
            setattr(launch, name, call)


def model_of(layers: int) -> PreTrainedModel:
    """Small, of random weights."""
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    return LlamaForCausalLM(config).eval()


@torch.inference_mode()
def counted(make: Callable[[PreTrainedModel], Step], layers: int) -> int:
    """Launches of one token in a model of so many layers."""
    model = model_of(layers)
    cache, token = growing_cache(model.config), torch.zeros((1, 1), dtype=torch.long)
    model(token.expand(1, 4), past_key_values=cache)
    step = make(model)
    step(token, cache)
    with Counting() as counting, ours_as_one(counting):
        step(token, cache)
    return counting.counts.total()


def _triton(model: PreTrainedModel) -> Step:
    step = TritonStep.build(model)
    assert step is not None
    return step


def main() -> None:
    """A line a step."""
    steps: dict[str, Callable[[PreTrainedModel], Step]] = {
        "the engine's kernels": _triton,
        "native step": native.NativeStep,
        "transformers": lambda model: lambda token, cache: model(token, past_key_values=cache),
    }
    for name, make in steps.items():
        two, three = counted(make, 2), counted(make, 3)
        print(f"{name}: {three - two} launches a layer, {two - 2 * (three - two)} around the layers")


if __name__ == "__main__":
    main()
