"""A profile's quantized checkpoint: out of the store, or made and put there.

Owns the order: group size, source, recipe, lock. How one is made and checked is in `making.py`.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import torch
from msgspec.structs import replace
from transformers import PreTrainedConfig

from engine import store
from engine.errors import LoadError
from engine.methods import Awq, Gptq, Packed, tag
from engine.models import SHAPES, Demo, Hub
from engine.profile import Profile
from engine.protocol import Quantize, Quantized, Staged
from engine.record import Recipe, Record
from engine.schedule import physical_cores
from engine.worker import calibration_texts, failures, gptqmodel_api, making, widths
from engine.worker.checkpoint import Checkpoint
from engine.worker.fetch import fetch
from engine.worker.identity import identity
from engine.worker.placement import Placement, place
from engine.worker.progress import Report

PACKAGES = ("gptqmodel", "torch", "transformers")


@dataclass(frozen=True, slots=True)
class Made:
    """A checkpoint in the store."""

    path: Path
    record: Record
    was_there: bool
    source: Checkpoint


def done(command: Quantize, report: Report) -> Quantized:
    """What the command asks for: the checkpoint in the store, and a copy of it where the user wants one."""
    torch.set_num_threads(command.threads or physical_cores())
    try:
        made = ensure(command.profile, report, anew=command.force)
        path = made.path
        if command.out:
            path = store.export(made.path, Path(command.out), replace=command.force)
    except Exception as error:
        raise failures.explained(error, command.profile) from error
    return Quantized(path=str(path), record=made.record, was_there=made.was_there)


def ready(profile: Profile, report: Report) -> Checkpoint:
    """The profile's quantized checkpoint, to be loaded: made now where the store has none."""
    made = ensure(profile, report)
    kernel = gptqmodel_api.kernel(made.path, place(profile.model, made.source.dtype))
    notes = (*made.source.notes, *made.record.notes, *kernel.notes)
    return Checkpoint(made.source.name, made.path, "folder", made.source.trust_remote_code, notes)


def ensure(profile: Profile, report: Report, *, anew: bool = False) -> Made:
    """The profile's quantized checkpoint; LoadError or OutOfMemoryError says why there is none."""
    if (config := _early_config(profile)) is not None:
        _require_group_size(profile, config)
    method = profile.quantization
    if not isinstance(method, Packed):
        raise LoadError(f"{tag(method)} makes no checkpoint")
    source = fetch(profile, report)
    source.require_full_precision()
    _require_group_size(profile, source.config)
    placement = place(profile.model, source.dtype)
    recipe = _recipe(profile, source, placement, report)
    while True:
        if not anew and (entry := store.find(recipe)):
            return Made(entry.path, entry.record, was_there=True, source=source)
        with store.building(recipe, _waiting(report), anew=anew) as build:
            if build is not None:
                record = making.Making(profile, method, source, placement).into(build, recipe, report)
                return Made(build.publish(record), record, was_there=False, source=source)


def _early_config(profile: Profile) -> PreTrainedConfig | None:
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
    """The config alone; why it cannot be had is told by the fetch of the whole, which follows."""
    from transformers import AutoConfig

    wish = profile.model
    try:
        return AutoConfig.from_pretrained(
            repo, revision=wish.revision, trust_remote_code=wish.trust_remote_code
        )
    except (OSError, ValueError):
        return None


def _require_group_size(profile: Profile, config: PreTrainedConfig) -> None:
    method = profile.quantization
    if isinstance(method, Packed):
        found = widths.linear_widths(config, profile.model.trust_remote_code)
        widths.require_divisible(method.group_size, found, profile.model.source)


def _recipe(profile: Profile, source: Checkpoint, placement: Placement, report: Report) -> Recipe:
    method = profile.quantization
    calibration = method.calibration if isinstance(method, Gptq | Awq) else None
    return Recipe(
        model=identity(profile, source, report),
        dtype=str(placement.dtype).removeprefix("torch."),
        method=method,
        calibration_sha256=calibration_texts.sha256(calibration) if calibration else "",
        versions={name: metadata.version(name) for name in PACKAGES},
    )


def _waiting(report: Report) -> Callable[[Staged | None], None]:
    """Tells what the process that has the lock tells."""
    why = "another QuantDuel makes this checkpoint"

    def tell(progress: Staged | None) -> None:
        if progress is None:
            report(Staged(stage="quantize", detail=why))
        else:
            detail = f"{why}: {progress.detail}"
            report(replace(progress, detail=detail, ns=time.monotonic_ns()))

    return tell
