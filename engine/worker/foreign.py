"""Quantized folders as other programs wrote them, made readable: a view of links with a mended config.

Owns what AutoGPTQ, AutoAWQ and GPTQModel call things. Nothing is ever written into the user's folder; the
view lies among the temporary files and is gone when the model is loaded.
"""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.errors import LoadError
from engine.worker import kernels
from engine.worker.checkpoint import Checkpoint

Settings = dict[str, Any]  # a quantization_config, as JSON

OWN_FILES = {"gptq": "quantize_config.json", "awq": "quant_config.json"}  # older folders say it only there
COMPRESSED = "compressed-tensors"
UNPACKED = "compressed-tensors: the weights were unpacked on load; memory and speed are full precision's"
_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"


@contextmanager
def readable(checkpoint: Checkpoint) -> Iterator[Checkpoint]:
    """The checkpoint, or a view of it that can be read; LoadError where no view helps."""
    if checkpoint.kind != "folder":
        yield checkpoint
        return
    config = json.loads((checkpoint.path / "config.json").read_text())
    said = _said(checkpoint.path, config)
    mended = _mended(said, checkpoint.name)
    renamed = _renamed_weights(checkpoint.path)
    if mended == config.get("quantization_config") and not renamed and not _misleads(checkpoint.path):
        yield checkpoint
        return
    with tempfile.TemporaryDirectory(prefix="quantduel-") as folder:
        view = Path(folder)
        _link(checkpoint.path, view, renamed)
        _write(view, config, mended)
        notes = (UNPACKED,) if mended and mended.get("dequantize") else ()
        yield replace(checkpoint, path=view, notes=(*checkpoint.notes, *notes))


def _said(folder: Path, config: Settings) -> Settings | None:
    """How the weights are packed: by config.json, or by the file that its quantizer wrote beside it."""
    if stored := config.get("quantization_config"):
        return dict(stored)
    for method, name in OWN_FILES.items():
        if (folder / name).is_file():
            return {"quant_method": method, **json.loads((folder / name).read_text())}
    return None


def _mended(said: Settings | None, name: str) -> Settings | None:
    """The settings in the words that GPTQModel and transformers have for them today."""
    if said is not None and said.get("quant_method") == COMPRESSED:
        return said | {"dequantize": True}  # else the first forward pass does it, after all was counted
    if said is None or said.get("quant_method") not in kernels.PACKED:
        return said
    if said.get("is_marlin_format"):
        hint = "quantize the source here, or take a checkpoint in GPTQ's own layout"
        raise LoadError(f"{name} is packed for the Marlin kernel alone, which is not read", hint)
    mended = {key: value for key, value in said.items() if key != "is_marlin_format"}
    if said["quant_method"] == "gptq":
        return {"checkpoint_format": "gptq", **mended}
    names = {"w_bit": "bits", "q_group_size": "group_size"}
    mended = {names.get(key, key): value for key, value in mended.items()}
    return mended | ({"version": str(mended["version"]).lower()} if "version" in mended else {})


def _misleads(folder: Path) -> bool:
    """Whether a quantizer's own file lies there that GPTQModel would read first, and misread."""
    found = [
        json.loads((folder / name).read_text()) for name in OWN_FILES.values() if (folder / name).is_file()
    ]
    return any("is_marlin_format" in said or "quant_method" not in said for said in found)


def _renamed_weights(folder: Path) -> dict[str, str]:
    """Weights under AutoGPTQ's names, and what they are called in the view."""
    if any((folder / name).is_file() for name in (_WEIGHTS, _INDEX)):
        return {}
    indexes = [file.name for file in folder.glob("*.safetensors.index.json")]
    weights = [file.name for file in folder.glob("*.safetensors")]
    if len(indexes) == 1:
        return {indexes[0]: _INDEX}
    return {weights[0]: _WEIGHTS} if len(weights) == 1 else {}


def _link(folder: Path, view: Path, renamed: dict[str, str]) -> None:
    written = {"config.json", *OWN_FILES.values()}
    for file in folder.iterdir():
        if file.is_file() and file.name not in written:
            (view / renamed.get(file.name, file.name)).symlink_to(file.absolute())


def _write(view: Path, config: Settings, mended: Settings | None) -> None:
    whole = config | ({"quantization_config": mended} if mended else {})
    (view / "config.json").write_text(json.dumps(whole))
