"""Whether a model's decode step can be a CUDA graph, known before it is tried.

A graph holds kernels: code that waits for the device to read its results cannot be in it. Owns the reasons,
in words. What no rule here covers is noticed before the capture: see `cuda_graph`.
"""

from transformers import PreTrainedModel

from engine.worker.host import bandwidth

_SYNC_FREE_EXPERTS = ("batched_mm", "grouped_mm")  # transformers' ways that count no tokens on the host
_SYNCING_ROPE = ("dynamic", "longrope")


def obstacle(model: PreTrainedModel) -> str:
    """Why the model's step cannot be captured; empty where no reason is known."""
    if len({str(parameter.device) for parameter in model.parameters()}) > 1 or _is_split(model):
        return "the model is on several devices"
    if not type(model).__module__.startswith("transformers."):
        return "the model comes with its own Python code, which may wait for the GPU"
    if any(_looks_for_outliers(module) for module in model.modules()):
        return "LLM.int8 looks for outliers in every layer, and waits for the GPU each time"
    if any(_recomputes_rotations(module) for module in model.modules()):
        return "its rotary embedding depends on the length, which has to be read from the GPU"
    if _picks_experts_on_the_host(model):
        return "its experts are chosen on the host, which waits for the GPU"
    return ""


def _is_split(model: PreTrainedModel) -> bool:
    devices = getattr(model, "hf_device_map", None) or {}
    return len({str(device) for device in devices.values()}) > 1


def _looks_for_outliers(module: object) -> bool:
    """bitsandbytes' `Linear8bitLt` with a threshold: `outliers.any()` in every matmul."""
    state = getattr(module, "state", None)
    return type(module).__name__ == "Linear8bitLt" and float(getattr(state, "threshold", 0) or 0) > 0


def _recomputes_rotations(module: object) -> bool:
    """transformers' RoPE of a kind that looks at the largest position; a layer type may have its own."""
    kinds = getattr(module, "rope_type", "")
    named = kinds.values() if isinstance(kinds, dict) else [kinds]
    return any(waiting in str(kind) for kind in named for waiting in _SYNCING_ROPE)


def _picks_experts_on_the_host(model: PreTrainedModel) -> bool:
    how = getattr(model.config.get_text_config(), "_experts_implementation", None)
    return bandwidth.has_experts(model) and how not in _SYNC_FREE_EXPERTS
