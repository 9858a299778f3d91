"""What a plan says of a worker, and what it does: each family and method, loaded as a tiny model."""

from pathlib import Path
from typing import Any

import pytest
import torch

from engine.config import runtime
from engine.config.methods import BitsAndBytes, Full, Method
from engine.config.profile import Model, Profile
from engine.errors import LoadError
from engine.machine import hardware
from engine.plan.planning import Wish, plan
from engine.plan.terms import Plan
from engine.shape import find
from engine.worker.host import memory
from engine.worker.load import LoadedModel, load
from engine.worker.step.cpu import compile
from engine.worker.step.kv_cache import growing_cache
from tests.worker import architectures

TOKENS = 70
FULL, NF4, INT8 = Full(), BitsAndBytes(), BitsAndBytes(bits=8)
CASES: dict[str, tuple[str, Method, str]] = {
    **{f"{kind}, bf16": (kind, FULL, "bfloat16") for kind in (*runtime.NATIVE, "mistral without a window")},
    **{f"{kind}, bf16": (kind, FULL, "bfloat16") for kind in ("qwen3", "gemma", "gemma2", "smollm3", "opt")},
    **{f"llama, {name}": ("llama", method, "bfloat16") for name, method in (("nf4", NF4), ("int8", INT8))},
    **{f"qwen3, {name}": ("qwen3", method, "bfloat16") for name, method in (("nf4", NF4), ("int8", INT8))},
    "llama, float32": ("llama", FULL, "float32"),
    "llama with gelu": ("llama with gelu, tied", FULL, "bfloat16"),
    "qwen2 with windows": ("qwen2 with windows", FULL, "bfloat16"),
}
pytestmark = pytest.mark.skipif(compile.openmp() is None, reason="no compiler, or not GNU's OpenMP")


def planned_and_loaded(kind: str, method: Method, dtype: Any, folder: Path) -> tuple[Plan, LoadedModel]:
    architectures.write(kind, folder)
    profile = Profile(model=Model(source=str(folder), dtype=dtype, device="cpu"), quantization=method)
    found = plan(profile, find.of(profile), hardware.detect(), Wish(context=TOKENS))
    return found, load(profile, 1, lambda staged: None)


@pytest.mark.parametrize("case", CASES)
def test_the_plan_says_what_the_worker_does(case: str, tmp_path: Path) -> None:
    found, loaded = planned_and_loaded(*CASES[case], tmp_path)
    assert found.step == loaded.info.step
    assert (found.device, found.dtype) == (loaded.info.device, loaded.info.dtype)
    cache = growing_cache(loaded.model.config)
    with torch.inference_mode():
        for tokens in (TOKENS - 1, 1):
            loaded.model(torch.zeros((1, tokens), dtype=torch.long), past_key_values=cache, use_cache=True)
    assert found.kv_cache_bytes == memory.cache_bytes(cache)
    assert found.weights_bytes == pytest.approx(loaded.info.weights.total_bytes, rel=0.002)
    besides = {term.name for term in (*found.runtime, *found.activations)}
    assert ("compiler" in besides) == (loaded.info.step == "compiled")
    assert ("dequantized weights" in besides) == (loaded.info.kernel == "Int4Linear")


@pytest.mark.parametrize("most", ["native", "forward"])
def test_a_kind_of_step_is_switched_off_for_plan_and_worker(
    most: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUANTDUEL_STEP", most)
    found, loaded = planned_and_loaded("llama", FULL, "bfloat16", tmp_path)
    assert found.step == loaded.info.step == most
    monkeypatch.setenv("QUANTDUEL_STEP", "fast")
    with pytest.raises(LoadError, match="QUANTDUEL_STEP is 'fast'"):
        runtime.allows("native")


def test_what_the_worker_compiles_for_is_what_the_plan_counts_on() -> None:
    kernel: Any = compile.kernels()
    assert (runtime.VECTOR_FLAG in hardware.cpu()[1]) == kernel.HAS_VECTORS
