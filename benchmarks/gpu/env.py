"""What the machine is: driver, compilers, versions, and how fast its GPU copies and reads.

The engine's own quick copy should say what the long one says. The copy counts bytes read plus written.
"""

import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata

import torch

from benchmarks.gpu.settings import HAS_GPU
from engine.machine import gpu_state, hardware
from engine.worker.host import bandwidth
from engine.worker.methods import kernels
from engine.worker.step.cuda import choice

COMMANDS = (
    "nvidia-smi -L",
    "nvidia-smi --query-gpu=memory.used,memory.total,driver_version,clocks.sm,clocks.mem --format=csv",
    "nvcc --version",
    "g++ --version",
    "ninja --version",
)
PACKAGES = (
    *("torch", "triton", "transformers", "accelerate", "bitsandbytes", "gptqmodel", "torchao", "optimum"),
    *("numpy", "numba", "datasets", "tokenizers", "huggingface-hub", "textual", "nvidia-ml-py", "quantduel"),
)
TRIES = 8


def main() -> None:
    """Print it."""
    for command in COMMANDS:
        if shutil.which(command.partition(" ")[0]):
            print(f"$ {command}\n{subprocess.getoutput(command).strip()[-600:]}")
    print(sys.version, *map(version, PACKAGES), sep="\n")
    print("Marlin can be compiled:", kernels.cannot_compile() or "yes")
    print("Triton can launch:", choice.cannot_launch() or "yes")
    print(hardware.detect(), gpu_state.states(), sep="\n")
    print(gpu() if HAS_GPU else "no GPU", f"torch {torch.__version__}, CUDA {torch.version.cuda}", sep="; ")


def version(package: str) -> str:
    """As installed."""
    try:
        return f"  {package} {metadata.version(package)}"
    except metadata.PackageNotFoundError:
        return f"  {package} MISSING"


def gpu() -> str:
    """The first GPU, and bytes a second."""
    said = torch.cuda.get_device_properties(0)
    source = torch.randint(0, 255, (2 << 30,), dtype=torch.uint8, device="cuda")
    target, numbers = torch.empty_like(source), source.view(torch.float32)
    copied = 2 * source.nbytes / fastest_s(lambda: target.copy_(source))
    read = source.nbytes / fastest_s(numbers.sum)
    quick = bandwidth.quick_copy_speed(torch.device("cuda", 0)) or 0
    return (
        f"{said.name}, {said.total_memory / 2**30:.0f} GiB, {said.multi_processor_count} SMs;"
        f" copy {copied / 1e9:.0f} GB/s, by the engine {quick / 1e9:.0f} GB/s, read {read / 1e9:.0f} GB/s"
    )


def fastest_s(call: Callable[[], object]) -> float:
    """Seconds of a call on the device, the best of some."""
    times_ms = []
    for _ in range(TRIES):
        began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        began.record()
        call()
        ended.record()
        ended.synchronize()
        times_ms.append(began.elapsed_time(ended))
    return min(times_ms) / 1e3


if __name__ == "__main__":
    main()
