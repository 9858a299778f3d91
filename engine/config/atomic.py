"""A file of the user's written next to its place and renamed into it. Knows nothing of what is written."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from engine import paths
from engine.errors import InputError


@contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """A path to write to; at the end it takes the place of `file`, after an exception nothing is changed.

    A link stays one, and a file's mode stays. InputError where that cannot be.
    """
    from secrets import token_hex  # OpenSSL, which the first picture does without

    place = paths.followed(file)
    unfinished = place.with_name(f".{place.name[:64]}.{token_hex(4)}")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        yield unfinished
        if place.exists():
            unfinished.chmod(place.stat().st_mode & 0o777)
        unfinished.replace(place)
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}", "choose another file") from error
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
