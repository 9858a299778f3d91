"""What a model and a request really hold, in bytes: weights, KV cache, peak, process, device.

On CUDA the allocator and the driver are asked, on a CPU the kernel. Must not know requests or the wire.
"""

import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path

import psutil
import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from engine.machine import nvidia
from engine.machine.hardware import host_memory
from engine.protocol.model import Memory, Weights
from engine.units import bytes_text, parse_bytes
from engine.worker.host import memory_limit

_PROC = Path("/proc/self")
_resident_at_reset: list[int] = []  # bytes, where the peak could be reset; empty before
_EXHAUSTED = re.compile(
    r"DefaultCPUAllocator: (can't allocate|not enough) memory|Cannot allocate memory|std::bad_alloc"
    r"|CUDA out of memory|CUDA error: out of memory|CUBLAS_STATUS_ALLOC_FAILED"
)
_ASKED = re.compile(r"(?:allocate|mmap):? ([\d.]+) ?([KMGT]iB|bytes|B)\b")


def weights(model: nn.Module) -> Weights:
    """Bytes of parameters and buffers as stored, and of the scales and code books of quantized layers.

    A tensor used twice counts once; an output head tied to the embedding counts as embedding.
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
    total, free, _ = host_memory()
    peak_bytes, began_at = peak_resident(), _resident_at_reset[-1:]
    return Memory(
        weights_bytes=weights_bytes,
        kv_cache_bytes=kv_cache_bytes,
        peak_bytes=peak_bytes,
        activations_bytes=max(0, peak_bytes - began_at[0] - kv_cache_bytes) if began_at else None,
        process_bytes=psutil.Process().memory_info().rss,
        device_used_bytes=total - free,
        device_total_bytes=total,
        process_source="resident set",
    )


def reset_peak(device: torch.device) -> None:
    """Reset the peak: the allocator's on CUDA, the resident set's (VmHWM) on a CPU.

    Where the kernel refuses (Linux before 4.0, some sandboxes) a CPU's peak stays that of the whole process.
    """
    if device.type == "cuda":
        if torch.cuda.is_initialized():  # before, there is no peak, and the allocator raises
            for index in range(torch.cuda.device_count()):
                torch.cuda.reset_peak_memory_stats(index)
        return
    try:
        (_PROC / "clear_refs").write_text("5")  # proc(5): resets VmHWM to the current resident set
    except OSError:
        return
    _resident_at_reset[:] = [psutil.Process().memory_info().rss]


def is_wanted_by_others() -> bool:
    """Whether a GPU has less memory free than this process reserves there without using it."""
    return any(
        _unused_bytes(gpu) > torch.cuda.mem_get_info(gpu)[0] for gpu in range(torch.cuda.device_count())
    )


def _unused_bytes(gpu: int) -> int:
    return torch.cuda.memory_reserved(gpu) - torch.cuda.memory_allocated(gpu)


def cache_bytes(cache: DynamicCache | None) -> int:
    """Bytes allocated for keys and values, and for the states that recurrent layers keep instead."""
    layers = cache.layers if cache is not None else ()
    tensors = [tensor for layer in layers for tensor in layer_tensors(layer)]
    storages = {storage.data_ptr(): storage.nbytes() for storage in map(Tensor.untyped_storage, tensors)}
    return sum(storages.values())


def layer_tensors(layer: object) -> list[Tensor]:
    """What a layer of a cache keeps: keys and values, with their scales, or states by number."""
    values = [
        each
        for value in vars(layer).values()
        for each in (value.values() if isinstance(value, dict) else [value])
    ]
    scales = getattr(layer, "scales", None)
    kept = [value for value in values if isinstance(value, Tensor) and value.numel() > 1]  # one is a counter
    return kept + (layer_tensors(scales) if scales is not None else [])


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, in any of the ways Python, the CPU allocator and CUDA say so."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    causes = (error, error.__cause__, error.__context__)  # an import that runs out of memory wraps it
    return any(cause is not None and bool(_EXHAUSTED.search(str(cause))) for cause in causes)


def shortage(error: BaseException) -> str:
    """One line on what was requested and what was free: the error's own figures, or this host's now."""
    said = str(error)
    asked = _ASKED.search(said)
    free = re.search(r"of which ([\d.]+ [KMGT]iB) is free", said)
    parts = [f"{bytes_text(_bytes(asked))} requested"] if asked else []
    if free or "CUDA" not in said:
        parts.append(f"{free[1] if free else bytes_text(memory_limit.free_bytes())} free")
    if (allowed := memory_limit.in_force()) and not free:
        parts[-1] += f" of the {bytes_text(allowed)} allowed"
    return "out of memory" + (f": {', '.join(parts)}" if parts else "")


def _bytes(asked: re.Match[str]) -> int:
    return int(float(asked[1])) if asked[2] == "bytes" else parse_bytes(f"{asked[1]}{asked[2]}")


def _address(tensor: Tensor) -> int:
    """Of its data; an opaque oneDNN tensor has no address, and is nobody's view."""
    return id(tensor) if tensor.is_mkldnn else tensor.data_ptr()


