"""The file of --out, written again and again while work goes on. A disk that fills costs no result."""

from pathlib import Path

from engine import tables
from engine.cli import print_error
from engine.errors import ExitCode, InputError


class OutFile:
    """Told once where it cannot be written; tried again each time, because a disk may have room again."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.failed = False
        """Whether the last text is not in it."""
        self._told = False

    def write(self, text: str) -> None:
        """Put this text in place of the one before."""
        try:
            tables.write(text, self.file)
            self.failed = False
        except InputError as error:
            self.failed = True
            if not self._told:
                print_error(
                    error.message, "the work goes on, and what is not in the file is printed at the end"
                )
            self._told = True

    def exit_code(self, code: ExitCode) -> ExitCode:
        """The command's, unless it is well and the file is not."""
        return ExitCode.BAD_INPUT if self.failed and code == ExitCode.DONE else code
