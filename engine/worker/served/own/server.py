"""What such a server is to the side that asks it."""

from typing import Protocol

from engine.config.sources import Engine
from engine.protocol.model import Memory, ModelInfo


class OwnServer(Protocol):
    """A server, up, on the loopback device."""

    engine: Engine
    """How it is asked."""
    title: str
    """The program, as its makers write it."""
    root: str
    key: str
    device: str
    device_name: str
    threads: int
    """0 is not known."""
    label: str
    """The side's badge; empty where the server knows better."""
    parameters: int
    notes: tuple[str, ...]

    @property
    def weights_bytes(self) -> int | None:
        """Of the files; None where they are not to be found."""

    def memory(self, info: ModelInfo | None) -> Memory | None:
        """What is in use; None where that is not comparable."""

    def look(self) -> None:
        """An answer begins."""

    def busy_notes(self) -> tuple[str, ...]:
        """What to say of the machine since `look`."""
