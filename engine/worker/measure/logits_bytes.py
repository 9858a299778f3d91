"""Bytes of logits in a file that two processes open. Files are read and written, not mapped: a full disk is
then an error, not a signal. Knows no layout and no torch.
"""

import os

from engine.errors import InputError


def write(path: str, offset: int, rest: memoryview) -> None:
    """Put these bytes at an offset of the file; OSError where they find no space."""
    file = os.open(path, os.O_WRONLY)
    try:
        while rest:
            done = os.pwrite(file, rest, offset)
            rest, offset = rest[done:], offset + done
    finally:
        os.close(file)


def fill(path: str, offset: int, rest: memoryview) -> None:
    """Fill the buffer from the file; InputError where the file ends before."""
    file = os.open(path, os.O_RDONLY)
    try:
        while rest:
            done = os.preadv(file, [rest], offset)
            if not done:
                raise InputError("the file with the reference's logits is too short")
            rest, offset = rest[done:], offset + done
    finally:
        os.close(file)
