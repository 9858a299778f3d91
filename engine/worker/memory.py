"""What a model and a request really hold, in bytes: weights, KV cache, peak, process, device.

On CUDA the allocator and the driver are asked, on a CPU the kernel. Must not know requests or the wire.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import psutil
import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from engine.protocol import Memory, Weights
from engine.worker.host_memory import host_memory
from engine.worker.packed_linear import PackedLinear

_PROC = Path("/proc/self")
_EXHAUSTED = re.compile(
    r"DefaultCPUAllocator: (can't allocate|not enough) memory"
    r"|CUDA out of memory|CUDA error: out of memory|CUBLAS_STATUS_ALLOC_FAILED"
)


def weights(model: nn.Module) -> Weights:
    """Bytes of parameters and buffers as stored, and of the scales and code books of quantized layers.

    A tensor held twice counts once; an output head tied to the embedding counts as embedding.
    """
    counted: set[tuple[str, int]] = set()
    sums = {"embedding": 0, "linear": 0, "other": 0}
    order = list(sums)  # embeddings claim first
    parts = _parts(model)
    for module in sorted(parts, key=lambda module: order.index(parts[module])):
        for tensor in _held(module):
            place = (str(tensor.device), _address(tensor))
            if tensor.nbytes and place not in counted:
                counted.add(place)
                sums[parts[module]] += tensor.nbytes
    return Weights(**{f"{part}_bytes": size for part, size in sums.items()})


def read(model: PreTrainedModel, device: torch.device, cache: DynamicCache | None) -> Memory:
    """What is in use now; the peak is since the last `reset_peak`. Several GPUs count as one."""
    weights_bytes, kv_cache_bytes = weights(model).total_bytes, cache_bytes(cache)
    if device.type == "cuda":
        gpus = sorted({tensor.device.index for tensor in model.parameters() if tensor.is_cuda})
        return _read_cuda(gpus, weights_bytes, kv_cache_bytes)
    used, total = host_memory()
    return Memory(
        weights_bytes=weights_bytes,
        kv_cache_bytes=kv_cache_bytes,
        peak_bytes=_peak_resident(),
        process_bytes=psutil.Process().memory_info().rss,
        device_used_bytes=used,
        device_total_bytes=total,
        process_source="resident set",
    )


def reset_peak(device: torch.device) -> None:
    """Let the peak begin anew: the allocator's on CUDA, the resident set's (VmHWM) on a CPU.

    Where the kernel refuses (Linux before 4.0, some sandboxes) a CPU's peak stays that of the whole process.
    """
    if device.type == "cuda":
        for index in range(torch.cuda.device_count()):
            torch.cuda.reset_peak_memory_stats(index)
        return
    try:
        (_PROC / "clear_refs").write_text("5")  # proc(5): resets VmHWM to the current resident set
    except OSError:
        return


def cache_bytes(cache: DynamicCache | None) -> int:
    """Bytes allocated for keys and values, and for the states that recurrent layers keep instead."""
    layers = cache.layers if cache is not None else ()
    tensors = [value for layer in layers for value in vars(layer).values() if isinstance(value, Tensor)]
    storages = {storage.data_ptr(): storage.nbytes() for storage in map(Tensor.untyped_storage, tensors)}
    return sum(storages.values())


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, in any of the ways Python, the CPU allocator and CUDA say so."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and bool(_EXHAUSTED.search(str(error)))


def shortage(error: BaseException) -> str:
    """One line on what was asked for and what was free, as far as the error says."""
    said = str(error)
    asked = re.search(r"[Tt]ried to allocate ([\d.]+ (?:[KMGT]iB|bytes))", said)
    free = re.search(r"of which ([\d.]+ [KMGT]iB) is free", said)
    parts = [f"{asked[1]} asked for" if asked else "", f"{free[1]} free" if free else ""]
    return ": ".join(("out of memory", ", ".join(filter(None, parts)))) if any(parts) else "out of memory"


def _address(tensor: Tensor) -> int:
    """Of its data; a packed tensor, which keeps that to itself, is nobody's view."""
    return id(tensor) if tensor.is_mkldnn else tensor.data_ptr()


def _parts(model: nn.Module) -> dict[nn.Module, str]:
    """What each module is; what lies inside a linear layer is part of it."""
    parts: dict[nn.Module, str] = {}
    for module in model.modules():  # parents first
        parts.setdefault(module, _part(module))
        if parts[module] == "linear":
            parts.update(dict.fromkeys(module.modules(), "linear"))
    return parts


def _part(module: nn.Module) -> str:
    if isinstance(module, nn.Embedding):
        return "embedding"
    is_linear = isinstance(module, nn.Linear | Conv1D | PackedLinear) or hasattr(module, "qweight")
    return "linear" if is_linear else "other"


def _held(module: nn.Module) -> Iterator[Tensor]:
    """Every tensor a module itself keeps."""
    yield from module.parameters(recurse=False)
    yield from module.buffers(recurse=False)
    if isinstance(module, PackedLinear):
        yield from (part for part in (module.packed.tensor, module.packed.bias) if part is not None)
    weight = getattr(module, "weight", None)
    state_4bit = getattr(weight, "quant_state", None)
    for holder in (weight, getattr(module, "state", None), state_4bit, getattr(state_4bit, "state2", None)):
        for name in ("CB", "SCB", "absmax", "code", "offset"):  # bitsandbytes: LLM.int8, then 4-bit
            if isinstance(tensor := getattr(holder, name, None), Tensor):
                yield tensor


def _peak_resident() -> int:
    """VmHWM in bytes."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", (_PROC / "status").read_text())
    except OSError:
        found = None
    return int(found[1]) * 1024 if found else psutil.Process().memory_info().rss


def _read_cuda(gpus: list[int], weights_bytes: int, kv_cache_bytes: int) -> Memory:
    free_and_total = [torch.cuda.mem_get_info(gpu) for gpu in gpus]
    driver_says = [_driver_process_bytes(gpu) for gpu in gpus]
    known = [size for size in driver_says if size is not None]
    hidden = len(known) < len(gpus)
    return Memory(
        weights_bytes=weights_bytes,
        kv_cache_bytes=kv_cache_bytes,
        peak_bytes=sum(torch.cuda.max_memory_allocated(gpu) for gpu in gpus),
        process_bytes=sum(torch.cuda.memory_reserved(gpu) for gpu in gpus) if hidden else sum(known),
        device_used_bytes=sum(total - free for free, total in free_and_total),
        device_total_bytes=sum(total for _, total in free_and_total),
        process_source="allocator" if hidden else "NVML",
    )


def _driver_process_bytes(gpu: int) -> int | None:
    """This process's bytes on a GPU by the driver; None where a container or the driver hides them."""
    import pynvml

    try:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(gpu).uuid}")
        processes = pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
    except pynvml.NVMLError:
        return None
    return next((process.usedGpuMemory for process in processes if process.pid == os.getpid()), None)
