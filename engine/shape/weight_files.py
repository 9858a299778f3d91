"""Which files a checkpoint folder's weights are: those that transformers would load, and no others.

Owns that rule and its boundary: every file is in the folder itself, is a regular one or a link to one, and
is called *.safetensors. Reads no weights, and knows nothing of tensors.
"""

from pathlib import Path
from typing import Any

from engine.errors import ShapeError
from engine.shape.boundary import json_object

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
SUFFIX, INDEX_SUFFIX = ".safetensors", ".safetensors.index.json"
_ADAPTER = "adapter_"  # peft's weights: a change of a model, and none
_INDEX_HINT = "copy the index again from where the checkpoint comes from"


def weight_files(folder: Path) -> tuple[Path, ...]:
    """The folder's weight files in the order of their names; none where it has none.

    ShapeError where an index is broken or names what is not there.
    """
    files = named(folder)
    lacking = [file.name for file in files if not file.is_file()]
    if lacking:
        raise ShapeError(
            f"{folder} lacks {len(lacking)} of its {len(files)} weight files: {listed(lacking)}",
            "copy or download what is missing",
        )
    return files


def is_whole(folder: Path) -> bool:
    """Whether every weight file is here, and there are some."""
    try:
        return bool(weight_files(folder))
    except ShapeError:
        return False


def named(folder: Path) -> tuple[Path, ...]:
    """The files that the folder says it consists of, here or not; ShapeError where an index is broken."""
    start = entry(folder)
    if start is None:
        return ()
    names = {start.name} if not start.name.endswith(INDEX_SUFFIX) else set(weight_map(start).values())
    return tuple(folder / name for name in sorted(names))


def entry(folder: Path) -> Path | None:
    """The one file that a reader opens first: the weights, or the index of several; None without either."""
    for name in (WEIGHTS, INDEX):
        if (folder / name).is_file():
            return folder / name
    indexes = sorted(folder.glob(f"*{INDEX_SUFFIX}"))  # AutoGPTQ calls them after itself
    weights = sorted(file for file in folder.glob(f"*{SUFFIX}") if not file.name.startswith(_ADAPTER))
    if len(indexes) == 1:
        return indexes[0]
    if len(weights) > 1:
        raise ShapeError(
            f"{folder} has {listed([file.name for file in weights])}, and no {INDEX} to join them",
            "copy the index too: it is next to the weights where the checkpoint comes from",
        )
    return weights[0] if weights else None


def weight_map(index: Path) -> dict[str, str]:
    """The file of every tensor, by the tensor's name; ShapeError unless each is a plain name."""
    try:
        files: Any = json_object(index).get("weight_map")
    except ShapeError as error:
        raise ShapeError(f"{index} is not an index of weights ({error.message})", _INDEX_HINT) from error
    if not isinstance(files, dict) or not files:
        raise ShapeError(f"{index} is not an index of weights: it has no weight_map", _INDEX_HINT)
    for name in files.values():
        if not _is_plain(name):
            raise ShapeError(
                f"{index} names {str(name)[:200]!r}, which is not a *.safetensors file in its folder",
                _INDEX_HINT,
            )
    return files


def _is_plain(name: object) -> bool:
    return isinstance(name, str) and name.endswith(SUFFIX) and not set(name) & set("/\\\0")


def listed(names: list[str]) -> str:
    """The first names, and how many more there are."""
    shown = ", ".join(name if len(name) <= 120 else f"{name[:119]}…" for name in names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
