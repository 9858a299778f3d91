"""A quantized checkpoint, printed: its facts, and what it lost layer by layer."""

import shutil
import sys
from pathlib import Path

import click

from engine import layer_errors, report
from engine.checkpoint_text import summary
from engine.record import Record


def show(record: Record, path: Path, size_bytes: int) -> None:
    """Print all of it."""
    for line in summary(record, path, size_bytes):
        click.echo(line)
    if record.errors:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        click.echo("\nLoss of each matrix, in the method's own measure; less is better")
        click.echo(report.table(layer_errors.rows(record.errors), width))
