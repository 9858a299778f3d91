"""How fast models decode in an eval, as far as short answers at different moments can tell.

Pure. Speeds that something spoiled, or that scatter, make no claim: no ratio, no place among the fastest.
"""

import math
from statistics import stdev

from engine.evaluation.report import Row
from engine.units import with_error

MOST_SPREAD = 0.2  # standard deviation over mean, between short answers; a quiet machine has a tenth or less
SAME_SPEED = 0.95  # of another's: what is not slower than that is as fast
SIGMAS = 2.0


def doubt(row: Row) -> str:
    """Why a model's speed says nothing; empty where it does, or where there is none."""
    samples = row.decode_samples_tok_s
    if row.decode_tok_s is None:
        return ""
    if row.decode_marks:
        return ", ".join(row.decode_marks)
    if len(samples) < 2:
        return "it was timed once"
    spread = stdev(samples) / row.decode_tok_s
    return f"{len(samples)} short answers differ by ± {spread:.0%}" if spread > MOST_SPREAD else ""


def is_told(row: Row) -> bool:
    """Whether there is a speed, and nothing speaks against it."""
    return row.decode_tok_s is not None and not doubt(row)


def error_tok_s(row: Row) -> float | None:
    """The mean's standard error, over short answers; None for fewer than two."""
    samples = row.decode_samples_tok_s
    return stdev(samples) / math.sqrt(len(samples)) if len(samples) > 1 else None


def gain(row: Row, reference: Row) -> str:
    """`2.40 ± 0.10 × the decode speed`, or why nothing is said of it; empty where it was not measured."""
    if row.decode_tok_s is None or reference.decode_tok_s is None:
        return ""
    whys = [f"{each.profile}: {why.partition(',')[0]}" for each in (reference, row) if (why := doubt(each))]
    if whys:
        return f"no word on the decode speed ({'; '.join(whys)})"
    ratio = row.decode_tok_s / reference.decode_tok_s
    return f"{with_error(ratio, ratio * math.hypot(_share(row), _share(reference)))} × the decode speed"


def is_slower(one: Row, other: Row) -> bool:
    """Whether that is shown: beyond what speeds differ by in any case, and beyond their errors."""
    a, b = one.decode_tok_s, other.decode_tok_s
    if a is None or b is None or not (is_told(one) and is_told(other)):
        return False
    error = math.hypot(error_tok_s(one) or 0.0, error_tok_s(other) or 0.0)
    return a + SIGMAS * error < SAME_SPEED * b


def _share(row: Row) -> float:
    """The error as a share of the speed."""
    return (error_tok_s(row) or 0.0) / row.decode_tok_s if row.decode_tok_s else 0.0
