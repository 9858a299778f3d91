"""Memory traffic: the bytes that a decode step must read, and how fast the device copies.

The first is arithmetic, the second a measurement. Must not know requests.
"""

import time
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import Cache, PreTrainedModel

from engine.config.runtime import COPY_BUFFER_BYTES
from engine.worker.host import memory

MIB, GIB = 1 << 20, 1 << 30
COPIES = 5
IN_A_ROW = 4  # copies that a GPU is timed with
_EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts")
_CPU_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")


def step_bytes(model: PreTrainedModel, cache: Cache, batch: int, length: int) -> int | None:
    """Bytes of weights and cache that one decode step of a batch reads, at `length` tokens a sequence.

    None for a mixture of experts: which weights are read depends on the tokens.
    """
    if has_experts(model):
        return None
    return weights_read_bytes(model, batch) + sum(_layer_bytes(layer, length) for layer in cache.layers)


def has_experts(model: PreTrainedModel) -> bool:
    """Whether tokens choose which weights are used for them."""
    config = model.config.get_text_config()
    return any(getattr(config, name, 0) for name in _EXPERTS)


def weights_read_bytes(model: PreTrainedModel, batch: int) -> int:
    """All weights; but of an embedding only one row per sequence, unless its table is the output head too."""
    head = getattr(model.get_output_embeddings(), "weight", None)
    tables = {
        module.weight.data_ptr(): module.weight
        for module in model.modules()
        if isinstance(module, nn.Embedding)
    }
    if isinstance(head, Tensor):
        tables.pop(head.data_ptr(), None)
    unread = sum(table.nbytes - batch * table[0].nbytes for table in tables.values())
    return memory.weights(model).total_bytes - unread


def copy_speed(device: torch.device) -> tuple[int, tuple[float, ...]]:
    """A buffer's bytes, and how many a second were read plus written, for each of several copies.

    The buffer is far larger than the device's caches. One copy before them touches every page.
    """
    size = (
        _gpu_size(device)
        if device.type == "cuda"
        else min(GIB, max(256 * MIB, 4 * _last_level_cache_bytes()))
    )
    source = torch.ones(size, dtype=torch.uint8, device=device)
    target = source.clone()
    return size, tuple(2 * size / _copy_s(source, target) for _ in range(COPIES))


def quick_copy_speed(device: torch.device) -> float | None:
    """The best of some copies within 0.1 s, on a CPU of a smaller buffer; None without memory for it.

    On a GPU its memory is freed, and the peak is reset.
    """
    try:
        return _best_copy(device)
    finally:
        if device.type == "cuda":
            torch.cuda.empty_cache()
            memory.reset_peak(device)


def _best_copy(device: torch.device) -> float | None:
    size = _gpu_size(device) if device.type == "cuda" else _quick_size()
    try:
        source = torch.ones(size, dtype=torch.uint8, device=device)
        target = source.clone()
    except (RuntimeError, MemoryError) as error:
        if memory.is_out_of_memory(error):
            return None
        raise
    return max(2 * size / _copy_s(source, target) for _ in range(COPIES))


def _quick_size() -> int:
    """Twice the last-level cache, within limits."""
    return min(4 * COPY_BUFFER_BYTES, max(COPY_BUFFER_BYTES, 2 * _last_level_cache_bytes()))


def _gpu_size(device: torch.device) -> int:
    """Far larger than its caches, and no more than a quarter of what is free: there are two such buffers."""
    free, _ = torch.cuda.mem_get_info(device)
    return max(MIB, min(GIB, free // 4))


def _copy_s(source: Tensor, target: Tensor) -> float:
    if source.is_cuda:
        return _gpu_copy_s(source, target)
    started_ns = time.monotonic_ns()
    target.copy_(source)
    return (time.monotonic_ns() - started_ns) / 1e9


def _gpu_copy_s(source: Tensor, target: Tensor) -> float:
    """One of several in a row, by the device's clock: without the launch and the wait."""
    with torch.cuda.device(source.device):
        began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        began.record()
        for _ in range(IN_A_ROW):
            target.copy_(source)
        ended.record()
        ended.synchronize()
    return float(began.elapsed_time(ended)) / 1e3 / IN_A_ROW


def _last_level_cache_bytes() -> int:
    """The processor's; 0 where the kernel does not report it."""
    sizes = [file.read_text().strip() for file in _CPU_CACHES.glob("index*/size")]
    return max((int(size[:-1]) << 10 for size in sizes if size.endswith("K")), default=0)


def _layer_bytes(layer: object, length: int) -> int:
    """Keys, values and scales of `length` tokens, or of a shorter window; a recurrent state whole."""
    keys, values = getattr(layer, "keys", None), getattr(layer, "values", None)
    if not isinstance(keys, Tensor) or not isinstance(values, Tensor):
        return sum(tensor.nbytes for tensor in memory.layer_tensors(layer))
    window = getattr(layer, "sliding_window", None) or length
    scales = getattr(layer, "scales", None)
    held = (keys.nbytes + values.nbytes) // max(1, keys.shape[-2]) * min(length, window)
    return held + (_layer_bytes(scales, length) if scales is not None else 0)
