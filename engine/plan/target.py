"""What decides on a layout, and on libraries, besides the method: device, dtype, processor. Plain data."""

from dataclasses import dataclass

from engine.config.runtime import VECTOR_FLAG, CacheDtype, Linear, StepKind
from engine.shape.model_shape import DTYPE_BYTES


@dataclass(frozen=True, slots=True)
class Target:
    """What decides on a layout besides the method."""

    device: str
    dtype: str
    flags: tuple[str, ...] = ()
    """The processor's instruction sets."""
    step: StepKind = "forward"
    """What decodes."""
    held: Linear = "plain"
    """How a CPU holds the linear layers."""
    held_anew: bool = False
    """Whether a GPU holds packed weights in four bits that the engine's kernels read."""
    cache: CacheDtype = "auto"
    """How keys and values are held."""
    is_original: bool = False
    """Whether AutoAWQ or AutoGPTQ runs it, which hold packed weights as the file does."""
    torch_has_cuda: bool = False
    """Whether torch is a build for CUDA."""

    @property
    def element_bytes(self) -> int:
        """Of a weight that is not quantized."""
        return DTYPE_BYTES[self.dtype]

    @property
    def is_native(self) -> bool:
        """Whether a step of the engine's own decodes on a CPU, which holds nothing but weights and scales."""
        return self.on_cpu and self.step != "forward"

    @property
    def is_compiled(self) -> bool:
        """Whether that step is the compiled one."""
        return self.on_cpu and self.step == "compiled"

    @property
    def has_vectors(self) -> bool:
        """Whether the processor multiplies bf16; bitsandbytes repacks its 4-bit scales on these."""
        return self.on_cpu and VECTOR_FLAG in self.flags

    @property
    def device_type(self) -> str:
        """`cpu` or `cuda`."""
        return "cpu" if self.on_cpu else "cuda"

    @property
    def on_cpu(self) -> bool:
        """Whether the model is held in the host's memory."""
        return self.device == "cpu"
