"""A reference's logits as another worker wrote them, at the tokens that a server tells; and a server's own
likeliest tokens, written for others.

Owns no layout: those are `engine.worker.measure`'s, [positions, vocabulary] of the model's dtype, or rows of
`likeliest`. Knows no torch; all logits of a vocabulary need numpy, which is there where a model runs.
"""

import math
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.errors import InputError
from engine.protocol.scores import Logits, Place
from engine.worker.measure import logits_bytes

EPSILON_BITS = {"bfloat16": 7, "float16": 10, "float32": 23}  # of a dtype's mantissa
SLICE_BYTES = 32 << 20  # of float32 logits that are worked on at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One position: the tokens that are known under both, and the reference's first two."""

    log_p: Sequence[float]
    log_q: Sequence[float]
    """In the same order."""
    reference_margin: float
    margin: float | None
    """The other's for the same two tokens; None where it does not tell both."""
    rounding: float


class Reference:
    """What a command brings, for so many positions."""

    def __init__(self, logits: Logits, positions: int) -> None:
        if logits.positions != positions:
            raise InputError(f"the reference has {logits.positions} positions of {positions}")
        self._logits, self._positions = logits, positions

    def rows(self, known: Sequence[Mapping[int, float]]) -> Iterator[Row]:
        """Every position; `known` are the other model's log-probabilities by token id."""
        kept = self._logits.place.kept
        yield from self._of_kept(kept, known) if kept else self._of_all(known)

    def _of_kept(self, kept: int, known: Sequence[Mapping[int, float]]) -> Iterator[Row]:
        """Rows of float32: the ids (as bits), their log-probabilities, one rounding step."""
        width, place = 2 * kept + 1, self._logits.place
        values = array("f", bytes(4 * width * self._positions))
        logits_bytes.fill(place.path, place.offset_bytes, memoryview(values).cast("B"))
        ids = array("i", values.tobytes())
        for at, theirs in enumerate(known):
            start = at * width
            row_ids, log_p = ids[start : start + kept], values[start + kept : start + 2 * kept]
            both = [
                (p, theirs[each])
                for each, p in zip(row_ids, log_p, strict=True)
                if p > -math.inf and each in theirs
            ]
            yield _row(both, log_p[0] - log_p[1], tuple(row_ids[:2]), theirs, values[start + width - 1])

    def _of_all(self, known: Sequence[Mapping[int, float]]) -> Iterator[Row]:
        logits = self._logits
        for start in range(0, self._positions, step := max(1, SLICE_BYTES // (4 * logits.vocabulary))):
            block = _block(logits, start, min(step, self._positions - start))
            largest = block.max(axis=1, keepdims=True)
            norms = largest[:, 0] + _numpy().log(_numpy().exp(block - largest).sum(axis=1))
            for row, norm, theirs in zip(block, norms.tolist(), known[start : start + step], strict=True):
                ids = [each for each in theirs if each < logits.vocabulary]
                both = [(p - norm, theirs[each]) for each, p in zip(ids, row[ids].tolist(), strict=True)]
                second, first = _numpy().argpartition(row, -2)[-2:].tolist()
                margin, rounding = float(row[first] - row[second]), _rounding(float(row[first]), logits.dtype)
                yield _row(both, margin, (first, second), theirs, rounding)


def written(place: Place, likeliest: Sequence[Mapping[int, float]]) -> None:
    """Put `place.kept` likeliest tokens a position into the file; tokens of probability 0 fill it up.

    A server does not say what its logits are rounded to: that is 0.
    """
    values = array("f")
    for known in likeliest:
        ids = array("i", list(known)[: place.kept])
        missing = place.kept - len(ids)
        values.frombytes(ids.tobytes() + bytes(4 * missing))
        values.extend([*list(known.values())[: place.kept], *[-math.inf] * missing, 0.0])
    logits_bytes.write(place.path, place.offset_bytes, memoryview(values).cast("B"))


def _row(
    both: Sequence[tuple[float, float]],
    reference_margin: float,
    first_two: Sequence[int],
    theirs: Mapping[int, float],
    rounding: float,
) -> Row:
    one, other = (theirs.get(each) for each in first_two)
    return Row(
        log_p=[p for p, _ in both],
        log_q=[q for _, q in both],
        reference_margin=reference_margin,
        margin=None if one is None or other is None else one - other,
        rounding=rounding,
    )


def _block(logits: Logits, start: int, positions: int) -> Any:
    """Logits [positions, vocabulary] as float32."""
    numpy = _numpy()
    kind = {"bfloat16": "uint16", "float16": "float16", "float32": "float32"}[logits.dtype]
    found = numpy.empty((positions, logits.vocabulary), dtype=kind)
    offset = logits.place.offset_bytes + start * logits.vocabulary * found.itemsize
    logits_bytes.fill(logits.place.path, offset, memoryview(found).cast("B"))
    if logits.dtype == "bfloat16":  # the upper half of a float32
        return (found.astype("uint32") << 16).view("float32")
    return found.astype("float32")


def _rounding(value: float, dtype: str) -> float:
    """The distance to the next larger number of the dtype."""
    return math.ldexp(1.0, math.frexp(value)[1] - 1 - EPSILON_BITS[dtype]) if math.isfinite(value) else 0.0


def _numpy() -> Any:
    try:
        import numpy
    except ImportError:
        hint = "pip install numpy, or --top-k 1000, which needs none"
        raise InputError("a server is compared with all of a reference's logits by numpy", hint) from None
    return numpy
