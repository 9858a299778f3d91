"""The JSON files of a checkpoint folder: each an object, or an error that names the file."""

import json
from pathlib import Path
from typing import Any

from engine import input_files
from engine.errors import FileError, LoadError

Settings = dict[str, Any]  # a JSON object
MOST_BYTES = 64 * input_files.MIB


def settings(file: Path) -> Settings:
    """The object in the file; LoadError where there is none."""
    try:
        found = json.loads(input_files.read_text(file, MOST_BYTES))
    except FileError as error:
        raise LoadError(str(error)) from error
    except (ValueError, RecursionError) as error:
        raise LoadError(f"{file} cannot be read as JSON", "copy or download it again") from error
    if not isinstance(found, dict):
        raise LoadError(f"{file} is not a JSON object", "copy or download it again")
    return found
