"""Whether all tensors of a packed matrix are there: packed integers without their scales are not weights.

Owns that check of a quantized folder, by its headers alone: a reader that finds no scale uses the packed
numbers as they are. Of a format it knows only the name of the main tensor.
"""

import re
from collections import defaultdict
from pathlib import Path

from engine.errors import LoadError
from engine.shape.weight_files import listed
from engine.worker.checkpoints import stored_tensors
from engine.worker.checkpoints.stored_tensors import Stored

_MAIN = ("qweight", "weight_packed", "weight")  # the packed numbers themselves
_SPLIT = re.compile(r"(.*?)\.(weight.*|[^.]+)")  # a module, and what the tensor is to it
_SCALES = ("scale", "absmax", "scb")
_ALWAYS_PACKED = ("bitsandbytes", "gptq", "awq")

_Module = dict[str, Stored]  # by what the tensor is to the module: weight, weight_scale, weight.absmax


def require_whole(name: str, folder: Path, method: str) -> None:
    """LoadError where a packed matrix lacks a part that its like in another layer has, or all scales."""
    packed = {module: parts for module, parts in _modules(folder).items() if _is_packed(parts)}
    if not packed and method in _ALWAYS_PACKED:
        raise LoadError(f"{name} claims to be quantized with {method}, but its weights are not")
    alike: dict[object, list[str]] = defaultdict(list)
    for module, parts in packed.items():
        alike[re.sub(r"\.\d+(?=\.)", ".*", module), _main(parts)].append(module)
    lacking = [lack for modules in alike.values() for lack in _lacking({m: packed[m] for m in modules})]
    if lacking:
        raise LoadError(f"{name} lacks parts of its packed weights: {listed(lacking)}", "copy it again")


def _modules(folder: Path) -> dict[str, _Module]:
    found: dict[str, _Module] = defaultdict(dict)
    for name, stored in stored_tensors.tensors(folder).items():
        if match := _SPLIT.fullmatch(name):
            found[match[1]][match[2]] = stored
    return found


def _main(parts: _Module) -> tuple[str, Stored] | None:
    return next(((name, parts[name]) for name in _MAIN if name in parts), None)


def _is_packed(parts: _Module) -> bool:
    main = _main(parts)
    return main is not None and main[1].dtype.startswith(("I", "U", "F8", "F4"))


def _lacking(modules: dict[str, _Module]) -> list[str]:
    usual = {part for parts in modules.values() for part in parts} - {"bias"}  # which the loader checks
    if not any(scale in part.lower() for part in usual for scale in _SCALES):
        return [f"the scales of {module}" for module in modules]
    return [f"{module}.{part}" for module, parts in modules.items() for part in sorted(usual - set(parts))]
