"""Which files a load will read, and that they are read ahead to their end."""

import ctypes
import mmap
import os
import time
from pathlib import Path

from engine.config import profiles
from engine.duel import prefetch
from engine.units import MIB


def test_the_files_of_the_next_load_are_known(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"1234")
    wanted = profiles.find(str(tmp_path))
    assert prefetch.files(wanted) == [tmp_path / "model.safetensors"]
    assert prefetch.prefetch(wanted) == 4
    assert prefetch.prefetch(profiles.find("random:tiny")) == 0


def test_a_file_is_read_ahead_to_its_end(tmp_path: Path) -> None:
    """One request for all of it would be cut at what the device reads ahead, such as 8 MiB."""
    file = tmp_path / "model.safetensors"
    (tmp_path / "config.json").write_text("{}")
    with file.open("wb") as content:
        content.write(bytes(24 * MIB))
        os.fsync(content.fileno())
        os.posix_fadvise(content.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    wanted = profiles.find(str(tmp_path))
    assert prefetch.prefetch(wanted) == 24 * MIB
    deadline_s = time.monotonic() + 60
    while (there := resident_bytes(file)) < 24 * MIB:
        assert time.monotonic() < deadline_s, f"{there} bytes are in the page cache"
        time.sleep(0.01)
    assert prefetch.prefetch(wanted, lambda: True) == 0


def resident_bytes(file: Path) -> int:
    """How much of a file is in the page cache."""
    size, libc = file.stat().st_size, ctypes.CDLL(None)
    with file.open("r+b") as content, mmap.mmap(content.fileno(), size) as pages:
        there = (ctypes.c_ubyte * (size // mmap.PAGESIZE))()
        start = ctypes.addressof(ctypes.c_char.from_buffer(pages))
        assert libc.mincore(ctypes.c_void_p(start), ctypes.c_size_t(size), there) == 0
    return sum(page & 1 for page in there) * mmap.PAGESIZE
