"""The boundary to strangers' headers: they are read, or one ShapeError says what is wrong with which of them.

Owns the bounds that every header has to keep. Knows nothing of what headers mean.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engine import input_files
from engine.errors import LoadError, QuantDuelError, ShapeError

LARGEST_BYTES = 100_000_000
"""Of a header or a JSON file: what safetensors' own reader allows."""
LARGEST_NUMBER = 1 << 40
"""Of a size or a count."""
MOST_DIMENSIONS = 8
LONGEST_REASON = 200


class UnsoundError(ShapeError):
    """A value that cannot be, named by its key: `explained` puts the file before it."""


@contextmanager
def explained(source: Path | str) -> Iterator[None]:
    """Whatever reading and understanding `source` raises leaves as one ShapeError that names it."""
    try:
        yield
    except UnsoundError as error:
        raise ShapeError(f"{source}: {error.message}", error.hint) from error
    except LoadError:
        raise
    except QuantDuelError as error:
        raise ShapeError(error.message, error.hint) from error
    except OSError as error:
        raise ShapeError(f"{error.filename or source}: {error.strerror or error}") from error
    except (RecursionError, MemoryError) as error:
        raise ShapeError(f"{source} is nested too deeply or says sizes that cannot be") from error
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".partition("\n")[0][:LONGEST_REASON]
        raise ShapeError(f"{source} is not understood ({reason})") from error


def json_object(file: Path) -> dict[str, Any]:
    """The JSON object that a file holds; ShapeError where it is none."""
    with explained(file):
        return parsed(input_files.read(file, LARGEST_BYTES), file)


def parsed(content: bytes, source: Path | str) -> dict[str, Any]:
    """JSON text as an object; ShapeError where it is none."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ShapeError(f"{source} is not JSON") from error
    if not isinstance(found, dict):
        raise ShapeError(f"{source} is not a JSON object")
    return found


def number(config: Mapping[str, Any], *names: str, least: int = 0) -> int | None:
    """The first of these keys that is not null; UnsoundError where it is no whole number, or absurd."""
    for name in names:
        value = config.get(name)
        if value is not None:
            return whole(value, name, least)
    return None


def whole(value: object, name: str, least: int = 0, most: int = LARGEST_NUMBER) -> int:
    """A whole number within bounds; UnsoundError for anything else."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise UnsoundError(f"{name}: expected a whole number, got {_shown(value)}")
    if not least <= value <= most:
        raise UnsoundError(f"{name}: expected a number from {least} to {most}, got {_shown(value)}")
    return value


def dimensions(value: object, name: str) -> tuple[int, ...]:
    """A tensor's shape; UnsoundError where it is none."""
    if not isinstance(value, list | tuple) or len(value) > MOST_DIMENSIONS:
        raise UnsoundError(
            f"{name}: expected a shape of at most {MOST_DIMENSIONS} sizes, got {_shown(value)}"
        )
    return tuple(whole(size, name) for size in value)


def _shown(value: object) -> str:
    """The beginning of a value; of a number that is too long to print its length."""
    if isinstance(value, int) and value.bit_length() > 256:
        return f"one of {value.bit_length()} bits"
    return repr(value)[:40]
