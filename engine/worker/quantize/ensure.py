"""A profile's quantized checkpoint: from the store, or built and put there.

Owns the order: group size, recipe, store, source, lock. How one is built and checked is in `builder.py`.
"""

from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path

import torch
from msgspec.structs import replace
from transformers import PreTrainedConfig

from engine.checkpoints import export, store
from engine.config.methods import Calibrated, Checkpointed, Savable, tag
from engine.config.profile import Profile
from engine.config.record import Recipe, Record
from engine.errors import InputError
from engine.machine import packages
from engine.protocol.loading import Quantize, Quantized
from engine.session.schedule import physical_cores
from engine.worker import failures, progress
from engine.worker.checkpoints import foreign, readable
from engine.worker.checkpoints.checkpoint import Checkpoint
from engine.worker.checkpoints.fetch import early_config, fetch
from engine.worker.checkpoints.identity import early, folder_sha256, identity, require_as_made
from engine.worker.checkpoints.placement import Placement, place
from engine.worker.progress import Report
from engine.worker.quantize import builder, group_size
from engine.worker.texts import sets

PACKAGES = ("torch", "transformers")


@dataclass(frozen=True, slots=True)
class StoredCheckpoint:
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


def ready(profile: Profile, report: Report) -> tuple[Checkpoint, Placement]:
    """The profile's quantized checkpoint and where to load it; built now where the store has none."""
    wanted = _Wanted(profile, report)
    return _checkpoint(wanted, _ensured(wanted, force=False))


def kept(profile: Profile, report: Report) -> tuple[Checkpoint, Placement] | None:
    """The profile's quantized checkpoint where the store has it, also for methods that do not need one."""
    if store.made_of(profile) is None:  # known without reading the source
        return None
    wanted = _Wanted(profile, report)
    made = wanted.without_source() or _found(wanted.recipe(wanted.identity))
    return _checkpoint(wanted, made) if made else None


def ensure(profile: Profile, report: Report, *, force: bool = False) -> StoredCheckpoint:
    """The profile's quantized checkpoint; LoadError or OutOfMemoryError says why there is none.

    Where the store has it, the source is not needed: it is neither fetched nor converted again.
    """
    return _ensured(_Wanted(profile, report), force=force)


def _checkpoint(wanted: "_Wanted", made: StoredCheckpoint) -> tuple[Checkpoint, Placement]:
    hint = f"`quantduel quantize {wanted.profile.name} --force` makes it again"
    require_as_made(made.path, made.record, hint, wanted.report)
    wish = wanted.profile.model
    found = Checkpoint(wish.source, made.path, "folder", wish.trust_remote_code, made.record.notes)
    return found, wanted.placement


def _ensured(wanted: "_Wanted", *, force: bool) -> StoredCheckpoint:
    method = wanted.profile.quantization
    if not isinstance(method, Savable):
        raise InputError(
            f"{tag(method)} makes no checkpoint", "rtn, gptq, awq, autoround, fp8 and bitsandbytes do"
        )
    if wanted.early is not None:
        wanted.require_group_size(method)
    if not force and (made := wanted.without_source()):
        return made
    source = wanted.source
    source.require_full_precision()
    readable.require_kind(source.config, source.name)
    if wanted.early is None:
        wanted.require_group_size(method)
    recipe = wanted.recipe(wanted.identity)
    while True:
        if not force and (made := _found(recipe)):
            return made
        with store.building(recipe, progress.waiting(wanted.report), force=force) as build:
            if build is not None:
                with foreign.readable(source) as view:
                    work = builder.CheckpointBuild(
                        wanted.profile, method, view, wanted.placement, wanted.widths
                    )
                    record = work.into(build, recipe, wanted.report)
                record = replace(record, content_sha256=folder_sha256(build.path, wanted.report))
                return StoredCheckpoint(build.publish(record), record, cached=False)


def _found(recipe: Recipe) -> StoredCheckpoint | None:
    entry = store.find(recipe)
    return StoredCheckpoint(entry.path, entry.record, cached=True) if entry else None


class _Wanted:
    """What one load or one quantization needs. Each fact is computed when it is first needed, and once."""

    def __init__(self, profile: Profile, report: Report) -> None:
        self.profile, self.report = profile, report

    @cached_property
    def early(self) -> PreTrainedConfig | None:
        """The model's config before the source is here, where there is one."""
        return early_config(self.profile)

    @cached_property
    def source(self) -> Checkpoint:
        """Fetched."""
        return fetch(self.profile, self.report)

    @cached_property
    def identity(self) -> str:
        """What the source's content is."""
        return identity(self.profile, self.source, self.report)

    @cached_property
    def placement(self) -> Placement:
        """Where the model goes, and its dtype."""
        return place(self.profile.model, getattr(self.early, "dtype", None) or self.source.dtype)

    @cached_property
    def widths(self) -> list[int]:
        """The numbers of inputs of the matrices that are quantized."""
        config = self.early if self.early is not None else self.source.config
        return group_size.linear_widths(config, self.profile.model.trust_remote_code)

    def require_group_size(self, method: Savable) -> None:
        """LoadError where groups do not divide the model's rows."""
        if isinstance(method, Checkpointed):
            group_size.require_divisible(method.group_size, self.widths, self.profile.model.source)

    def without_source(self) -> StoredCheckpoint | None:
        """From the store, by what is known before the source is here."""
        name = early(self.profile) if getattr(self.early, "dtype", None) is not None else None
        return _found(self.recipe(name)) if name else None

    def recipe(self, model: str) -> Recipe:
        """For a source of this content."""
        return replace(self._recipe, model=model)

    @cached_property
    def _recipe(self) -> Recipe:
        method = self.profile.quantization
        calibration = method.calibration if isinstance(method, Calibrated) else None
        quantizer = packages.library(method)
        return Recipe(
            model="",
            dtype=str(self.placement.dtype).removeprefix("torch."),
            method=method,
            calibration_sha256=sets.sha256(calibration) if calibration else "",
            versions={name: _version(name) for name in (quantizer, *PACKAGES)},
        )


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError as error:
        raise packages.absent(package) from error
