"""Which matrices of a loaded model are quantized: as they are in memory, whatever its method promised.

Owns the refusal of a model of which nothing was quantized, and the line on what was left. Knows no library:
a matrix is plain where torch holds its numbers as floats of 16 bits or more.
"""

import re
from collections.abc import Iterable, Iterator

from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D
from transformers.utils.loading_report import update_key_name

from engine.config.methods import Method, Savable, tag
from engine.errors import LoadError
from engine.shape import roles
from engine.worker.checkpoints import foreign

LEFT = "not quantized"
_IN_A_LAYER = re.compile(r"\.\d+\.")
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d)


def require_quantized(model: PreTrainedModel, method: Method, name: str) -> None:
    """LoadError where the method quantizes and no matrix is: the kind has matrices of another class."""
    if not isinstance(method, Savable) or foreign.UNPACKED in getattr(model, "reading_notes", ()):
        return
    if not _has_quantized(model):
        raise LoadError(
            f"{tag(method)} quantizes nothing of {name}: matrices of a {type(model).__name__} are of a class "
            "that it does not take",
            "`method: rtn`, `gptq` and `awq` take more kinds of models",
        )


def notes(model: PreTrainedModel, said: Iterable[str] = ()) -> tuple[str, ...]:
    """Which matrices inside the layers are not quantized, where others are; routers never are.

    None where what is `said` of the checkpoint has it already.
    """
    left = [name for name in _plain(model) if _IN_A_LAYER.search(name) and not roles.is_router(name)]
    if not left or not _has_quantized(model) or any(note.startswith(LEFT) for note in said):
        return ()
    return (_line(model, left),)


def unquantized(model: PreTrainedModel) -> str:
    """A line on all matrices that are not quantized, embeddings and head among them."""
    left = list(_plain(model))
    return _line(model, left) if left else "everything is quantized"


def _line(model: PreTrainedModel, names: Iterable[str]) -> str:
    """Names that repeat are listed once, with the numbers of their layers."""
    merged = update_key_name(list(names))
    return f"{LEFT}, in {str(model.dtype).removeprefix('torch.')}: {', '.join(merged)}"


def _has_quantized(model: PreTrainedModel) -> bool:
    return any(_is_matrix(module) and not _is_plain(module) for module in model.modules())


def _plain(model: PreTrainedModel) -> Iterator[str]:
    for name, module in model.named_modules():
        if _is_plain(module):
            yield name
        elif not isinstance(module, _CONVOLUTIONS):
            own = module.named_parameters(prefix=name, recurse=False)
            yield from (each for each, tensor in own if _is_stack(tensor))


def _is_matrix(module: nn.Module) -> bool:
    has_sides = hasattr(module, "in_features") and hasattr(module, "out_features")
    return has_sides or isinstance(module, Conv1D) or hasattr(module, "qweight")


def _is_plain(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear | nn.Embedding | Conv1D) and _is_float(module.weight)


def _is_stack(tensor: Tensor) -> bool:
    """Of matrices, as a mixture's experts are."""
    return tensor.dim() == 3 and min(tensor.shape[1:]) > 1 and _is_float(tensor)


def _is_float(tensor: Tensor) -> bool:
    return type(tensor.data) is Tensor and tensor.is_floating_point() and tensor.itemsize > 1
