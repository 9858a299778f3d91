"""Regular expressions of strangers: RE2's, which read a text once, whatever the pattern is.

Owns the engine and its bounds. Look-arounds and back references are not part of it; `\\d`, `\\w` and `\\b`
mean ASCII.
"""

from functools import cache

import re2

MOST_BYTES = 8 << 20  # of a compiled pattern
LONGEST = 10_000  # characters of a pattern


@cache
def _options() -> re2.Options:
    options = re2.Options()
    options.max_mem, options.log_errors = MOST_BYTES, False
    return options


def require(pattern: str) -> None:
    """ValueError where it is no pattern, or one too large."""
    if len(pattern) > LONGEST:
        raise ValueError(f"a pattern of more than {LONGEST} characters")
    try:
        re2.compile(pattern, _options())
    except re2.error as error:
        raise ValueError(f"no pattern of RE2: {_words(error)}") from None


def found(pattern: str, text: str) -> bool:
    """Whether the pattern matches anywhere in the text."""
    return re2.compile(pattern, _options()).search(text) is not None


def _words(error: Exception) -> str:
    said = error.args[0] if error.args else ""
    return said.decode(errors="replace") if isinstance(said, bytes) else str(said)
