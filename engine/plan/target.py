"""What decides on a layout beside the method: device, dtype, processor. Plain data."""

from dataclasses import dataclass

from engine.shape.model_shape import DTYPE_BYTES

BF16_FLAG = "avx512_bf16"  # of processors that multiply bf16; bitsandbytes repacks its 4-bit scales on them


@dataclass(frozen=True, slots=True)
class Target:
    """What decides on a layout beside the method."""

    device: str
    dtype: str
    flags: tuple[str, ...] = ()
    """The processor's instruction sets."""
    is_lean: bool = False
    """Whether the engine's own decode step runs it on a CPU, which holds nothing but weights and scales."""

    @property
    def element_bytes(self) -> int:
        """Of a weight that is not quantized."""
        return DTYPE_BYTES[self.dtype]

    @property
    def is_compiled(self) -> bool:
        """Whether that step is a compiled one."""
        return self.is_lean and self.dtype == "bfloat16"

    @property
    def has_nibbles(self) -> bool:
        """Whether it multiplies with 4-bit weights, and prompts with these widened."""
        return self.is_compiled and BF16_FLAG in self.flags

    @property
    def on_cpu(self) -> bool:
        """Whether the model is held in the host's memory."""
        return self.device == "cpu"
