"""A quantized checkpoint as a sheet: its facts, and what it lost layer by layer."""

from pathlib import Path

from msgspec.structs import replace

from engine.checkpoints import layer_errors, store
from engine.checkpoints.text import summary
from engine.config.record import ModuleError, Record
from engine.jobs.sheet import Sheet
from engine.protocol.loading import Quantized
from engine.tables import Row

CACHED = "It was made before; --force makes it again."
LOSSES = "Loss of each matrix, in the method's own measure; less is better"


def sheet(made: Quantized) -> Sheet:
    """What a run made or found."""
    path = Path(made.path)
    size_bytes = store.size_bytes(path)
    found = checkpoint_sheet(made.record, path, size_bytes)
    above = [CACHED, *found.above] if made.cached else found.above
    key = made.record.recipe.key
    figures = {"key": key, "path": made.path, "cached": made.cached, "size_bytes": size_bytes}
    return replace(found, above=above, document={**figures, "record": made.record})


def checkpoint_sheet(record: Record, path: Path, size_bytes: int) -> Sheet:
    """A checkpoint, ready to be written."""
    return Sheet(
        above=[*summary(record, path, size_bytes), *([LOSSES] if record.errors else [])],
        rows=layer_errors.rows(record.errors),
        numbers=[_numbers(record.profile, error) for error in record.errors],
        records=record.errors,
        document=record,
    )


def _numbers(profile: str, error: ModuleError) -> Row:
    return {"profile": profile, "layer": error.layer, "module": error.module, "loss": error.loss}
