"""A file without a name that worker processes open by a path of ours: in memory, or on disk.

It is gone when it is closed, and when this process ends, in whatever way: the kernel keeps it only as long as
somebody has it open, and workers open it for moments. For Linux.
"""

import os
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from engine.protocol.scores import Place


class SharedFile:
    """`size_bytes` of memory or disk, taken at once; OSError where there is not that much."""

    def __init__(self, descriptor: int, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self._descriptor = descriptor
        try:
            os.posix_fallocate(descriptor, 0, size_bytes)
        except OSError:
            os.close(descriptor)
            raise

    @classmethod
    def in_memory(cls, size_bytes: int) -> Self:
        """POSIX shared memory without a name."""
        return cls(os.memfd_create("quantduel-logits"), size_bytes)

    @classmethod
    def on_disk(cls, folder: Path, size_bytes: int) -> Self:
        """A file in this folder that is unlinked from the beginning."""
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            return cls(os.dup(file.fileno()), size_bytes)

    def place(self, offset_bytes: int = 0) -> Place:
        """Where another process of this user finds it while it is open."""
        return Place(f"/proc/{os.getpid()}/fd/{self._descriptor}", offset_bytes)

    def close(self) -> None:
        """Give the memory or disk space back."""
        os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
