"""Sampling against transformers' own processors, one setting at a time and all together."""

import pytest
import torch
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from engine.config.profile import Generation
from engine.worker.generate import sampling

VOCABULARY = 1000
NO_IDS = torch.zeros(3, 0, dtype=torch.long)


@pytest.fixture(params=[0, 1, 2])
def logits(request: pytest.FixtureRequest) -> torch.Tensor:
    """Three rows: spread out, sharply peaked, and rounded so that many tie."""
    rows = torch.randn(3, VOCABULARY, generator=torch.Generator().manual_seed(request.param))
    return torch.stack([rows[0], rows[1] * 8, (rows[2] * 4).round()])


@pytest.mark.parametrize("k", [1, 2, 50, VOCABULARY, 5 * VOCABULARY])
def test_top_k(logits: torch.Tensor, k: int) -> None:
    assert torch.equal(sampling.top_k(logits, k), TopKLogitsWarper(k)(NO_IDS, logits))


@pytest.mark.parametrize("p", [1e-6, 0.1, 0.5, 0.9, 0.999])
def test_top_p(logits: torch.Tensor, p: float) -> None:
    assert torch.equal(sampling.top_p(logits, p), TopPLogitsWarper(p)(NO_IDS, logits))


@pytest.mark.parametrize("p", [1e-4, 0.05, 0.5, 0.999])
def test_min_p(logits: torch.Tensor, p: float) -> None:
    assert torch.equal(sampling.min_p(logits, p), MinPLogitsWarper(p)(NO_IDS, logits))


@pytest.mark.parametrize("penalty", [0.5, 1.3, 4.0])
def test_repetition_penalty(logits: torch.Tensor, penalty: float) -> None:
    ids = torch.tensor(
        [[1, 1, 5, 999], [0, 0, 0, 0], [3, 4, 3, 1200]]
    )  # 1200: an id the head has no logit for
    ours = sampling.penalize(logits, sampling.seen_tokens(ids, VOCABULARY), penalty)
    assert torch.equal(ours, RepetitionPenaltyLogitsProcessor(penalty)(ids, logits))


def test_all_settings_in_transformers_order(logits: torch.Tensor) -> None:
    theirs = LogitsProcessorList(
        [TemperatureLogitsWarper(0.7), TopKLogitsWarper(40), TopPLogitsWarper(0.8), MinPLogitsWarper(0.1)]
    )
    ours = sampling.narrowed(logits, Generation(temperature=0.7, top_k=40, top_p=0.8, min_p=0.1))
    assert torch.equal(ours, theirs(NO_IDS, logits))


def test_what_is_off_leaves_the_logits_alone(logits: torch.Tensor) -> None:
    assert sampling.narrowed(logits, Generation(temperature=1.0)) is logits


def test_greedy_is_the_best_token_whatever_else_is_set(logits: torch.Tensor) -> None:
    generation = Generation(temperature=0.0, top_k=3, top_p=0.5)
    choice = sampling.pick(logits, generation, None, torch.Generator())
    assert torch.equal(choice, logits.argmax(-1, keepdim=True))


@pytest.mark.parametrize("temperature", [1e-9, 1e-11, 1e-30, 1e-45, 1e-320])
def test_almost_0_is_greedy_and_never_overflows(temperature: float) -> None:
    logits = torch.tensor([[-3e4, 2.0, 3e4, 3e4 - 0.01]])
    settings = Generation(temperature=temperature, top_k=4, top_p=1e-300, min_p=1.0, repetition_penalty=1e-6)
    seen = torch.tensor([[False, True, True, False]])
    assert sampling.pick(logits, settings, seen, torch.Generator()).item() == 2


@pytest.mark.parametrize("penalty", [1e-6, 1e6])
@pytest.mark.parametrize("temperature", [1e-10, 1e6])
def test_the_ends_of_every_range_leave_probabilities(temperature: float, penalty: float) -> None:
    logits = torch.tensor([[-3e4, 0.0, 2.0, 3e4, -torch.inf]])
    penalized = sampling.penalize(logits, torch.tensor([[True] * 5]), penalty)
    found = sampling.narrowed(penalized, Generation(temperature=temperature, top_p=1e-9)).softmax(dim=-1)
    assert found.sum() == pytest.approx(1)


def test_greedy_heeds_the_repetition_penalty(logits: torch.Tensor) -> None:
    generation = Generation(repetition_penalty=1e6)
    best = logits.argmax(-1, keepdim=True)
    choice = sampling.pick(logits, generation, sampling.seen_tokens(best, VOCABULARY), torch.Generator())
    assert not (choice == best).any()


def test_drawing_follows_the_seed_and_the_probabilities() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0, -torch.inf]]).repeat(20_000, 1)
    generation = Generation(temperature=1.0)

    def draw(seed: int) -> torch.Tensor:
        return sampling.pick(logits, generation, None, torch.Generator().manual_seed(seed))

    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))
    shares = torch.bincount(draw(1).flatten(), minlength=4) / len(logits)
    assert torch.allclose(shares, logits[0].softmax(-1), atol=0.015)  # four standard errors
