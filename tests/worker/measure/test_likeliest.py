"""A reference's likeliest tokens alone: a bound on the divergence from below, and what is left out of it."""

import pytest
import torch

from engine.errors import InputError
from engine.worker.measure import score
from engine.worker.measure.likeliest import Likeliest

VOCABULARY = 50


def logits() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    p, q = (3 * torch.randn(20, VOCABULARY, generator=generator) for _ in range(2))
    return p, q


def test_the_bound_grows_to_the_divergence_itself() -> None:
    p, q = logits()
    log_p, log_q = torch.log_softmax(p, dim=-1), torch.log_softmax(q, dim=-1)
    whole = score.divergence(log_p, log_q)
    before = torch.zeros_like(whole)
    for kept in (2, 5, 20, VOCABULARY - 1):
        bound, left_out = map(torch.tensor, Likeliest.of(p, kept).divergence(log_q))
        assert (bound <= whole + 1e-5).all() and (bound >= before - 1e-5).all()
        expected = 1 - log_p.exp().topk(kept, dim=-1).values.sum(dim=-1)
        assert torch.allclose(left_out, expected, atol=1e-5)
        before = bound
    assert torch.allclose(before, whole.float(), atol=1e-4)


def test_rows_bring_everything_back_and_strange_ids_are_refused() -> None:
    found = Likeliest.of(logits()[0].bfloat16(), 7)
    again = Likeliest.of_rows(found.rows(), VOCABULARY)
    assert torch.equal(again.ids, found.ids) and torch.equal(again.log_p, found.log_p)
    assert torch.equal(again.rounding, found.rounding)
    with pytest.raises(InputError, match="not in the vocabulary"):
        Likeliest.of_rows(found.rows(), 5)
