"""What a folder's weight files contain, from their headers, by the format's own reader.

Owns the check that the files are complete and agree with their index. Needs no torch, and reads no weights.
"""

from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from engine.errors import LoadError
from engine.shape.weight_files import INDEX_SUFFIX, entry, listed, weight_files, weight_map

_COPY_AGAIN = "copy or download it again"


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor in a file."""

    file: str
    dtype: str
    """By the format's own names: BF16, I32."""
    shape: tuple[int, ...]


def tensors(folder: Path) -> dict[str, Stored]:
    """Every tensor by its name; LoadError where a file is broken. One in two files is the last one's.

    So transformers reads them.
    """
    return {name: stored for file in weight_files(folder) for name, stored in _of_file(file).items()}


def require_whole(folder: Path) -> None:
    """LoadError unless every file can be read and every tensor of the index is in the file it names."""
    found, start = tensors(folder), entry(folder)
    if start is None or not start.name.endswith(INDEX_SUFFIX):
        return
    files = {name: stored.file for name, stored in found.items()}
    wrong = [f"{name} in {file}" for name, file in weight_map(start).items() if files.get(name) != file]
    if wrong:
        raise LoadError(f"{start} and its files do not agree on {listed(wrong)}", _COPY_AGAIN)


def require_plain(folder: Path) -> None:
    """LoadError where weights are integers, which without scales are not weights."""
    packed = [
        f"{name} ({stored.dtype})"
        for name, stored in tensors(folder).items()
        if name.endswith(".weight") and stored.dtype.startswith(("I", "U", "BOOL"))
    ]
    if packed:
        raise LoadError(
            f"{folder} has integer weights and no quantization settings for them: {listed(packed)}",
            "its config.json lacks quantization_config: copy it again",
        )


def _of_file(file: Path) -> dict[str, Stored]:
    try:
        with safe_open(file, framework="np") as content:
            slices = {name: content.get_slice(name) for name in content.keys()}  # noqa: SIM118
            return {
                name: Stored(file.name, part.get_dtype(), tuple(part.get_shape()))
                for name, part in slices.items()
            }
    except (SafetensorError, OSError) as error:
        said = str(error).removeprefix("Error while deserializing header: ")
        raise LoadError(f"{file} is not a complete safetensors file: {said}", _COPY_AGAIN) from error
