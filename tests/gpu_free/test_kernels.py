"""Which kernel a packed checkpoint gets on a GPU, held against what GPTQModel's own classes say they take."""

import os
from collections.abc import Callable
from contextlib import nullcontext
from importlib import import_module
from itertools import product
from pathlib import Path
from shutil import which
from subprocess import run
from types import ModuleType, SimpleNamespace

import pytest
import torch
from accelerate.hooks import AlignDevicesHook, add_hook_to_module
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, OlmoConfig, PreTrainedConfig

from engine.config.gpu_kernels import KERNELS, candidates
from engine.config.layouts import Layout
from engine.errors import LoadError
from engine.protocol.loading import Staged
from engine.worker.checkpoints.checkpoint import Checkpoint
from engine.worker.checkpoints.placement import Placement
from engine.worker.methods import gptqmodel_api, kernels
from engine.worker.step import native

pytest.importorskip("gptqmodel")

GPU = torch.device("cuda", 0)
HOPPER, AMPERE, TURING, VOLTA = (9, 0), (8, 0), (7, 5), (7, 0)


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A GPU of this compute capability, with what compiling needs or without."""

    def install(capability: tuple[int, int] = HOPPER, *, lacks: str = "", fails: str = "") -> None:
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
        monkeypatch.setattr(kernels.shutil, "which", lambda name: None if name in lacks.split() else name)
        monkeypatch.setattr("torch.utils.cpp_extension.CUDA_HOME", "/runtime-only")
        monkeypatch.setattr(kernels, "_compile_marlin", lambda dtype: fails)

    return install


def backends(layout: Layout, dtype: torch.dtype = torch.bfloat16) -> list[str]:
    return [kernel.backend for kernel in kernels.candidates(layout, GPU, dtype)]


@pytest.mark.parametrize(
    ("layout", "capability", "first"),
    [
        (Layout("gptq", 4, 128), HOPPER, "gptq_marlin"),
        (Layout("gptq", 8, 64), HOPPER, "gptq_marlin"),
        (Layout("gptq", 4, 128, desc_act=True), HOPPER, "gptq_marlin"),
        (Layout("gptq", 3, 64), HOPPER, "gptq_torch"),
        (Layout("gptq", 2, 64), HOPPER, "gptq_triton"),
        (Layout("gptq", 4, 64, sym=False), HOPPER, "gptq_triton"),
        (Layout("gptq", 4, 16), HOPPER, "gptq_triton"),
        (Layout("gptq", 4, 128), VOLTA, "gptq_triton"),
        (Layout("gptq", 4, 128), TURING, "gptq_marlin"),
        (Layout("awq", 4, 128, sym=False), HOPPER, "awq_marlin"),
        (Layout("awq", 4, 128, sym=False), TURING, "awq_torch"),
        (Layout("awq", 4, 16, sym=False), HOPPER, "awq_torch"),
    ],
)
def test_the_fastest_that_takes_it_comes_first(
    on: Callable[..., None], layout: Layout, capability: tuple[int, int], first: str
) -> None:
    on(capability)
    assert kernels.choose(layout, GPU, torch.bfloat16).backend == first


@pytest.mark.parametrize("missing", ["nvcc", "c++ g++ clang++", "ninja"])
def test_what_cannot_be_compiled_is_not_chosen_and_the_note_says_why(
    on: Callable[..., None], missing: str
) -> None:
    on(lacks=missing)
    kernel = kernels.choose(Layout("gptq", 4, 128), GPU, torch.bfloat16)
    assert kernel.backend == "gptq_triton"
    assert kernel.notes and "cannot be found" in kernel.notes[0] and "Marlin" in kernel.notes[0]


def test_a_failed_compilation_falls_back_with_a_note(on: Callable[..., None]) -> None:
    on(fails="it could not be compiled (no space left)")
    assert backends(Layout("gptq", 4, 128)) == ["gptq_triton", "gptq_torch"]
    kernel = kernels.choose(Layout("gptq", 4, 128), GPU, torch.bfloat16)
    assert "no space left" in kernel.notes[0]


NINJA = "Extension load failed:\n- marlin_bf16: Error building extension 'm': [1/11] nvcc -DERROR m.cu\n"


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (
            NINJA + "/x/a.h:7:10: fatal error: cusparse.h: No such file\n",
            "fatal error: cusparse.h: No such file",
        ),
        (NINJA + "nvcc fatal   : Unsupported gpu architecture\n", "fatal   : Unsupported gpu architecture"),
        (NINJA + "nvcc error   : 'cicc' died due to signal 9\n", "error   : 'cicc' died due to signal 9"),
        (NINJA + "/usr/bin/ld: cannot find -lcudart: No such file\n", "cannot find -lcudart: No such file"),
        ("Extension load failed:\n- marlin_bf16: timed out\n", "- marlin_bf16: timed out"),
    ],
)
def test_why_a_compilation_failed_is_what_the_compiler_said(
    monkeypatch: pytest.MonkeyPatch, said: str, reason: str
) -> None:
    def fail(dtype: torch.dtype) -> bool:
        raise RuntimeError(said)

    monkeypatch.setattr(import_module("gptqmodel.utils.marlin"), "prewarm_marlin_extension", fail)
    kernels._compile_marlin.cache_clear()
    assert kernels._compile_marlin(torch.bfloat16) == f"it could not be compiled ({reason})"
    kernels._compile_marlin.cache_clear()


@pytest.mark.skipif(which("cc") is None, reason="links with a C compiler")
def test_what_is_compiled_finds_the_runtime_that_torch_loaded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("LIBRARY_PATH", raising=False)
    source, wheel = tmp_path / "empty.c", tmp_path / "libcudart.so.13"
    source.write_text("")
    run(["cc", "-shared", "-o", wheel, source], check=True)
    monkeypatch.setattr(kernels, "_loaded_runtime", lambda: str(wheel))
    link = ["cc", "-shared", "-o", tmp_path / "made.so", source, "-L/nowhere", "-lcudart"]
    with kernels.linkable():
        assert run(link, check=False).returncode == 0
    assert "LIBRARY_PATH" not in os.environ


def test_the_compilation_is_reported_before_it_begins(on: Callable[..., None]) -> None:
    on()
    told: list[Staged] = []
    next(kernels.candidates(Layout("awq", 4, 128), GPU, torch.bfloat16, told.append))
    assert [stage.step for stage in told] == ["compile kernel"]


def test_awq_keeps_the_models_dtype(on: Callable[..., None]) -> None:
    on(lacks="nvcc")
    kernel = kernels.choose(Layout("awq", 4, 128), GPU, torch.bfloat16)
    assert kernel.backend == "awq_torch" and any("float16" in note for note in kernel.notes)
    assert kernels.choose(Layout("awq", 4, 128), GPU, torch.float16).backend == "awq_gemm_triton"


def test_float32_is_refused_in_words(on: Callable[..., None]) -> None:
    on()
    with pytest.raises(LoadError) as caught:
        kernels.choose(Layout("gptq", 4, 128), GPU, torch.float32)
    assert "float32" in caught.value.message and "bfloat16" in caught.value.hint


class Loads:
    """Stands for GPTQModel's loader: a tiny model with hooks, or the refusals it is given, one a call."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *refusals: Exception) -> None:
        self.asked: list[str] = []
        self.sees_flash_attention: list[bool] = []
        self._refusals = list(refusals)
        monkeypatch.setattr(gptqmodel_api.package().GPTQModel, "load", self.load)
        monkeypatch.setattr(loader(), "is_flash_attn_2_available", lambda: True)
        monkeypatch.setattr(gptqmodel_api.completeness, "required_of_accelerate", lambda *_: nullcontext())

    def load(self, folder: str, *, backend: str, **options: object) -> SimpleNamespace:
        self.asked.append(str(getattr(backend, "value", backend)))
        self.sees_flash_attention.append(loader().is_flash_attn_2_available())
        if self._refusals:
            raise self._refusals.pop(0)
        shape = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1}
        model = LlamaForCausalLM(LlamaConfig(vocab_size=16, **shape))
        for module in (model.model.embed_tokens, *model.model.layers):
            add_hook_to_module(module, AlignDevicesHook(torch.device("cpu"), io_same_device=True))
        return SimpleNamespace(model=model)


