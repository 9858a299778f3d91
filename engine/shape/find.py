"""A profile's model shape: from files on this machine, from a named shape, or from the hub's headers.

Owns the choice between them. Weights are never read and never downloaded.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from engine import input_files, paths
from engine.config.methods import Gguf, LlamaCpp
from engine.config.profile import Profile
from engine.config.sources import BUILT_IN, SHAPES, Demo, Folder, GgufFile, Hub, Random, Served
from engine.errors import ShapeError
from engine.shape import architecture, from_config, gguf_header, safetensors_headers
from engine.shape.boundary import explained, json_object
from engine.shape.model_shape import DTYPE_BYTES, ModelShape, Packing
from engine.shape.weight_files import is_whole, weight_files

LONGEST_REF_BYTES = 4096
DEMO_SHAPE = "smollm2-135m"


def of(profile: Profile, *, ask_hub: bool = True) -> ModelShape:
    """The shape of the profile's source; ShapeError where it cannot be found. `ask_hub` allows requests."""
    with explained(profile.model.source):
        return _of(profile, ask_hub=ask_hub)


def _of(profile: Profile, *, ask_hub: bool) -> ModelShape:
    match profile.source:
        case Demo():
            return _demo(profile)
        case Random(shape) as source:
            return of_config(f"random:{shape}", json_object(source.config), f"the shape {shape}")
        case GgufFile(path):
            found = of_gguf(paths.expanded(path))
            return found if isinstance(profile.quantization, Gguf | LlamaCpp) else _unpacked(found)
        case Folder(path):
            return of_folder(paths.expanded(path), str(path))
        case Hub(repo):
            return _hub(repo, profile.model.revision, ask_hub=ask_hub)
        case Served(url):
            raise ShapeError(
                f"{url} holds its model itself", "nothing is loaded here: there is nothing to plan"
            )


def of_folder(folder: Path, name: str) -> ModelShape:
    """A checkpoint folder; without weight files its config alone, where the architecture is known."""
    with explained(folder / "config.json"):
        return _of_folder(folder, name)


def _of_folder(folder: Path, name: str) -> ModelShape:
    file = folder / "config.json"
    if not file.is_file():
        raise ShapeError(f"{folder} has no config.json" if folder.is_dir() else f"no such folder: {folder}")
    config = json_object(file)
    files = weight_files(folder)
    if not files:
        return of_config(name, config, f"{file} alone: there are no safetensors files")
    tensors, stored = safetensors_headers.tensors(folder)
    return ModelShape(
        name=name,
        origin=f"safetensors headers in {folder}",
        architecture=architecture.architecture(config),
        dtype=architecture.dtype(config) or stored or "float32",
        tensors=tensors,
        file_bytes=sum(file.stat().st_size for file in files),
        packing=architecture.packing(config),
        tokenizer_bytes=_size(folder / "tokenizer.json"),
    )


def of_gguf(file: Path) -> ModelShape:
    """A GGUF file, by its metadata."""
    with explained(file):
        return _of_gguf(file)


def _of_gguf(file: Path) -> ModelShape:
    header = gguf_header.read(file)
    config: dict[str, Any] = dict(gguf_header.config(header.metadata))
    config["tie_word_embeddings"] = all(tensor.name != "output.weight" for tensor in header.tensors)
    return ModelShape(
        name=file.name,
        origin=f"metadata of {file.name}",
        architecture=architecture.architecture(config),
        dtype="bfloat16",  # what its blocks are unpacked to
        tensors=header.tensors,
        file_bytes=file.stat().st_size,
        packing=Packing("gguf"),
    )


def _unpacked(found: ModelShape) -> ModelShape:
    """As the folder that other methods than `gguf` and `llama_cpp` start from: in full precision."""
    size = DTYPE_BYTES[found.dtype]
    tensors = tuple(replace(tensor, stored_bytes=size * tensor.elements) for tensor in found.tensors)
    file_bytes = sum(tensor.stored_bytes for tensor in tensors)
    return replace(found, tensors=tensors, packing=None, file_bytes=file_bytes)


def of_config(name: str, config: dict[str, Any], origin: str) -> ModelShape:
    """A model of a known family, by its config.json."""
    found = architecture.architecture(config)
    if packed := architecture.packing(config):
        raise ShapeError(
            f"{name} is quantized ({packed.method}): its tensors are known only from its weight files"
        )
    dtype = architecture.dtype(config) or "bfloat16"
    return ModelShape(
        name=name,
        origin=origin,
        architecture=found,
        dtype=dtype,
        tensors=from_config.tensors(config, found, DTYPE_BYTES[dtype]),
        file_bytes=0,
    )


def _demo(profile: Profile) -> ModelShape:
    """The demo's files where they are here already; else the shape that they will have."""
    home = paths.cache() / "demo"
    if isinstance(profile.quantization, Gguf | LlamaCpp) and (files := sorted(home.glob("*.gguf"))):
        return of_gguf(files[0])
    if folders := sorted(file.parent for file in home.glob("*/config.json")):
        return of_folder(folders[0], "demo")
    config = json_object(SHAPES / f"{DEMO_SHAPE}.json")
    return of_config("demo", config, f"the shape {DEMO_SHAPE}: the demo is not fetched yet")


def _hub(repo: str, revision: str, *, ask_hub: bool) -> ModelShape:
    try:
        return _of_hub(repo, revision, ask_hub=ask_hub)
    except ShapeError as error:
        if repo not in BUILT_IN or revision != "main":
            raise
        name = BUILT_IN[repo]
        return of_config(repo, json_object(SHAPES / f"{name}.json"), f"the shape {name}: {error.message}")


def _of_hub(repo: str, revision: str, *, ask_hub: bool) -> ModelShape:
    folder = cached(repo, revision)
    if folder and is_whole(folder):
        return of_folder(folder, repo)
    if ask_hub and not paths.hub_is_offline():
        from engine.shape import hub

        return hub.shape(repo, revision)
    if folder:
        return of_folder(folder, repo)
    why = "the model hub is switched off (HF_HUB_OFFLINE)" if ask_hub else "its headers are not here"
    raise ShapeError(f"{repo} cannot be planned: {why}", f"it is not in {paths.hub_cache()} either")


def cached(repo: str, revision: str) -> Path | None:
    """The snapshot that huggingface_hub keeps of a repository, whole or in part; None where it keeps none."""
    home = paths.hub_cache() / f"models--{repo.replace('/', '--')}"
    ref = home / "refs" / revision
    commit = input_files.read_text(ref, LONGEST_REF_BYTES).strip() if ref.is_file() else revision
    folder = home / "snapshots" / commit
    return folder if (folder / "config.json").is_file() else None


def _size(file: Path) -> int:
    return file.stat().st_size if file.is_file() else 0
