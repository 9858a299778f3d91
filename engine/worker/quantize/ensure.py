"""A profile's quantized checkpoint: out of the store, or made and put there.

Owns the order: group size, recipe, store, source, lock. How one is made and checked is in `builder.py`.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import torch
from msgspec.structs import replace
from transformers import PreTrainedConfig

from engine.checkpoints import export, store
from engine.config.methods import Awq, BitsAndBytes, Checkpointed, Gptq, Savable, tag
from engine.config.profile import Profile
from engine.config.record import Recipe, Record
from engine.errors import InputError
from engine.machine import packages
from engine.protocol import Quantize, Quantized, Staged
from engine.session.schedule import physical_cores
from engine.worker import failures
from engine.worker.checkpoints import readable, stored_tensors
from engine.worker.checkpoints.checkpoint import Checkpoint
from engine.worker.checkpoints.fetch import early_config, fetch
from engine.worker.checkpoints.identity import early, identity
from engine.worker.checkpoints.placement import place
from engine.worker.progress import Report
from engine.worker.quantize import builder, group_size
from engine.worker.texts import sets

PACKAGES = ("torch", "transformers")


@dataclass(frozen=True, slots=True)
class Made:
    """A checkpoint in the store."""

    path: Path
    record: Record
    cached: bool


def done(command: Quantize, report: Report) -> Quantized:
    """What the command asks for: the checkpoint in the store, and a copy of it where the user wants one."""
    torch.set_num_threads(command.threads or physical_cores())
    try:
        if command.out:
            export.require_free(Path(command.out), replace=command.force)
        made = ensure(command.profile, report, force=command.force)
        path = made.path
        if command.out:
            path = export.export(made.path, Path(command.out), replace=command.force)
    except Exception as error:
        raise failures.explained(error, command.profile) from error
    return Quantized(path=str(path), record=made.record, cached=made.cached)


def ready(profile: Profile, report: Report) -> Checkpoint:
    """The profile's quantized checkpoint, to be loaded: made now where the store has none."""
    return _checkpoint(profile, ensure(profile, report))


def kept(profile: Profile, report: Report) -> Checkpoint | None:
    """The profile's quantized checkpoint where the store has it: of methods that do without, too."""
    if store.made_of(profile) is None:  # told without a look at the source
        return None
    made = _without_source(profile, early_config(profile))
    if made is None:
        source = fetch(profile, report)
        made = _found(_recipe(profile, identity(profile, source, report), source.dtype))
    return _checkpoint(profile, made) if made else None


def _checkpoint(profile: Profile, made: Made) -> Checkpoint:
    stored_tensors.require_whole(made.path)
    wish = profile.model
    return Checkpoint(wish.source, made.path, "folder", wish.trust_remote_code, made.record.notes)


def ensure(profile: Profile, report: Report, *, force: bool = False) -> Made:
    """The profile's quantized checkpoint; LoadError or OutOfMemoryError says why there is none.

    Where the store has it, the source is not needed: it is neither fetched nor converted again.
    """
    method = profile.quantization
    if not isinstance(method, Savable):
        raise InputError(f"{tag(method)} makes no checkpoint", "rtn, gptq, awq and bitsandbytes do")
    config = early_config(profile)
    if config is not None:
        _require_group_size(profile, config)
    if not force and (made := _without_source(profile, config)):
        return made
    source = fetch(profile, report)
    source.require_full_precision()
    readable.require_kind(source.config, source.name)
    _require_group_size(profile, source.config)
    recipe = _recipe(profile, identity(profile, source, report), source.dtype)
    while True:
        if not force and (made := _found(recipe)):
            return made
        with store.building(recipe, _waiting(report), force=force) as build:
            if build is not None:
                record = builder.CheckpointBuild(profile, method, source).into(build, recipe, report)
                return Made(build.publish(record), record, cached=False)


def _without_source(profile: Profile, config: PreTrainedConfig | None) -> Made | None:
    """Out of the store, by what can be known before the source is here."""
    dtype = getattr(config, "dtype", None)
    name = early(profile) if dtype is not None else None
    return _found(_recipe(profile, name, dtype)) if name else None


def _found(recipe: Recipe) -> Made | None:
    entry = store.find(recipe)
    return Made(entry.path, entry.record, cached=True) if entry else None


def _require_group_size(profile: Profile, config: PreTrainedConfig) -> None:
    method = profile.quantization
    if isinstance(method, Checkpointed):
        found = group_size.linear_widths(config, profile.model.trust_remote_code)
        group_size.require_divisible(method.group_size, found, profile.model.source)


def _recipe(profile: Profile, model: str, stored: torch.dtype) -> Recipe:
    method = profile.quantization
    calibration = method.calibration if isinstance(method, Gptq | Awq) else None
    quantizer = "bitsandbytes" if isinstance(method, BitsAndBytes) else "gptqmodel"
    return Recipe(
        model=model,
        dtype=str(place(profile.model, stored).dtype).removeprefix("torch."),
        method=method,
        calibration_sha256=sets.sha256(calibration) if calibration else "",
        versions={name: _version(name) for name in (quantizer, *PACKAGES)},
    )


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError as error:
        raise packages.absent(package) from error


def _waiting(report: Report) -> Callable[[Staged | None], None]:
    """Tells what the process that has the lock tells."""

    def tell(progress: Staged | None) -> None:
        found = progress or Staged(stage="quantize")
        report(replace(found, elsewhere=True, ns=time.monotonic_ns()))

    return tell
