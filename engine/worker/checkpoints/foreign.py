"""Folders as other programs wrote them, made readable: a view of links with a mended config.

Owns what AutoGPTQ, AutoAWQ and GPTQModel call things, and what beside the weights would mislead a reader.
Nothing is ever written into the user's folder; the view is gone when the model is loaded.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from engine.checkpoints import views
from engine.config.layouts import PACKED, plain
from engine.errors import LoadError
from engine.shape.weight_files import INDEX, INDEX_SUFFIX, WEIGHTS, entry, weight_map
from engine.worker.checkpoints import stored_tensors
from engine.worker.checkpoints.checkpoint import Checkpoint
from engine.worker.checkpoints.settings_files import Settings, settings

OWN_FILES = {"gptq": "quantize_config.json", "awq": "quant_config.json"}  # older folders say it only there
COMPRESSED = "compressed-tensors"
UNPACKED = "compressed-tensors: the weights were unpacked on load; memory and speed are full precision's"
UNUSED = "an adapter lies beside the weights (adapter_config.json): it is not applied"
ADAPTER, WEIGHTS_KEY = "adapter_config.json", "transformers_weights"


@contextmanager
def readable(checkpoint: Checkpoint) -> Iterator[Checkpoint]:
    """The checkpoint, or a view of it that can be read; LoadError where no view helps."""
    if checkpoint.kind == "gguf":
        with views.new() as view:
            yield replace(checkpoint, path=_by_itself(checkpoint.path, view))
        return
    if checkpoint.kind != "folder":
        yield checkpoint
        return
    config = settings(checkpoint.path / "config.json")
    said = _said(checkpoint.path, config)
    if said is None and "compression_config" not in config:
        stored_tensors.require_plain(checkpoint.path)
    mended = _mended(said, checkpoint.name)
    renamed = _renamed_weights(checkpoint.path)
    index = _bare_index(checkpoint.path)
    same = mended == config.get("quantization_config") and WEIGHTS_KEY not in config
    if same and not renamed and not index and not _misleads(checkpoint.path):
        yield checkpoint
        return
    with views.new() as view:
        _link(checkpoint.path, view, renamed)
        if index:
            (view / INDEX).unlink()
            (view / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map(index)}))
        _write(view, config, mended)
        yield replace(checkpoint, path=view, notes=(*checkpoint.notes, *_notes(checkpoint.path, mended)))


def _by_itself(file: Path, view: Path) -> Path:
    """The file in the view, where nothing lies beside it: transformers would take a tokenizer that does."""
    link = view / file.name
    link.symlink_to(file.absolute())
    return link


def _notes(folder: Path, mended: Settings | None) -> tuple[str, ...]:
    unpacked = (UNPACKED,) if mended and mended.get("dequantize") else ()
    return (*unpacked, UNUSED) if (folder / ADAPTER).is_file() else unpacked


def _said(folder: Path, config: Settings) -> Settings | None:
    """How the weights are packed: by config.json, or by the file that its quantizer wrote beside it."""
    if stored := config.get("quantization_config"):
        if not isinstance(stored, dict):
            raise LoadError(f"{folder / 'config.json'}: quantization_config is no mapping of keys")
        return stored
    for method, name in OWN_FILES.items():
        if (folder / name).is_file():
            return {"quant_method": method, **settings(folder / name)}
    return None


def _mended(said: Settings | None, name: str) -> Settings | None:
    """The settings in the words that GPTQModel and transformers have for them today."""
    if said is None:
        return None
    method = str(said.get("quant_method", "")).lower()
    if method == COMPRESSED:
        return said | {"quant_method": method, "dequantize": True}  # else the first forward pass does it
    if method not in PACKED:
        return said | ({"quant_method": method} if method else {})
    said = plain(said)
    if said.get("is_marlin_format"):
        hint = "quantize the source here, or take a checkpoint in GPTQ's own layout"
        raise LoadError(f"{name} is packed for the Marlin kernel alone, which is not read", hint)
    mended = {key: value for key, value in said.items() if key != "is_marlin_format"}
    if method == "gptq":
        return {"checkpoint_format": "gptq", **mended}
    names = {"w_bit": "bits", "q_group_size": "group_size"}
    mended = {names.get(key, key): value for key, value in mended.items()}
    return mended | ({"version": str(mended["version"]).lower()} if "version" in mended else {})


def _misleads(folder: Path) -> bool:
    """Whether a file lies there that a reader would take for more than it is, or misread.

    transformers, with peft installed, would add an adapter that lies beside the weights.
    """
    if (folder / ADAPTER).is_file():
        return True
    found = [settings(folder / name) for name in OWN_FILES.values() if (folder / name).is_file()]
    return any("is_marlin_format" in said or "quant_method" not in said for said in found)


def _renamed_weights(folder: Path) -> dict[str, str]:
    """Weights under AutoGPTQ's names, and what they are called in the view."""
    start = entry(folder)
    if start is None or start.name in {WEIGHTS, INDEX}:
        return {}
    return {start.name: INDEX if start.name.endswith(INDEX_SUFFIX) else WEIGHTS}


def _bare_index(folder: Path) -> Path | None:
    """The index, where it lacks the metadata that transformers asks for."""
    start = entry(folder)
    is_index = start is not None and start.name.endswith(INDEX_SUFFIX)
    return start if start and is_index and "metadata" not in settings(start) else None


def _link(folder: Path, view: Path, renamed: dict[str, str]) -> None:
    written = {"config.json", ADAPTER, *OWN_FILES.values()}
    for file in folder.iterdir():
        if file.is_file() and file.name not in written:
            (view / renamed.get(file.name, file.name)).symlink_to(file.absolute())


def _write(view: Path, config: Settings, mended: Settings | None) -> None:
    whole = config | ({"quantization_config": mended} if mended else {})
    whole.pop(WEIGHTS_KEY, None)
    (view / "config.json").write_text(json.dumps(whole))
