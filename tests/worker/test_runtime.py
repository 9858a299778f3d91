"""What a plan says of a worker, and what it does: each family and method, loaded as a tiny model."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.config import runtime
from engine.config.methods import SHORT_DTYPES, BitsAndBytes, Checkpointed, Full, Method, Rtn
from engine.config.profile import Cache, Model, Profile
from engine.errors import LoadError
from engine.machine import hardware
from engine.plan.planning import Wish, plan
from engine.plan.terms import Plan
from engine.protocol.runs import BenchRun, Measure, Measured
from engine.shape import find
from engine.worker.generate.prefix_cache import KeptCache
from engine.worker.host import memory
from engine.worker.load import LoadedModel, load
from engine.worker.measure import bench_run
from engine.worker.step.cpu import compile
from engine.worker.step.kv_cache import growing_cache
from tests.worker import architectures

TOKENS = 70
IDLE = "phi3 with a window as long as its texts"
AUTO = Cache()
FULL, NF4, INT8 = Full(), BitsAndBytes(), BitsAndBytes(bits=8)
CASES: dict[str, tuple[str, Method, str]] = {
    **{
        f"{kind}, bf16": (kind, FULL, "bfloat16")
        for kind in (*runtime.NATIVE, "mistral without a window", IDLE)
    },
    **{f"{kind}, bf16": (kind, FULL, "bfloat16") for kind in ("gemma", "gemma2", "opt")},
    **{f"llama, {name}": ("llama", method, "bfloat16") for name, method in (("nf4", NF4), ("int8", INT8))},
    **{f"phi3, {name}": ("phi3", method, "bfloat16") for name, method in (("nf4", NF4), ("int8", INT8))},
    "llama, rtn2": ("llama", Rtn(bits=2, group_size=32, sym=False), "bfloat16"),
    "phi3, rtn4 of rows": ("phi3", Rtn(group_size=-1), "bfloat16"),
    "gemma, rtn2": ("gemma", Rtn(bits=2, group_size=32), "bfloat16"),
    "llama, float32": ("llama", FULL, "float32"),
    "llama with gelu": ("llama with gelu, tied", FULL, "bfloat16"),
    "qwen2 with windows": ("qwen2 with windows", FULL, "bfloat16"),
}
pytestmark = pytest.mark.skipif(compile.openmp() is None, reason="no compiler, or not GNU's OpenMP")


def planned_and_loaded(
    kind: str, method: Method, dtype: Any, folder: Path, cache: Cache = AUTO
) -> tuple[Plan, LoadedModel]:
    architectures.write(kind, folder)
    model = Model(source=str(folder), dtype=dtype, device="cpu")
    profile = Profile(model=model, quantization=method, cache=cache)
    found = plan(profile, find.of(profile), hardware.detect(), Wish(context=TOKENS))
    return found, load(profile, 1, lambda staged: None)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, lend_compiled: Callable[[Path], None]) -> Path:
    """For checkpoints that a method makes first."""
    home = tmp_path_factory.mktemp("home")
    lend_compiled(home)
    return home


@pytest.mark.parametrize("case", CASES)
def test_the_plan_says_what_the_worker_does(
    case: str, tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if isinstance(CASES[case][1], Checkpointed):
        pytest.importorskip("gptqmodel")
        monkeypatch.setenv("QUANTDUEL_HOME", str(store))
    found, loaded = planned_and_loaded(*CASES[case], tmp_path)
    assert found.step == loaded.info.step and (CASES[case][0] != IDLE or found.step == "compiled")
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


@pytest.mark.parametrize(
    ("kind", "method", "dtype"),
    [("llama", "int8", "bfloat16"), ("llama", "fp8", "float32"), ("gemma", "fp8", "bfloat16")],
)
def test_the_plan_says_what_a_cache_in_8_bits_takes(
    kind: str, method: Any, dtype: str, tmp_path: Path
) -> None:
    found, loaded = planned_and_loaded(kind, FULL, dtype, tmp_path, Cache(dtype=method))
    assert found.step == loaded.info.step == ("native" if kind == "llama" else "forward")
    assert loaded.info.label == found.label == f"{SHORT_DTYPES[dtype]}+kv-{method}"
    told = f"the compiled step reads no cache in {method}" in loaded.info.notes
    assert told == (kind == "llama" and dtype == "bfloat16")
    run = Measure(request=1, run=BenchRun(context=TOKENS - 1, steps=2))
    filled = bench_run.measured(loaded, run, lambda: False, KeptCache(loaded.cache_dtype))
    assert isinstance(filled, Measured)
    assert filled.kv_cache_bytes == found.kv_cache_bytes
    assert found.weights_bytes == pytest.approx(loaded.info.weights.total_bytes, rel=0.002)


@pytest.mark.parametrize("kind", ["gemma2", "qwen2 with windows"])
def test_no_plan_and_no_load_with_a_cache_in_8_bits_where_layers_have_windows(
    kind: str, tmp_path: Path
) -> None:
    architectures.write(kind, tmp_path)
    profile = Profile(model=Model(source=str(tmp_path), device="cpu"), cache=Cache(dtype="int8"))
    for attempt in (
        lambda: plan(profile, find.of(profile), hardware.detect()),
        lambda: load(profile, 1, lambda staged: None),
    ):
        with pytest.raises(LoadError, match="layers that keep a window or a state"):
            attempt()


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
