"""Where a profile's worker runs: here, in another Python, or at the other end of a command.

Owns the section `worker` of a profile. Starts nothing and looks for nothing.
"""

import re
import shlex

from msgspec import Struct

ENVIRONMENT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class Worker(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the model runs, by one of three keys. Left out: in a process here, in QuantDuel's own Python."""

    environment: str | None = None
    """A named environment, as `quantduel env create NAME` makes it: its Python runs the model."""
    python: str | None = None
    """The path of another Python, 3.11 or newer, which has torch and transformers."""
    launch: str | None = None
    """A command that runs `quantduel worker` elsewhere: `ssh gpu2 quantduel worker` ([how](remote.md))."""

    def __post_init__(self) -> None:
        named = [key for key in self.__struct_fields__ if getattr(self, key) is not None]
        for key in named[1:]:
            raise ValueError(f"{key}: stands next to {named[0]}, and only one of them can be")
        if self.environment is not None and not ENVIRONMENT_NAME.fullmatch(self.environment):
            raise ValueError("environment: expected a name of letters, digits, dots, dashes and underscores")
        if self.python is not None and (not self.python or "\0" in self.python):
            raise ValueError("python: expected the path of a Python")
        if self.launch is not None and not _words(self.launch):
            raise ValueError("launch: expected a command, quoted as a shell reads it")

    @property
    def is_elsewhere(self) -> bool:
        """Whether its files and devices are those at the other end of a command."""
        return self.launch is not None

    @property
    def is_own(self) -> bool:
        """Whether QuantDuel's own Python runs the model, so that its packages are the ones that count."""
        return self == Worker()

    @property
    def host_word(self) -> str:
        """What stands for the machine's name before it has said it: the command; empty for this machine."""
        return " ".join(self.launch_words)[:60]

    @property
    def launch_words(self) -> tuple[str, ...]:
        """The command and its arguments; no shell reads them."""
        return _words(self.launch or "")


def _words(command: str) -> tuple[str, ...]:
    """None where a quotation has no end, or a NUL cannot be passed on."""
    try:
        return () if "\0" in command else tuple(shlex.split(command))
    except ValueError:
        return ()
