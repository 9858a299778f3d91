"""A reference's likeliest tokens alone, where all its logits are too many to travel: what they still tell.

Owns their layout in a file, a row of float32 a position: the ids (as bits), their log-probabilities, one
rounding step of the largest logit.
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from engine.errors import InputError


@dataclass(frozen=True, slots=True)
class Likeliest:
    """Of n positions the k likeliest tokens, the likeliest first."""

    ids: Tensor
    """[n, k], int64."""
    log_p: Tensor
    """[n, k], natural, by a softmax over the whole vocabulary in float32."""
    rounding: Tensor
    """[n]: one rounding step of the largest logit."""

    @classmethod
    def of(cls, logits: Tensor, kept: int) -> Self:
        """Of logits [n, vocabulary]."""
        best = logits.topk(kept, dim=-1)
        log_p = torch.log_softmax(logits.float(), dim=-1).gather(1, best.indices)
        return cls(best.indices, log_p, rounding_step(best.values[:, 0]))

    @classmethod
    def of_rows(cls, rows: Tensor, vocabulary: int) -> Self:
        """What `rows` gave; InputError where an id is none of the vocabulary."""
        kept = (rows.shape[1] - 1) // 2
        ids = rows[:, :kept].contiguous().view(torch.int32).long()
        if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < vocabulary:
            raise InputError("the reference's likeliest tokens are not in the vocabulary")
        return cls(ids, rows[:, kept : 2 * kept], rows[:, -1])

    def rows(self) -> Tensor:
        """[n, 2k + 1], float32."""
        return torch.cat([self.ids.int().view(torch.float32), self.log_p, self.rounding[:, None]], dim=1)

    def to(self, device: torch.device) -> "Likeliest":
        """The same on a device."""
        return Likeliest(self.ids.to(device), self.log_p.to(device), self.rounding.to(device))

    def divergence(self, log_q: Tensor) -> tuple[Tensor, Tensor]:
        """At least KL(p ‖ q) at each position [n], in nats, and what p gives all other tokens.

        The others count as one token, with all their probability: by the log-sum inequality merging tokens
        never makes a divergence larger (Cover and Thomas, Elements of Information Theory, theorem 2.7.1).
        """
        log_p, log_q = self.log_p.double(), log_q.gather(1, self.ids).double()
        p_rest, q_rest = ((1 - log.exp().sum(dim=-1)).clamp(min=0) for log in (log_p, log_q))
        terms = (log_p.exp() * (log_p - log_q)).masked_fill(log_p == -torch.inf, 0).sum(dim=-1)
        rest = torch.where(p_rest > LEAST, p_rest * (p_rest / q_rest.clamp(min=LEAST)).log(), 0.0)
        return (terms + rest).clamp(min=0), p_rest


LEAST = 1e-6  # a sum of float32 probabilities is no nearer to 1


def rounding_step(values: Tensor) -> Tensor:
    """The distance from each number to the next larger one in its own dtype, as float32."""
    exponents = torch.frexp(values.float()).exponent - 1
    epsilon = torch.full(values.shape, torch.finfo(values.dtype).eps, device=values.device)
    return torch.ldexp(epsilon, exponents)
