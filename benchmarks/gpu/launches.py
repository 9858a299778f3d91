"""How many kernels a token takes, by Triton's interpreter on a CPU: those of a layer, and those around them.

    python -m benchmarks.gpu.launches

A line a step and family. Counted are the engine's kernels and torch's operators but for views and
allocations, in models of two and of three layers: the difference is a layer's. The native step and
transformers' forward pass stand beside it.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from typing import Any

os.environ["TRITON_INTERPRET"] = "1"  # read when the kernels are imported

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from engine.config import runtime
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


def model_of(family: str, layers: int) -> PreTrainedModel:
    """Small, of random weights."""
    config = AutoConfig.for_model(
        family,
        sliding_window=None,
        pad_token_id=None,
        vocab_size=64,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    return model.eval()


@torch.inference_mode()
def counted(make: Callable[[PreTrainedModel], Step], family: str, layers: int) -> int:
    """Launches of one token in a model of so many layers."""
    model = model_of(family, layers)
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
    """A line a step and family."""
    steps: dict[str, Callable[[PreTrainedModel], Step]] = {
        "the engine's kernels": _triton,
        "native step": native.NativeStep,
        "transformers": lambda model: lambda token, cache: model(token, past_key_values=cache),
    }
    for family, (name, make) in product(runtime.NATIVE, steps.items()):
        two, three = counted(make, family, 2), counted(make, family, 3)
        around = two - 2 * (three - two)
        print(f"{family}, {name}: {three - two} launches a layer, {around} around the layers")


if __name__ == "__main__":
    main()
