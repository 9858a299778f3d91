"""Turns every source a profile can name into a checkpoint on this disk.

Owns the choice between them. Where a source is downloaded, `demo.py` or `hub.py` does it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from engine import paths
from engine.config.methods import Gguf, Method
from engine.config.profile import MOST_TEMPLATE_BYTES, Profile
from engine.config.sources import SHAPES, Demo, Folder, GgufFile, Hub, Random, Served
from engine.errors import LoadError
from engine.protocol.loading import Staged
from engine.shape import gguf_header, gguf_metadata
from engine.shape.boundary import explained, number
from engine.shape.weight_files import weight_files
from engine.worker import older
from engine.worker.checkpoints import demo, stored_tensors
from engine.worker.checkpoints.checkpoint import Checkpoint
from engine.worker.checkpoints.settings_files import settings
from engine.worker.progress import Report

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

GGUF_NOTE = "GGUF weights are dequantized while they load: they need as much memory as full precision"

SETTINGS = (
    "config.json",
    "generation_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)
"""Files that transformers skips, or reports as another file's fault, where they are broken."""


def fetch(profile: Profile, report: Report) -> Checkpoint:
    """The profile's checkpoint, downloaded and converted where needed; LoadError where there is none."""
    report(Staged(stage="resolve", subject=profile.model.source))
    trust = profile.model.trust_remote_code
    if isinstance(profile.source, GgufFile) or isinstance(profile.quantization, Gguf):
        older.require_newer("a GGUF file")
    match profile.source:
        case Demo() if isinstance(profile.quantization, Gguf):
            return Checkpoint("demo", demo.gguf(report), "gguf", notes=(GGUF_NOTE,))
        case Demo():
            return Checkpoint("demo", demo.folder(report), "folder")
        case Hub(repo):
            return Checkpoint(repo, _from_hub(repo, profile, report), "folder", trust)
        case Folder(path):
            return Checkpoint(str(path), _checked_folder(paths.expanded(path)), "folder", trust)
        case GgufFile(path):
            return _of_gguf(_checked_gguf(paths.expanded(path)), profile.quantization, report)
        case Random(shape) as source:
            note = f"random weights: the text means nothing; speed and memory are those of the shape {shape}"
            return Checkpoint(profile.model.source, source.config, "random", notes=(note,))
        case Served(url):
            raise LoadError(f"{url} is asked, not loaded")


def early_config(profile: Profile) -> PreTrainedConfig | None:
    """The model's config before the model is here; None where it comes with the model."""
    from transformers import AutoConfig

    match profile.source:
        case Demo():
            return AutoConfig.from_pretrained(SHAPES / "smollm2-135m.json")
        case Hub(repo):
            return _hub_config(repo, profile)
        case _:
            return None


def _hub_config(repo: str, profile: Profile) -> PreTrainedConfig | None:
    """The config alone; if it cannot be read, the fetch of everything, which follows, reports why.

    None where the repository's code builds it. transformers never gets the name: it could match a folder.
    """
    from huggingface_hub import hf_hub_download
    from transformers import AutoConfig

    wish = profile.model
    if wish.trust_remote_code:
        return None
    try:
        file = hf_hub_download(repo, "config.json", revision=wish.revision)
        return AutoConfig.from_pretrained(Path(file).parent, trust_remote_code=False)
    except Exception:
        return None


def _from_hub(repo: str, profile: Profile, report: Report) -> Path:
    from engine.worker.checkpoints import hub

    wish = profile.model
    folder = hub.snapshot(hub.Repository(repo, wish.revision, wish.trust_remote_code), report)
    return _checked_folder(folder)


def _of_gguf(file: Path, method: Method, report: Report) -> Checkpoint:
    """The file itself for the method that reads it, and a folder made from it for all others."""
    if isinstance(method, Gguf):
        return Checkpoint(file.name, file, "gguf", notes=(GGUF_NOTE,))
    from engine.worker.checkpoints import unpacked

    return unpacked.folder(file, report)


def _checked_folder(path: Path) -> Path:
    """The folder, if it has a config and every weight file it names can be read."""
    if not path.is_dir():
        raise LoadError(f"no such folder: {path}")
    if not (path / "config.json").is_file():
        raise LoadError(
            f"{path} has no config.json", "a checkpoint folder has one next to its *.safetensors files"
        )
    _require_plain_files(path)
    for name in SETTINGS:
        if (path / name).is_file():
            settings(path / name)
    if not weight_files(path):
        raise LoadError(f"{path} has no safetensors weights", _other_weights(path))
    stored_tensors.require_whole(path)
    return path


def _require_plain_files(path: Path) -> None:
    """LoadError for files that libraries would wait for, or read without end."""
    for file in (*path.iterdir(), *path.glob("additional_chat_templates/*")):
        if file.exists() and not (file.is_file() or file.is_dir()):
            raise LoadError(f"{file} is a pipe or a device, not a file")
        if file.suffix == ".jinja" and file.is_file() and file.stat().st_size > MOST_TEMPLATE_BYTES:
            raise LoadError(f"{file} is larger than {MOST_TEMPLATE_BYTES >> 20} MiB: not a chat template")


def _other_weights(path: Path) -> str:
    """A hint on what is there instead."""
    if any(path.glob("*.bin")) or any(path.glob("*.pt")):
        return "pickles (.bin, .pt) can run code and are never read: convert them to safetensors"
    if any(path.glob("adapter_*")):
        return "this is an adapter: merge it into its base model, and load that"
    return ""


def _checked_gguf(path: Path) -> Path:
    """The file, if it is a complete model whose metadata can be read; one part of a split model is not."""
    if not path.is_file():
        raise LoadError(f"no such file: {path}")
    metadata = gguf_header.read(path).metadata
    with explained(path):
        parts, part = number(metadata, "split.count") or 1, 1 + (number(metadata, "split.no") or 0)
    if parts > 1:
        raise LoadError(
            f"{path.name} is part {part} of a model in {parts} GGUF files; split models are not supported",
            f"merge them: llama-gguf-split --merge {path.name} MODEL.gguf, with the first part's name",
        )
    with explained(path):
        gguf_metadata.require(metadata)
    return path
