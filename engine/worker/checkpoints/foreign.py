"""Folders as other programs wrote them, made readable: a view of symlinks with a corrected config.

Owns the names that AutoGPTQ, AutoAWQ and GPTQModel use, and which files next to the weights mislead a reader.
Nothing is ever written into the user's folder; the view is removed when the model is loaded.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.checkpoints import views
from engine.config import formats
from engine.config.layouts import COMPRESSED, PACKED, auto_round, fp8, plain
from engine.errors import LoadError, QuantDuelError
from engine.shape.weight_files import INDEX, INDEX_SUFFIX, WEIGHTS, entry, weight_map
from engine.worker import older
from engine.worker.checkpoints import stored_tensors, w4a16
from engine.worker.checkpoints.checkpoint import Checkpoint
from engine.worker.checkpoints.settings_files import Settings, settings
from engine.worker.older.settings import older_config, older_tokenizer

OWN_FILES = {
    "gptq": "quantize_config.json",
    "awq": "quant_config.json",
}  # older folders have the settings only there
UNPACKED = (
    "compressed-tensors: the weights were decompressed on load; memory and speed are those of full precision"
)
MODELOPT = "hf_quant_config.json"
UNUSED = "the folder also has an adapter (adapter_config.json): it is not applied"
ADAPTER, WEIGHTS_KEY = "adapter_config.json", "transformers_weights"
TOKENIZER = "tokenizer_config.json"


@contextmanager
def readable(checkpoint: Checkpoint) -> Iterator[Checkpoint]:
    """The checkpoint, or a view of it that can be read; LoadError where no view helps."""
    if checkpoint.kind == "gguf":
        with views.new() as view, _told_as(view, checkpoint.path.parent):
            yield replace(checkpoint, path=_alone(checkpoint.path, view))
        return
    if checkpoint.kind != "folder":
        yield checkpoint
        return
    config = settings(checkpoint.path / "config.json")
    stored = _stored(checkpoint.path, config)
    if stored is None and "compression_config" not in config:
        stored_tensors.require_plain(checkpoint.path)
    fixed = w4a16.as_gptq(checkpoint.path, config) or _fixed(stored, checkpoint.name)
    if stored and fp8(stored) and _is_plain_fp8(checkpoint.path):
        fixed = stored
    renamed = _renamed_weights(checkpoint.path)
    index = _bare_index(checkpoint.path)
    written = _written(checkpoint.path, config, fixed)
    if not written and not renamed and not index and not _misleads(checkpoint.path):
        yield checkpoint
        return
    with views.new() as view, _told_as(view, checkpoint.path):
        _link(checkpoint.path, view, renamed)
        if index:
            (view / INDEX).unlink()
            (view / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map(index)}))
        for name, content in {"config.json": config, **written}.items():
            (view / name).unlink(missing_ok=True)
            (view / name).write_text(json.dumps(content))
        yield replace(checkpoint, path=view, notes=(*checkpoint.notes, *_notes(checkpoint.path, fixed)))


@contextmanager
def _told_as(view: Path, folder: Path) -> Iterator[None]:
    """Errors name the user's folder, not the view of it."""
    try:
        yield
    except Exception as error:
        error.args = tuple(_renamed(arg, view, folder) for arg in error.args)
        if isinstance(error, QuantDuelError):
            error.message, error.hint = (_renamed(said, view, folder) for said in (error.message, error.hint))
        if isinstance(error, OSError) and error.filename is not None:
            error.filename = _renamed(error.filename, view, folder)
        raise


def _renamed(said: Any, view: Path, folder: Path) -> Any:
    return said.replace(str(view), str(folder)) if isinstance(said, str) else said


def _kernels() -> bool:
    """Whether transformers finds the package that fetches kernels, in a version that it takes."""
    from transformers.utils.import_utils import is_kernels_available

    return bool(is_kernels_available())


def _is_plain_fp8(folder: Path) -> bool:
    """Whether every scale belongs to a matrix of a module of its own, and none to fused experts."""
    return not any(".experts." in name for name in stored_tensors.tensors(folder))


def _alone(file: Path, view: Path) -> Path:
    """The file alone in the view: transformers would use a tokenizer that is next to it."""
    link = view / file.name
    link.symlink_to(file.absolute())
    return link


