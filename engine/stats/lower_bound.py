"""How far two distributions are apart at least, where some tokens' probabilities alone are known under both.

The tokens that are known make S; all others count as one, with what is left of both:

    KL(p ‖ q) ≥ Σ_S p (ln p − ln q) + (1 − p(S)) ln((1 − p(S)) / (1 − q(S)))

By the log-sum inequality merging tokens never makes a divergence larger (Cover and Thomas, Elements of
Information Theory, theorem 2.7.1). There is no bound from above: outside S q may be as small as it likes.
A top-k that is renormalized bounds nothing. Pure.
"""

import math
from collections.abc import Sequence

USUAL_TOP = 200
"""Likeliest tokens a position, where nobody asks for another number and whoever tells them tells so many."""
LEAST_TOP = 2
"""A margin is between two tokens: whoever tells fewer tells nothing."""
LEAST = 1e-6  # a sum of float32 probabilities is no nearer to 1


def at_least(log_p: Sequence[float], log_q: Sequence[float]) -> tuple[float, float]:
    """A lower bound of KL(p ‖ q) in nats, and what p gives all tokens that are not in S.

    Natural logarithms for the tokens of S, in the same order, p normalized over the whole vocabulary. A token
    whose p is 0 counts with the others.
    """
    known = [(p, q) for p, q in zip(log_p, log_q, strict=True) if p > -math.inf]
    terms = math.fsum(math.exp(p) * (p - q) for p, q in known)
    p_rest, q_rest = (
        (max(0.0, 1 - math.fsum(map(math.exp, side))) for side in zip(*known, strict=True))
        if known
        else (1.0, 1.0)
    )
    rest = p_rest * math.log(p_rest / max(q_rest, LEAST)) if p_rest > LEAST else 0.0
    bound = terms + rest
    return 0.0 if bound < 0 else bound, p_rest  # what is no number stays none


def bound_text(top_k: int, tail: float) -> str:
    """What a KLD is where so many likeliest tokens were compared; `tail` is p's mean share of the others."""
    return f"its KLD is a lower bound (top {top_k}, tail {tail:.2%}): all other tokens count as one"