def loader() -> ModuleType:
    return import_module("gptqmodel.models.loader")


def packed_folder(tmp_path: Path, bits: int = 4, kind: type[PreTrainedConfig] = LlamaConfig) -> Checkpoint:
    packing = {"quant_method": "gptq", "bits": bits, "group_size": 128}
    kind(vocab_size=16, quantization_config=packing).save_pretrained(tmp_path)
    return Checkpoint("packed", tmp_path, "folder")


@pytest.mark.parametrize(
    ("asked", "bits", "kind", "first"),
    [
        ("compiled", 4, LlamaConfig, "gptq_torch"),
        ("compiled", 8, LlamaConfig, "gptq_marlin"),
        ("compiled", 4, OlmoConfig, "gptq_marlin"),
        ("compiled", 4, MistralConfig, "gptq_marlin"),  # whose window keeps the engine's step away
        ("native", 4, LlamaConfig, "gptq_marlin"),
    ],
)
def test_what_keeps_its_layout_comes_first_where_the_engines_kernels_will_read_it(
    asked: str,
    bits: int,
    kind: type[PreTrainedConfig],
    first: str,
    on: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    on()
    monkeypatch.setenv("QUANTDUEL_STEP", asked)
    folder, placement = packed_folder(tmp_path, bits, kind), Placement(GPU, torch.bfloat16, compiles=True)
    assert next(kernels.of_checkpoint(folder, placement)).backend == first


def test_a_packed_model_on_one_device_has_no_hooks_and_everybodys_attention(
    on: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    on()
    loads = Loads(monkeypatch)
    model = gptqmodel_api.load_quantized(packed_folder(tmp_path), Placement(GPU, torch.bfloat16))
    assert not any(hasattr(module, "_hf_hook") for module in model.modules()) and native.supports(model)
    assert loads.asked == ["gptq_marlin"] and loads.sees_flash_attention == [False]
    assert gptqmodel_api.notes(model) == () and loader().is_flash_attn_2_available()


def test_a_kernel_that_refuses_after_all_gives_way_with_a_note(
    on: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    on()
    loads = Loads(monkeypatch, ValueError("out_features must be divisible by 64"))
    model = gptqmodel_api.load_quantized(packed_folder(tmp_path), Placement(GPU, torch.bfloat16))
    assert loads.asked == ["gptq_marlin", "gptq_triton"]
    assert gptqmodel_api.notes(model) == ()  # its layers are not GPTQModel's
    model.lm_head.register_buffer("qweight", torch.zeros(1))
    assert "divisible by 64" in gptqmodel_api.notes(model)[0]


def test_what_every_kernel_refuses_is_told_as_the_first_did(
    on: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    on()
    Loads(monkeypatch, *(ValueError(str(number)) for number in range(3)))
    with pytest.raises(ValueError, match="0"):
        gptqmodel_api.load_quantized(packed_folder(tmp_path), Placement(GPU, torch.bfloat16))


def test_gptqmodels_classes_take_what_the_table_sends_them() -> None:
    gptqmodel_api.package()
    from gptqmodel.quantization import FORMAT, METHOD
    from gptqmodel.utils import importer
    from gptqmodel.utils.backend import BACKEND

    formats = {"gptq": (METHOD.GPTQ, FORMAT.GPTQ), "awq": (METHOD.AWQ, FORMAT.GEMM)}
    for method, listed in KERNELS.items():
        for kernel in listed:
            found = importer.get_kernel_for_backend(BACKEND(kernel.backend), *formats[method])
            assert set(kernel.bits) <= set(found.SUPPORTS_BITS), kernel
            assert set(kernel.groups) <= set(found.SUPPORTS_GROUP_SIZE), kernel
            dtypes = {str(dtype).removeprefix("torch.") for dtype in found.SUPPORTS_DTYPES}
            assert set(kernel.dtypes) <= dtypes, kernel
            signs = {True} if kernel.is_symmetric_only else {True, False}
            assert signs == set(found.SUPPORTS_SYM), kernel
            assert set(found.SUPPORTS_DESC_ACT) == {True, False}, kernel


def test_every_layout_that_can_be_made_here_has_a_kernel() -> None:
    for bits, group, sym in product((2, 3, 4, 8), (-1, 16, 32, 64, 128), (True, False)):
        assert candidates(Layout("gptq", bits, group, sym), "bfloat16", VOLTA)
    for group in (-1, 16, 32, 64, 128):
        assert candidates(Layout("awq", 4, group, sym=False), "float16", VOLTA)
