"""The quantization methods a profile can name: one struct each, with its own options.

Knows nothing of torch: how a method loads a model is in `engine/worker/methods/<tag>.py`.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from engine.config.texts import Calibration

BITSANDBYTES_BLOCK = 64  # weights that share one absmax value
DOUBLE_QUANT_BLOCK = 256  # absmax values that share one second-level constant
DEFAULT_BACKEND = "gptqmodel"
USUAL_CACHE = 8192  # tokens, of llama.cpp where nothing is said
USUAL_GROUP_SIZE = 128  # of published GPTQ and AWQ checkpoints
SHORT_DTYPES = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}

StoredAs = Literal["gptq", "compressed-tensors"]
GroupSize = Literal[-1, 16, 32, 64, 128]


class _Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="method"):
    """What every method's options have in common."""


class Full(_Options, frozen=True, tag="full"):
    """No quantization: the weights in `model.dtype`."""

    def label(self, dtype: str) -> str:
        """The badge of a profile, such as `bf16`."""
        return SHORT_DTYPES.get(dtype, dtype)


class BitsAndBytes(_Options, frozen=True, tag="bitsandbytes"):
    """bitsandbytes on load: LLM.int8 (`bits: 8`), or NF4 and FP4 (`bits: 4`)."""

    bits: Literal[4, 8] = 4
    quant_type: Literal["nf4", "fp4"] | None = None
    """The 4-bit code book; nf4 where nothing is said."""
    double_quant: bool | None = None
    """Quantize the 4-bit scales as well: saves 0.37 bits per weight."""
    threshold: Annotated[float, Meta(ge=0)] | None = None
    """LLM.int8 keeps columns with activations above this in 16 bits; 6.0 where nothing is said, 0 is off."""

    def __post_init__(self) -> None:
        if self.bits == 8 and (self.quant_type is not None or self.double_quant is not None):
            raise ValueError("quant_type and double_quant go with `bits: 4`, not with `bits: 8`")
        if self.bits == 4 and self.threshold is not None:
            raise ValueError("threshold goes with `bits: 8`, not with `bits: 4`")

    def label(self, dtype: str) -> str:
        """The badge of a profile, such as `nf4`."""
        if self.bits == 8:
            return "int8"
        return (self.quant_type or "nf4") + ("+dq" if self.double_quant else "")


class Fp8(_Options, frozen=True, tag="fp8"):
    """FP8 (e4m3): 8-bit floats with one scale a row of weights, and one a token of activations.

    Activations are rounded on GPUs of compute capability 8.9 and more, which multiply FP8 themselves.
    Elsewhere the same weights are dequantized a matrix at a time, and the badge says `fp8-w8a16`.
    """

    def label(self, dtype: str) -> str:
        """The badge of a profile."""
        return "fp8"


class Gguf(_Options, frozen=True, tag="gguf"):
    """A GGUF file read through transformers, which dequantizes the weights to `model.dtype` on load."""

    def label(self, dtype: str) -> str:
        """The badge of a profile."""
        return "gguf"


class LlamaCpp(_Options, frozen=True, tag="llama_cpp"):
    """A GGUF file as it is, its weights packed, in llama.cpp: through xllamacpp, on the CPU."""

    context: Annotated[int, Meta(ge=16, le=1 << 24)] | None = None
    """Tokens that the cache holds, allocated at load; left out, the model's own, 8192 at most."""

    def cache_tokens(self, context_length: int) -> int:
        """For a model that was made for texts of this length; 0 is not known."""
        return self.context or min(context_length or USUAL_CACHE, USUAL_CACHE)

    def label(self, dtype: str) -> str:
        """The badge of a profile; the loaded model knows which quantization its file has."""
        return "llama.cpp"


class Stored(_Options, frozen=True, tag="stored"):
    """As the checkpoint is: by its own `quantization_config`, or in full precision where it has none."""

    def label(self, dtype: str) -> str:
        """The badge of a profile before it is loaded; the loaded model knows better."""
        return SHORT_DTYPES.get(dtype, "as stored")


class _Grouped(_Options, frozen=True):
    """Weights as integers with one scale and one zero point for every `group_size` of a row."""

    group_size: GroupSize = 128
    """Weights that share one scale; it must divide every layer's width. -1 is a whole row."""

    def _label(self, name: str, bits: int, format: StoredAs = "gptq") -> str:
        said = f"{name}{bits}" if format == "gptq" else f"{name}-w{bits}a16"
        group = "" if self.group_size == USUAL_GROUP_SIZE else f"-g{self.group_size}"
        return f"{said}{group.replace('-g-1', '-row')}"


def _require_storable(format: StoredAs, bits: int) -> None:
    """ValueError where compressed-tensors has no such words."""
    if format == "compressed-tensors" and bits not in {4, 8}:
        raise ValueError("format: compressed-tensors goes with `bits: 4` and `bits: 8`")


