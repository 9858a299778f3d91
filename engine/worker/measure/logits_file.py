"""Logits between two processes: written to a file that both can open, and read from there.

The bytes are those the model gave, so nothing is lost. Owns the file's layout: [positions, vocabulary] from
the place's offset on.
"""

from typing import Any

import torch
from torch import Tensor

from engine.protocol.scores import Logits, Place, Score
from engine.worker.measure import logits_bytes
from engine.worker.measure.likeliest import Likeliest

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}


class Exchange:
    """The logits that one command sends to another process, and those it gets from one."""

    def __init__(self, command: Score) -> None:
        self._place, self._reference = command.write, command.reference
        self.written: Logits | None = None

    def swap(self, logits: Tensor, done: int) -> Tensor | Likeliest | None:
        """Write these logits [n, vocabulary] if that was asked for; returns the reference's, if there is one.

        `done` is how many positions were swapped before.
        """
        if self._place is not None:
            self.written = _written(self._place, logits, done)
        return _read(self._reference, done, logits) if self._reference else None


def _written(place: Place, logits: Tensor, done: int) -> Logits:
    whole = logits if _dtype(logits) in DTYPES else logits.float()
    stored = (Likeliest.of(whole, place.kept).rows() if place.kept else whole).cpu().contiguous()
    begin_bytes = place.offset_bytes + done * stored.shape[1] * stored.element_size()
    logits_bytes.write(place.path, begin_bytes, _bytes(stored))
    return Logits(
        place=place,
        positions=done + len(stored),
        vocabulary=logits.shape[1],
        dtype=_dtype(stored),
    )


def _read(stored: Logits, done: int, own: Tensor) -> Tensor | Likeliest:
    kept = stored.place.kept
    width = 2 * kept + 1 if kept else stored.vocabulary
    found = torch.empty((len(own), width), dtype=DTYPES[stored.dtype])
    begin_bytes = stored.place.offset_bytes + done * width * found.element_size()
    logits_bytes.fill(stored.place.path, begin_bytes, _bytes(found))
    return Likeliest.of_rows(found, own.shape[1]) if kept else found


def _bytes(values: Tensor) -> memoryview:
    return memoryview(values.view(torch.uint8).numpy()).cast("B")


def _dtype(values: Tensor) -> Any:
    return str(values.dtype).removeprefix("torch.")
