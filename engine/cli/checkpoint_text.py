"""A quantized checkpoint, printed: its facts, and what it lost layer by layer."""

import shutil
import sys
from pathlib import Path

from engine import tables
from engine.checkpoints import layer_errors
from engine.checkpoints.text import summary
from engine.cli.terminal import say, say_lines
from engine.config.record import Record


def show(record: Record, path: Path, size_bytes: int) -> None:
    """Print all of it."""
    for line in summary(record, path, size_bytes):
        say(line)
    if record.errors:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        say()
        say("Loss of each matrix, in the method's own measure; less is better")
        say_lines(tables.table(layer_errors.rows(record.errors), width))
