"""A reference's likeliest tokens alone, where all its logits are too many to travel: what they still tell.

Owns their layout in a file, a row of float32 a position: the ids (as bits), their log-probabilities, one
rounding step of the largest logit.
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from engine.errors import InputError
from engine.stats.lower_bound import at_least


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

    def divergence(self, log_q: Tensor) -> tuple[list[float], list[float]]:
        """At least KL(p ‖ q) at each position [n], in nats, and what p gives all other tokens.

        `log_q` [n, vocabulary] are the other model's log-probabilities: see `engine.stats.lower_bound`.
        """
        pairs = zip(self.log_p.tolist(), log_q.gather(1, self.ids).tolist(), strict=True)
        found = [at_least(log_p, log_q) for log_p, log_q in pairs]
        return [kld for kld, _ in found], [left_out for _, left_out in found]


def rounding_step(values: Tensor) -> Tensor:
    """The distance from each number to the next larger one in its own dtype, as float32."""
    exponents = torch.frexp(values.float()).exponent - 1
    epsilon = torch.full(values.shape, torch.finfo(values.dtype).eps, device=values.device)
    return torch.ldexp(epsilon, exponents)