class Rtn(_Grouped, frozen=True, tag="rtn"):
    """Round to nearest: no calibration, in seconds. Stored as GPTQ stores: only the rounding differs."""

    bits: Literal[2, 3, 4, 8] = 4
    sym: bool = True
    """Symmetric around zero."""
    format: StoredAs = "gptq"
    """How it is stored: GPTQ's layout, or compressed-tensors' W4A16 and W8A16, the same integers."""

    def __post_init__(self) -> None:
        _require_storable(self.format, self.bits)

    def label(self, dtype: str) -> str:
        """The badge of a profile, such as `rtn4`."""
        return self._label("rtn", self.bits, self.format)


class Gptq(_Grouped, frozen=True, tag="gptq"):
    """GPTQ: rounds column by column and makes up for each error in the columns that follow."""

    bits: Literal[2, 3, 4, 8] = 4
    sym: bool = True
    """Symmetric around zero."""
    desc_act: bool = False
    """Most active columns first, over the whole row: better at 2 and 3 bits, slower to run."""
    damp_percent: Annotated[float, Meta(gt=0, lt=1)] = 0.05
    """Share of the Hessian's mean diagonal that is added to its diagonal."""
    calibration: Calibration = Calibration()
    backend: Literal["gptqmodel", "auto-gptq"] = "gptqmodel"
    """Whose code quantizes and runs it; `auto-gptq`'s, the original, has an environment of its own."""
    format: StoredAs = "gptq"
    """How it is stored: GPTQ's layout, or compressed-tensors' W4A16 and W8A16, the same integers."""

    def __post_init__(self) -> None:
        _require_storable(self.format, self.bits)
        if self.format != "gptq" and (self.desc_act or self.backend != DEFAULT_BACKEND):
            raise ValueError("format: compressed-tensors needs `desc_act: false` and `backend: gptqmodel`")

    def label(self, dtype: str) -> str:
        """The badge of a profile, such as `gptq4`, or `gptq-w4a16` as compressed-tensors has it."""
        name = self._label("gptq", self.bits, self.format)
        return name + ("-act" if self.desc_act else "") + _original(self.backend)


class Awq(_Grouped, frozen=True, tag="awq"):
    """AWQ: scales the channels that see large activations before rounding them to nearest."""

    bits: Literal[4] = 4
    zero_point: bool = True
    """Asymmetric, as AWQ's checkpoints usually are."""
    version: Literal["GEMM"] = "GEMM"
    """The layout of the packed weights."""
    calibration: Calibration = Calibration()
    backend: Literal["gptqmodel", "autoawq"] = "gptqmodel"
    """Whose code quantizes and runs it; `autoawq`'s, the original, has an environment of its own."""

    def __post_init__(self) -> None:
        if self.backend == "autoawq" and not self.zero_point:
            raise ValueError("zero_point: autoawq packs nothing without zero points")
        if self.backend == "autoawq" and self.group_size == -1:
            raise ValueError("group_size: autoawq packs no whole rows; choose 128, 64 or 32")

    def label(self, dtype: str) -> str:
        """The badge of a profile, such as `awq4`."""
        return self._label("awq", self.bits) + _original(self.backend)


class AutoRound(_Grouped, frozen=True, tag="autoround"):
    """AutoRound: learns by gradients which weights are rounded up or down, and each group's range.

    Layer by layer, on a calibration text. Stored as GPTQ stores: only the rounding differs.
    """

    bits: Literal[2, 3, 4, 8] = 4
    sym: bool = True
    """Symmetric around zero."""
    iters: Annotated[int, Meta(ge=1, le=10_000)] = 200
    """Steps of the search, for each layer: time grows with it."""
    seed: Annotated[int, Meta(ge=0, le=2**32 - 1)] = 42
    """Of the order in which the search takes the samples."""
    calibration: Calibration = Calibration()

    def __post_init__(self) -> None:
        if not self.sym and self.bits not in {2, 4}:
            raise ValueError("sym: false goes with `bits: 2` and `bits: 4`")

    def label(self, dtype: str) -> str:
        """The badge of a profile, such as `autoround4`."""
        return self._label("autoround", self.bits)


Calibrated = Gptq | Awq | AutoRound  # what reads a calibration text
Checkpointed = Rtn | Calibrated  # quantized once into a checkpoint of their own, and kept
Savable = Checkpointed | BitsAndBytes | Fp8  # `quantduel quantize` makes a checkpoint of these
Method = Full | BitsAndBytes | Fp8 | Checkpointed | Gguf | LlamaCpp | Stored
METHODS: tuple[type[Method], ...] = (
    Full,
    BitsAndBytes,
    Fp8,
    Rtn,
    Gptq,
    Awq,
    AutoRound,
    Gguf,
    LlamaCpp,
    Stored,
)


def original(method: Method) -> str:
    """The original package that does a method's work, in an environment of that name; empty for none."""
    backend = method.backend if isinstance(method, Gptq | Awq) else DEFAULT_BACKEND
    return "" if backend == DEFAULT_BACKEND else backend


def _original(backend: str) -> str:
    """What a badge says of it."""
    return "" if backend == DEFAULT_BACKEND else "-original"


def tag(method: Method) -> str:
    """The name a method has in a profile and as a file below `engine/worker/methods/`."""
    return str(type(method).__struct_config__.tag)
