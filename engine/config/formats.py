"""Which formats of quantized checkpoints are read, by the `quant_method` that a folder names. Knows no torch.

Owns the table: read with their packed weights, dequantized while they are read, through a package, or not at
all. docs/methods.md has it as a table for people; a test holds it against transformers' own list.
"""

from importlib.util import find_spec

from engine.errors import LoadError

SERVED = "a server that runs it (vLLM, say) can be the side instead: `model.source: http://HOST:PORT/v1`"

READ = {"gptq", "awq", "bitsandbytes", "compressed-tensors", "auto-round", "bitnet", "gemma", "gguf"}
"""By the engine, or by transformers without another package."""
DEQUANTIZED = {"fp8": "FP8 in blocks", "mxfp8": "MXFP8", "mxfp4": "MXFP4"}
"""Read by transformers, whose kernels for them come with the package `kernels`; else in full precision."""
PACKAGES = {
    "torchao": "torchao",
    "aqlm": "aqlm",
    "eetq": "kernels",
    "fbgemm_fp8": "fbgemm_gpu",
    "fouroversix": "fouroversix",
    "fp_quant": "fp_quant",
    "higgs": "flute",
    "hqq": "hqq",
    "metal": "kernels",
    "quanto": "optimum",
    "quark": "quark",
    "sinq": "sinq",
    "spqr": "spqr_quant",
    "vptq": "vptq",
}
"""Read by transformers through this package, most of them on a GPU alone."""
REFUSED = {
    "nvfp4": "transformers reads no stored NVFP4",
    "modelopt": "ModelOpt's folders are made for TensorRT-LLM and vLLM",
    "exl2": "ExLlamaV2's layout needs its own program",
    "exl3": "ExLlamaV3's layout needs its own program",
}


def note(how: str) -> str:
    """What a side says that holds such a folder in full precision."""
    held = "memory and speed are those of full precision"
    return f"{DEQUANTIZED[how]}: dequantized on load, for want of kernels for it; {held}"


def require(name: str, how: str) -> None:
    """LoadError, in a line, for a format that nothing here reads."""
    if how in READ or how in DEQUANTIZED:
        return
    if why := REFUSED.get(how):
        raise LoadError(f"{name} is quantized with {how}: {why}", SERVED)
    package = PACKAGES.get(how)
    if package is None:
        named = how or "an unnamed method"
        raise LoadError(f"{name} is quantized with {named}, which transformers cannot read", SERVED)
    if find_spec(package) is None:
        raise LoadError(f"{name} is quantized with {how}, and {package} is not installed", SERVED)