def _parts(model: nn.Module) -> dict[nn.Module, str]:
    """What each module is; modules inside a linear layer are part of it."""
    parts: dict[nn.Module, str] = {}
    for module in model.modules():  # parents first
        parts.setdefault(module, _part(module))
        if parts[module] == "linear":
            parts.update(dict.fromkeys(module.modules(), "linear"))
    return parts


def _part(module: nn.Module) -> str:
    if isinstance(module, nn.Embedding) or hasattr(module, "num_embeddings"):
        return "embedding"
    has_sides = hasattr(module, "in_features") and hasattr(module, "out_features")
    return "linear" if has_sides or isinstance(module, Conv1D) else "other"


def _held(module: nn.Module) -> Iterator[Tensor]:
    """Every tensor that belongs to the module itself."""
    for parameter in module.parameters(recurse=False):
        yield from _inside(parameter)
    yield from module.buffers(recurse=False)
    if held := getattr(module, "held_tensors", None):  # of modules that share them with others
        yield from held()
    weight = getattr(module, "weight", None)
    state_4bit = getattr(weight, "quant_state", None)
    for holder in (weight, getattr(module, "state", None), state_4bit, getattr(state_4bit, "state2", None)):
        for name in ("CB", "SCB", "absmax", "code", "offset"):  # bitsandbytes: LLM.int8, then 4-bit
            if isinstance(tensor := getattr(holder, name, None), Tensor):
                yield tensor


def _inside(tensor: Tensor) -> Iterator[Tensor]:
    """The tensors that another package's tensor is made of, as torchao's; a plain one itself."""
    if not hasattr(tensor, "__tensor_flatten__"):
        yield tensor
        return
    names, _ = tensor.__tensor_flatten__()
    for name in names:
        yield from _inside(getattr(tensor, name))


def peak_resident() -> int:
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
    peak_bytes = sum(torch.cuda.max_memory_allocated(gpu) for gpu in gpus)
    reserved_bytes = sum(torch.cuda.memory_reserved(gpu) for gpu in gpus)
    return Memory(
        weights_bytes=weights_bytes,
        kv_cache_bytes=kv_cache_bytes,
        peak_bytes=peak_bytes,
        activations_bytes=max(0, peak_bytes - weights_bytes - kv_cache_bytes),
        reserved_bytes=reserved_bytes,
        process_bytes=reserved_bytes if hidden else sum(known),
        device_used_bytes=sum(total - free for free, total in free_and_total),
        device_total_bytes=sum(total for _, total in free_and_total),
        process_source="allocator" if hidden else "NVML",
    )


def _driver_process_bytes(gpu: int) -> int | None:
    """This process's bytes on a GPU, as the driver reports them; None where they are hidden."""
    import pynvml

    try:
        with nvidia.driver() as nvml:
            processes = nvml.nvmlDeviceGetComputeRunningProcesses(nvidia.devices(nvml)[gpu].handle)
    except (pynvml.NVMLError, IndexError):
        return None
    return next((process.usedGpuMemory for process in processes if process.pid == os.getpid()), None)
