"""Whether a model got every tensor it needs, and which tensors of its checkpoint were not read.

Owns the verdict: a model with a missing tensor, or one of another shape, is refused; what was not read is
kept for a note. Where transformers reads, its own report decides, which knows tied weights and what a model's
class ignores. Where accelerate reads, which reports nothing, the files' names are compared with the model's.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from transformers import PreTrainedModel
from transformers.utils.loading_report import LoadStateDictInfo, update_key_name

from engine.errors import LoadError
from engine.shape.weight_files import listed
from engine.worker.checkpoints import stored_tensors
from engine.worker.replaced import replaced

Shapes = dict[str, tuple[int, ...]]
Renamed = Callable[[Shapes], Shapes]

_ALWAYS_STORED = {"weight", "bias", "qweight", "qzeros", "scales"}  # other buffers may belong to a kernel
_NO_HEAD = "it has no output head: embedding, reward and base models do not generate text"
_OTHER_MODEL = "either its files are incomplete, or its config.json describes another model"


@contextmanager
def required(name: str) -> Iterator[None]:
    """Within it `from_pretrained` raises LoadError for a model that its checkpoint does not fill.

    Owns a temporary patch of the function that transformers passes its report to.
    """
    from transformers import modeling_utils

    judged: list[str] = []

    def judge(model: PreTrainedModel, *, loading_info: LoadStateDictInfo, **_: object) -> None:
        judged.append(type(model).__name__)
        require(name, model, loading_info)

    with replaced(modeling_utils, "log_state_dict_report", judge):
        yield
    _require_judged(judged, name, "transformers")


@contextmanager
def required_of_accelerate(
    name: str, folder: Path, where: ModuleType | None = None, renamed: Renamed | None = None
) -> Iterator[None]:
    """The same within accelerate's loader, which leaves missing tensors uninitialized and reports nothing.

    `where` is the module that the caller has the loader from: accelerate itself, unless it is said.
    `renamed` tells names and shapes as that loader gets them, where they are not the folder's.
    """
    import accelerate

    where = where or accelerate
    original, judged = where.load_checkpoint_in_model, list[str]()

    def judge(model: PreTrainedModel, *args: Any, **options: Any) -> None:
        judged.append(type(model).__name__)
        shapes = {key: stored.shape for key, stored in stored_tensors.tensors(folder).items()}
        shapes = renamed(shapes) if renamed else shapes
        require(name, model, _compared(model, shapes))
        original(model, *args, **options)

    with replaced(where, "load_checkpoint_in_model", judge):
        yield
    _require_judged(judged, name, "its loader")


def _require_judged(judged: Sequence[str], name: str, reader: str) -> None:
    """LoadError where nothing was compared: a loader that goes another way may make weights up."""
    if not judged:
        raise LoadError(
            f"nothing tells which tensors of {name} {reader} has read: it may have made weights up"
        )


def require(name: str, model: PreTrainedModel, report: LoadStateDictInfo) -> None:
    """LoadError where the model lacks a tensor; what was not read is remembered."""
    kind = type(model).__name__
    if report.error_msgs or report.conversion_errors:
        wrong = [*report.conversion_errors, *report.error_msgs]
        raise LoadError(f"{name} does not fit a {kind}: {listed(wrong)}", _OTHER_MODEL)
    if report.missing_keys:
        what = f"{len(report.missing_keys)} of the {len(model.state_dict())} tensors of a {kind}"
        raise LoadError(
            f"{name} lacks {what}: {listed(_merged(report.missing_keys))}", _hint(model, report.missing_keys)
        )
    if mismatched := [*report.mismatched_keys, *_mismatched(model)]:
        wrong = [
            f"{key} ({_shape(stored)}, not {_shape(wanted)})" for key, stored, wanted in sorted(mismatched)
        ]
        raise LoadError(f"{name} has tensors whose shape does not match its config: {listed(wrong)}")
    remember(model, report.unexpected_keys)


def remember(model: PreTrainedModel, unread: Iterable[str]) -> None:
    """Keep the names of tensors that were not read, for the note."""
    model.unread_tensors = [*getattr(model, "unread_tensors", ()), *unread]


def notes(model: PreTrainedModel) -> tuple[str, ...]:
    """What the user should know about tensors of the checkpoint that the model does not have."""
    unread = _merged(getattr(model, "unread_tensors", ()))
    return (f"tensors of the checkpoint that the model does not use: {listed(unread)}",) if unread else ()


def _mismatched(model: PreTrainedModel) -> Iterator[tuple[str, Sequence[int], Sequence[int]]]:
    """Weights of bitsandbytes, which transformers does not compare: name, shape, expected shape."""
    for name, module in model.named_modules():
        weight = getattr(module, "weight", None)
        state = getattr(weight, "quant_state", None)
        if weight is None or (state is None and type(weight).__name__ != "Int8Params"):
            continue
        shape = tuple(weight.shape if state is None else state.shape)
        if shape != (module.out_features, module.in_features):
            yield f"{name}.weight", shape, (module.out_features, module.in_features)


def _merged(names: Iterable[str]) -> list[str]:
    """In order, with layers merged: `layers.{0, 1}.mlp`."""
    return list(update_key_name(sorted(names)))


def _compared(model: PreTrainedModel, stored: Mapping[str, tuple[int, ...]]) -> LoadStateDictInfo:
    """What transformers would report of these names and shapes, by its own rules."""
    wanted = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    known = set(wanted)
    usual = {key.rpartition(".")[2] for key in stored} | _ALWAYS_STORED
    missing = {key for key in known - set(stored) if key.rpartition(".")[2] in usual}
    report = LoadStateDictInfo(
        missing_keys=_untied(model, missing, known),
        unexpected_keys=set(stored) - known,
        mismatched_keys={
            (key, shape, wanted[key]) for key, shape in stored.items() if wanted.get(key, shape) != shape
        },
        error_msgs=[],
        conversion_errors={},
        skipped_pp_keys=set(),
    )
    model._adjust_missing_and_unexpected_keys(report)
    return report


def _untied(model: PreTrainedModel, missing: set[str], known: set[str]) -> set[str]:
    """Those that are not tied to a tensor that exists."""
    tied: dict[str, str] = model.all_tied_weights_keys
    there = known - missing
    filled = {source for target, source in tied.items() if target in there} | {
        target for target, source in tied.items() if source in there
    }
    return missing - filled


def _hint(model: PreTrainedModel, missing: Iterable[str]) -> str:
    head = model.get_output_embeddings()
    names = {name for name, module in model.named_modules() if module is head and head is not None}
    return _NO_HEAD if {key.rpartition(".")[0] for key in missing} <= names else _OTHER_MODEL


def _shape(shape: Iterable[int]) -> str:
    return "×".join(map(str, shape))
