"""Memory figures against sums done by hand and against what the kernel says."""

import mmap
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, DynamicCache, LlamaConfig, LlamaForCausalLM

from engine.machine import hardware
from engine.worker.host import memory

CPU = torch.device("cpu")
MIB = 1 << 20
SHAPE = {
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 512,
}
LINEAR_WEIGHTS = 2 * (128 * 128 * 2 + 128 * 64 * 2 + 128 * 256 * 3)  # two layers: q, o; k, v; gate, up, down
NORM_WEIGHTS = 5 * 128


def llama(*, tied: bool = False, dtype: torch.dtype = torch.bfloat16) -> LlamaForCausalLM:
    return LlamaForCausalLM(LlamaConfig(**SHAPE, tie_word_embeddings=tied)).to(dtype).eval()


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    llama().save_pretrained(tmp_path)
    return tmp_path


def read_prompt(model: nn.Module, tokens: int) -> DynamicCache:
    cache = DynamicCache(config=model.config)
    with torch.inference_mode():
        model(input_ids=torch.arange(tokens)[None], past_key_values=cache)
    return cache


def test_weights_by_kind() -> None:
    model = llama()
    found = memory.weights(model)
    assert found.embedding_bytes == 512 * 128 * 2
    assert found.linear_bytes == (LINEAR_WEIGHTS + 512 * 128) * 2  # the head is a linear layer
    rotary = sum(buffer.nbytes for buffer in model.buffers())
    assert found.other_bytes == NORM_WEIGHTS * 2 + rotary


def test_a_tied_head_counts_once_as_embedding() -> None:
    found = memory.weights(llama(tied=True))
    assert found.embedding_bytes == 512 * 128 * 2
    assert found.linear_bytes == LINEAR_WEIGHTS * 2


def test_four_bit_weights_with_their_scales(checkpoint: Path) -> None:
    for double_quant, absmax_bytes_per_block in ((False, 4), (True, 1)):
        config = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=double_quant
        )
        model = AutoModelForCausalLM.from_pretrained(
            checkpoint, quantization_config=config, dtype=torch.bfloat16
        )
        packed = LINEAR_WEIGHTS // 2 + LINEAR_WEIGHTS // 64 * absmax_bytes_per_block
        head = 512 * 128 * 2
        code_books = 14 * 16 * 4
        nested = 14 * (256 * 4 + 4) + (LINEAR_WEIGHTS // 64 // 256 + 14) * 4 if double_quant else 0
        linear = memory.weights(model).linear_bytes
        assert packed + head < linear <= packed + head + code_books + nested


@pytest.mark.parametrize("when", ["before", "after"])
def test_eight_bit_weights_with_their_scales_before_and_after_use(checkpoint: Path, when: str) -> None:
    model = AutoModelForCausalLM.from_pretrained(
        checkpoint, quantization_config=BitsAndBytesConfig(load_in_8bit=True), dtype=torch.bfloat16
    )
    if when == "after":
        read_prompt(model, 4)
    rows = 2 * (128 + 128 + 64 + 64 + 256 + 256 + 128)
    assert memory.weights(model).linear_bytes == LINEAR_WEIGHTS + rows * 4 + 512 * 128 * 2


def test_four_bit_weights_keep_their_size_in_use(checkpoint: Path) -> None:
    config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
    model = AutoModelForCausalLM.from_pretrained(checkpoint, quantization_config=config, dtype=torch.bfloat16)
    before = memory.weights(model).linear_bytes
    read_prompt(model, 4)
    assert memory.weights(model).linear_bytes == pytest.approx(before, rel=0.06)


def test_the_cache_is_two_tensors_a_layer() -> None:
    cache = read_prompt(llama(), tokens=24)
    assert memory.cache_bytes(cache) == 2 * 2 * 24 * 64 * 2  # K and V, two layers, 24 tokens, 64 wide, bf16
    assert memory.cache_bytes(None) == memory.cache_bytes(DynamicCache()) == 0


def test_reading_on_a_cpu() -> None:
    model = llama()
    cache = read_prompt(model, tokens=24)
    found = memory.read(model, CPU, cache)
    assert found.weights_bytes == memory.weights(model).total_bytes
    assert found.kv_cache_bytes == memory.cache_bytes(cache)
    assert found.process_source == "resident set"
    assert found.process_bytes == pytest.approx(psutil.Process().memory_info().rss, rel=0.05)
    assert found.process_bytes <= found.peak_bytes + MIB
    assert 0 < found.device_used_bytes < found.device_total_bytes <= psutil.virtual_memory().total


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="no /proc/self/clear_refs")
def test_the_peak_is_of_the_request_alone() -> None:
    model = llama()
    with resident(128 * MIB):
        earlier = memory.read(model, CPU, None).peak_bytes
    memory.reset_peak(CPU)
    assert memory.read(model, CPU, None).peak_bytes < earlier - 100 * MIB
    with resident(64 * MIB):
        pass
    after = memory.read(model, CPU, None)
    assert after.peak_bytes > after.process_bytes + 50 * MIB


