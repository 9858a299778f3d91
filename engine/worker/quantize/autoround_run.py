"""Quantizing with AutoRound: the package, the run itself, and what it writes.

Owns what keeps it to our own tokens, quiet, and in the source's dtype. What comes out is in GPTQ's layout.
"""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from engine.config.methods import AutoRound
from engine.machine import packages
from engine.shape.weight_files import weight_files
from engine.worker.quantize.progress import LayerProgress
from engine.worker.replaced import replaced

BATCH = 8  # samples a step of the search
_UNDERSTOOD = ("bits", "group_size", "sym", "desc_act", "dynamic")  # by readers of GPTQ's layout
_SECOND_FORMAT = "gptq_v2"  # whose zero points are as they are, not less one


def package() -> Any:
    """The package, imported quietly; LoadError where it is missing."""
    logging.getLogger("torch.utils._pytree").setLevel(logging.ERROR)  # of torchao, which it asks for
    try:
        import auto_round
    except ImportError as error:
        raise packages.absent("auto_round") from error
    logging.getLogger("autoround").setLevel(logging.ERROR)
    return auto_round


def source(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    method: AutoRound,
    samples: list[list[int]],
    device: torch.device,
) -> Any:
    """A model on the CPU, ready for the search on a device, with calibration samples, all of one length.

    They are handed over as token ids: given a text's name, or none, AutoRound would ask the model hub.
    """
    auto_round = package()
    from auto_round.algorithms.quantization.sign_round.config import SignRoundConfig

    search = SignRoundConfig(
        bits=method.bits, group_size=method.group_size, sym=method.sym, iters=method.iters
    )
    return auto_round.AutoRound(
        model,
        tokenizer,
        alg_configs=search,
        dataset=_batches(samples),
        nsamples=len(samples),
        seqlen=len(samples[0]),
        batch_size=BATCH,
        device_map=str(device),
        enable_torch_compile=False,  # which would compile for minutes, with g++
        low_cpu_mem_usage=False,  # else it moves layers through files of the current folder
        seed=method.seed,
        format="auto_gptq",
    )


def quantize(work: Any, progress: LayerProgress) -> None:
    """Search for the rounding of each layer of `source`'s model."""
    with _reported(progress):
        work.quantize()


def save(work: Any, folder: Path, method: AutoRound) -> None:
    """Weights and config, in GPTQ's layout, under the names that every reader knows."""
    from auto_round.export import utils

    dtype = str(work.model.dtype).removeprefix("torch.")
    with replaced(utils, "_get_state_dict_for_export_dtype", lambda *_: None):  # no cast to float16
        work.save_quantized(str(folder), format="auto_gptq", inplace=True)
    (folder / "quantization_config.json").unlink(missing_ok=True)
    if not method.sym:
        _store_zero_points_whole(folder, method.bits)
    file = folder / "config.json"
    config = json.loads(file.read_text()) | {"dtype": dtype}
    config.pop("torch_dtype", None)
    written = config["quantization_config"]
    config["quantization_config"] = {
        "quant_method": "gptq",
        "checkpoint_format": "gptq" if method.sym else _SECOND_FORMAT,
        **{key: written[key] for key in _UNDERSTOOD if key in written},
    }
    file.write_text(json.dumps(config, indent=2))


def _batches(samples: list[list[int]]) -> list[torch.Tensor]:
    """[samples, length] in pieces of `BATCH`."""
    return list(torch.tensor(samples).split(BATCH))


def _store_zero_points_whole(folder: Path, bits: int) -> None:
    """One added to each zero point, carries and all: AutoRound took it away in the same manner.

    GPTQModel reads the first format's asymmetric zero points of nobody but itself.
    """
    ones = sum(1 << place for place in range(0, 32, bits))
    for file in weight_files(folder):
        tensors = load_file(file)
        for name in [name for name in tensors if name.endswith(".qzeros")]:
            tensors[name] = tensors[name] + ones
        save_file(tensors, file, metadata={"format": "pt"})


@contextmanager
def _reported(progress: LayerProgress) -> Iterator[None]:
    """In the place of AutoRound's bar over a model's layers."""
    from auto_round.compressors import orchestrator

    class Bar:
        def __init__(self, *_: object, **__: object) -> None:
            self.done = 0

        def update(self, layers: int = 1) -> None:
            for index in range(self.done, self.done + layers):
                progress.layer_complete(layer_idx=index, submodule_finalized=False)
            self.done += layers

        def set_description(self, *_: object) -> None: ...

        def close(self) -> None: ...

    with replaced(orchestrator, "tqdm", Bar):
        yield