def _notes(folder: Path, fixed: Settings | None) -> tuple[str, ...]:
    is_unpacked = fixed and fixed.get("dequantize") and fixed.get("quant_method") == COMPRESSED
    unpacked = (UNPACKED,) if is_unpacked else ()
    return (*unpacked, UNUSED) if (folder / ADAPTER).is_file() else unpacked


def _stored(folder: Path, config: Settings) -> Settings | None:
    """How the weights are quantized: by config.json, or by the file that its quantizer wrote next to it."""
    if stored := config.get("quantization_config"):
        if not isinstance(stored, dict):
            raise LoadError(f"{folder / 'config.json'}: quantization_config is not a JSON object")
        return stored
    if (folder / MODELOPT).is_file():
        return {"quant_method": "modelopt"}
    for method, name in OWN_FILES.items():
        if (folder / name).is_file():
            return {"quant_method": method, **settings(folder / name)}
    return None


def _fixed(stored: Settings | None, name: str) -> Settings | None:
    """The settings in the form that GPTQModel and transformers expect today."""
    if stored is None:
        return None
    method = str(stored.get("quant_method", "")).lower()
    if method == COMPRESSED:
        return stored | {
            "quant_method": method,
            "dequantize": True,
        }  # otherwise the first forward pass does it
    if method not in PACKED:
        if found := auto_round(stored):
            return found
        stored = stored | ({"dequantize": True} if method in formats.DEQUANTIZED and not _kernels() else {})
        return stored | ({"quant_method": method} if method else {})
    stored = plain(stored)
    if stored.get("is_marlin_format"):
        hint = "quantize the source, or use a checkpoint in GPTQ's own layout"
        raise LoadError(f"{name} is packed for the Marlin kernel only, a layout that is not supported", hint)
    fixed = {key: value for key, value in stored.items() if key != "is_marlin_format"}
    if method == "gptq":
        return {"checkpoint_format": "gptq", **fixed}
    names = {"w_bit": "bits", "q_group_size": "group_size"}
    fixed = {names.get(key, key): value for key, value in fixed.items()}
    return fixed | ({"version": str(fixed["version"]).lower()} if "version" in fixed else {})


def _misleads(folder: Path) -> bool:
    """Whether a reader would apply or misread a file in the folder.

    transformers, with peft installed, would apply an adapter that is in the folder.
    """
    if (folder / ADAPTER).is_file():
        return True
    found = [settings(folder / name) for name in OWN_FILES.values() if (folder / name).is_file()]
    return any("is_marlin_format" in said or "quant_method" not in said for said in found)


def _renamed_weights(folder: Path) -> dict[str, str]:
    """Weights under AutoGPTQ's names, and their names in the view."""
    start = entry(folder)
    if start is None or start.name in {WEIGHTS, INDEX}:
        return {}
    return {start.name: INDEX if start.name.endswith(INDEX_SUFFIX) else WEIGHTS}


def _bare_index(folder: Path) -> Path | None:
    """The index, where it lacks the metadata that transformers expects."""
    start = entry(folder)
    is_index = start is not None and start.name.endswith(INDEX_SUFFIX)
    return start if start and is_index and "metadata" not in settings(start) else None


def _link(folder: Path, view: Path, renamed: dict[str, str]) -> None:
    written = {"config.json", ADAPTER, *OWN_FILES.values()}
    for file in folder.iterdir():
        if file.is_file() and file.name not in written:
            (view / renamed.get(file.name, file.name)).symlink_to(file.absolute())


def _written(folder: Path, config: Settings, fixed: Settings | None) -> dict[str, Settings]:
    """The files that have to say something else than in the folder, by name."""
    whole = config | ({"quantization_config": fixed} if fixed else {})
    whole.pop(WEIGHTS_KEY, None)
    found = {"config.json": (config, older_config(whole) if older.is_older() else whole)}
    if older.is_older() and (folder / TOKENIZER).is_file():
        said = settings(folder / TOKENIZER)
        found[TOKENIZER] = said, older_tokenizer(said)
    return {name: now for name, (before, now) in found.items() if now != before}
