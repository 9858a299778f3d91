"""A recording written to a file, whose extension sets the format."""

from collections.abc import Callable, Mapping
from pathlib import Path

from engine import tables
from engine.errors import InputError
from engine.recordings.document import json_text
from engine.recordings.markdown import markdown
from engine.recordings.page import page
from engine.recordings.recording import Recording

FORMATS: Mapping[str, Callable[[Recording], str]] = {".html": page, ".md": markdown, ".json": json_text}
SUFFIXES = tuple(FORMATS)


def format_of(file: Path) -> Callable[[Recording], str]:
    """How this file is written; InputError where its name does not say."""
    try:
        return FORMATS[file.suffix.lower()]
    except KeyError:
        raise InputError(f"{file}: expected a name that ends in {', '.join(SUFFIXES)}") from None


def export(recording: Recording, file: Path) -> None:
    """Write it: all of it, or what was there before; InputError where that cannot be."""
    tables.write(format_of(file)(recording), file)