@contextmanager
def resident(size_bytes: int) -> Iterator[None]:
    """So much memory, which is the system's again afterwards, whatever malloc has learned to keep."""
    with mmap.mmap(-1, size_bytes) as pages:
        for place in range(0, size_bytes, mmap.PAGESIZE):
            pages[place] = 1
        yield


def test_before_cuda_has_begun_no_peak_is_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's allocator has no devices yet, and refuses."""
    reset: list[int] = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", reset.append)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    memory.reset_peak(torch.device("cuda", 0))
    assert reset == []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    memory.reset_peak(torch.device("cuda", 0))
    assert reset == [0, 1]


@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        ({"memory.max": "max", "memory.current": "1"}, None),
        (
            {
                "memory.max": str(100 * MIB),
                "memory.current": str(70 * MIB),
                "memory.stat": f"anon 1\ninactive_file {20 * MIB}\n",
            },
            (50 * MIB, 100 * MIB),
        ),
    ],
)
def test_a_containers_limit_is_the_total(
    layout: dict[str, str], expected: tuple[int, int] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = tmp_path / "outer" / "inner"
    inner.mkdir(parents=True)
    for name, text in ({"memory.stat": "anon 1\n"} | layout).items():
        (tmp_path / "outer" / name).write_text(text)
    membership = tmp_path / "cgroup"
    membership.write_text("0::/outer/inner\n")
    monkeypatch.setattr(hardware, "CGROUP_ROOT", tmp_path)
    monkeypatch.setattr(hardware, "MEMBERSHIP", membership)
    total, free, limited = hardware.host_memory()
    if expected is None:
        assert (total, limited) == (psutil.virtual_memory().total, False)
    else:
        assert (total - free, total, limited) == (*expected, True)


def test_cgroup_v1_limits_count_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "memory" / "job"
    folder.mkdir(parents=True)
    (folder / "memory.limit_in_bytes").write_text(f"{100 * MIB}\n")
    (folder / "memory.usage_in_bytes").write_text(f"{70 * MIB}\n")
    (folder / "memory.stat").write_text(f"inactive_file 0\ntotal_inactive_file {20 * MIB}\n")
    membership = tmp_path / "cgroup"
    membership.write_text("9:cpu:/\n4:memory:/job\n0::/\n")
    monkeypatch.setattr(hardware, "CGROUP_ROOT", tmp_path)
    monkeypatch.setattr(hardware, "MEMBERSHIP", membership)
    assert hardware.host_memory() == (100 * MIB, 50 * MIB, True)


def test_a_real_shortage_is_recognized_and_described() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 50, dtype=torch.uint8)
    assert memory.is_out_of_memory(caught.value)
    assert re.fullmatch(
        r"out of memory: 1048576.00 GiB requested, [\d.]+ [MG]iB free", memory.shortage(caught.value)
    )


def test_cudas_words_for_a_shortage() -> None:
    said = (
        "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 79.11 GiB of which "
        "1.25 GiB is free. Process 1 has 77.00 GiB memory in use."
    )
    error = torch.OutOfMemoryError(said)
    assert memory.is_out_of_memory(error)
    assert memory.shortage(error) == "out of memory: 2.50 GiB requested, 1.25 GiB free"


def test_other_errors_are_no_shortage() -> None:
    assert memory.is_out_of_memory(MemoryError())
    assert re.fullmatch(r"out of memory: [\d.]+ [MG]iB free", memory.shortage(MemoryError()))
    assert not memory.is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
