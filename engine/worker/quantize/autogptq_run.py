"""Quantizing with AutoGPTQ: its source model, the run itself, and what it writes.

Owns the mends that a run without CUDA needs. The package itself is `methods/autogptq`'s.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from engine.config.methods import Gptq
from engine.errors import LoadError
from engine.shape.weight_files import WEIGHTS
from engine.worker.checkpoints.checkpoint import Checkpoint
from engine.worker.checkpoints.placement import Placement, on_host
from engine.worker.methods import autogptq
from engine.worker.quantize.progress import LayerProgress
from engine.worker.replaced import replaced

SETTINGS = "quantize_config.json"


def source(checkpoint: Checkpoint, method: Gptq, placement: Placement) -> Any:
    """The full-precision model, on the CPU, in the class that AutoGPTQ has for it.

    Its own `from_pretrained` refuses to work where there is no CUDA, and runs a model's code unasked.
    """
    gptq = autogptq.package()
    from auto_gptq.modeling.auto import GPTQ_CAUSAL_LM_MODEL_MAP as CLASSES

    kind = checkpoint.config.model_type
    if kind not in CLASSES:
        raise LoadError(f"{checkpoint.name} is of a kind that AutoGPTQ does not know: {kind}")
    cpu = on_host(placement.dtype)
    options = gptq.BaseQuantizeConfig(
        bits=method.bits,
        group_size=method.group_size,
        damp_percent=method.damp_percent,
        desc_act=method.desc_act,
        sym=method.sym,
    )
    model = checkpoint.model(cpu)
    model.hf_device_map = {}  # AutoGPTQ would take what is on the CPU to a GPU by hooks
    return CLASSES[kind](model, False, options)


def quantize(
    model: Any, samples: list[list[int]], placement: Placement, progress: LayerProgress, layers: int
) -> None:
    """Quantize `source`'s model in place, with calibration samples of token ids."""
    examples = [{"input_ids": ids, "attention_mask": [1] * len(ids)} for ids in samples]
    tensors = [{key: torch.tensor([value]) for key, value in each.items()} for each in examples]
    with _on(placement.device), _reported(progress, layers):
        model.quantize(tensors, cache_examples_on_gpu=False)


def save(model: Any, folder: Path) -> None:
    """Weights and config, under the names that every reader knows."""
    model.save_quantized(str(folder))
    (weights,) = folder.glob("*.safetensors")
    weights.rename(folder / WEIGHTS)
    file = folder / "config.json"
    config = json.loads(file.read_text())
    written = config["quantization_config"]
    unsaid = ("is_marlin_format", "model_name_or_path", "model_file_base_name")
    kept = {key: value for key, value in written.items() if key not in unsaid}
    (folder / SETTINGS).write_text(json.dumps(kept, indent=2))  # AutoGPTQ reads nothing else
    file.write_text(
        json.dumps(config | {"quantization_config": kept | {"checkpoint_format": "gptq"}}, indent=2)
    )


@contextmanager
def _on(device: torch.device) -> Iterator[None]:
    """Within it AutoGPTQ quantizes on this device, where it would on the first GPU."""
    from auto_gptq.modeling import _base

    synchronize: Callable[..., None] = torch.cuda.synchronize if device.type == "cuda" else lambda *_: None
    with replaced(_base, "CUDA_0", device), replaced(torch.cuda, "synchronize", synchronize):
        yield


@contextmanager
def _reported(progress: LayerProgress, layers: int) -> Iterator[None]:
    """Within it each layer that AutoGPTQ looks into is one more that is done: it reports nothing itself."""
    from auto_gptq.modeling import _base

    find, looked = _base.find_layers, iter(range(layers))

    def found(*args: Any, **options: Any) -> Any:
        if index := next(looked, 0):
            progress.layer_complete(layer_idx=index - 1, submodule_finalized=False)
        return find(*args, **options)

    with replaced(_base, "find_layers", found):
        yield
