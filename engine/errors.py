"""Every error QuantDuel raises on purpose: what happened, what to do, and the exit code it ends with.

QuantDuelError
├── InputError            2   bad input: a flag, a prompt file, a name
│   ├── ProfileError      2   a profile that cannot be used; names file, line and key
│   └── FileError         2   a file that cannot be read: none there, no file, too large, no text
├── LoadError             3   a model that cannot be loaded
│   ├── OutOfMemoryError  3   … because it does not fit
│   └── ShapeError        3   … or one whose headers cannot be read, so that nothing can be planned
├── HistoryError          2   the history cannot be read or written; what needs no history goes on
└── GenerationError       4   an answer that failed on the way
"""

from enum import IntEnum
from pathlib import Path


class ExitCode(IntEnum):
    """What the process ends with; 5 is a gate that stays shut, 130 the shell's convention for Ctrl-C."""

    DONE = 0
    BAD_INPUT = 2
    NOT_LOADED = 3
    NOT_GENERATED = 4
    NOT_GOOD_ENOUGH = 5
    INTERRUPTED = 130


class QuantDuelError(Exception):
    """An error with a line for the user and, where there is one, a hint that fixes it."""

    exit_code = ExitCode.BAD_INPUT

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class InputError(QuantDuelError):
    """Bad input from a user: nothing was started."""


class ProfileError(InputError):
    """A profile that cannot be used, with the place of the fault."""

    def __init__(
        self, file: Path | str, message: str, *, line: int = 0, key: str = "", hint: str = ""
    ) -> None:
        place = f"{file}:{line}" if line else str(file)
        super().__init__(": ".join(part for part in (place, key, message) if part), hint)
        self.file, self.line, self.key, self.problem = str(file), line, key, message


class FileError(InputError):
    """A file that cannot be read: `problem` is the fault alone, `line` its line where there is one, or 0."""

    def __init__(self, file: Path | str, problem: str, *, line: int = 0) -> None:
        super().__init__(f"{file}:{line}: {problem}" if line else f"{file}: {problem}")
        self.problem, self.line = problem, line


class LoadError(QuantDuelError):
    """A model that cannot be loaded."""

    exit_code = ExitCode.NOT_LOADED


class OutOfMemoryError(LoadError):
    """A model or a request that does not fit in the memory there is."""


class ShapeError(LoadError):
    """A model whose tensors are not known before it is loaded."""


class HistoryError(QuantDuelError):
    """What is kept, duels or results, cannot be read or written."""


class GenerationError(QuantDuelError):
    """An answer that failed on the way."""

    exit_code = ExitCode.NOT_GENERATED
