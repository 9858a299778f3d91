"""Which of GPTQModel's kernels multiply with packed weights on an NVIDIA GPU: a table, and its order. Pure.

The fastest comes first. What a kernel takes is what GPTQModel's classes say of themselves (7.6.0; a test
holds the table against them). Knows no torch, and not whether a kernel can be compiled here.
"""

from dataclasses import dataclass

from engine.config.layouts import Layout

AWQ_GROUPS = (-1, 16, 32, 64, 128)
GPTQ_GROUPS = (*AWQ_GROUPS, 256, 512, 1024)
MARLIN_GROUPS = (-1, 32, 64, 128)
HALVES = ("bfloat16", "float16")  # no kernel for packed weights computes in float32 on a GPU


@dataclass(frozen=True, slots=True)
class GpuKernel:
    """A backend of GPTQModel and what it takes."""

    backend: str
    bits: tuple[int, ...]
    groups: tuple[int, ...]
    dtypes: tuple[str, ...] = HALVES
    is_symmetric_only: bool = False
    capability: tuple[int, int] = (0, 0)
    """The least CUDA compute capability."""
    is_compiled_here: bool = False
    """Whether it comes as CUDA source, compiled once on a machine, in minutes."""

    def takes(self, layout: Layout, dtype: str, capability: tuple[int, int]) -> bool:
        """Whether it multiplies with weights packed like this, in this dtype, on such a GPU."""
        return (
            layout.bits in self.bits
            and layout.group_size in self.groups
            and dtype in self.dtypes
            and (layout.sym or not self.is_symmetric_only)
            and capability >= self.capability
        )


KERNELS = {
    "gptq": (
        GpuKernel(
            "gptq_marlin",
            bits=(4, 8),
            groups=MARLIN_GROUPS,
            is_symmetric_only=True,
            capability=(7, 5),
            is_compiled_here=True,
        ),
        GpuKernel("gptq_triton", bits=(2, 4, 8), groups=GPTQ_GROUPS),
        GpuKernel("gptq_torch", bits=(2, 3, 4, 5, 6, 7, 8), groups=GPTQ_GROUPS),
    ),
    "awq": (
        GpuKernel("awq_marlin", (4, 8), MARLIN_GROUPS, capability=(8, 0), is_compiled_here=True),
        GpuKernel("awq_gemm_triton", bits=(4,), groups=MARLIN_GROUPS, dtypes=("float16",)),
        GpuKernel("awq_torch", bits=(2, 3, 4, 5, 6, 7, 8), groups=AWQ_GROUPS),
    ),
}


def candidates(layout: Layout, dtype: str, capability: tuple[int, int]) -> tuple[GpuKernel, ...]:
    """Every kernel that takes this, the fastest first; none where no kernel does."""
    return tuple(kernel for kernel in KERNELS[layout.method] if kernel.takes(layout, dtype, capability))
