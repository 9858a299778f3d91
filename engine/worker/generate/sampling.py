"""The next token out of logits: pure functions, with transformers' meaning and order of the settings.

Logits are float32 [batch, vocab]. A setting that is off costs nothing; only top-p sorts.
"""

import torch
from torch import Tensor

from engine.config.profile import Generation

GREEDY_BELOW = (
    1e-10  # at this temperature unequal float32 logits never share a draw; far below it they overflow
)


def pick(logits: Tensor, generation: Generation, seen: Tensor | None, rng: torch.Generator) -> Tensor:
    """The next token of each row [batch, 1]: the best one at temperature 0 or all but 0, otherwise drawn.

    `seen` [batch, vocab] marks the tokens of prompt and answer so far; only the repetition penalty needs it.
    """
    if seen is not None:
        logits = penalize(logits, seen, generation.repetition_penalty)
    if generation.temperature < GREEDY_BELOW:
        return logits.argmax(dim=-1, keepdim=True)
    return drawn(narrowed(logits, generation).softmax(dim=-1), rng)


def drawn(probabilities: Tensor, rng: torch.Generator) -> Tensor:
    """One index of each row [batch, 1]: torch.multinomial's own way, without its checks that wait for a GPU.

    The smallest of exponential waiting times at the rates p is number i with probability p_i.
    """
    waiting = torch.empty_like(probabilities).exponential_(1, generator=rng)
    return (probabilities / waiting).argmax(dim=-1, keepdim=True)


def narrowed(logits: Tensor, generation: Generation) -> Tensor:
    """Temperature, top-k, top-p and min-p, each on what the one before left."""
    if generation.temperature != 1:
        logits = logits / generation.temperature
    if generation.top_k:
        logits = top_k(logits, generation.top_k)
    if generation.top_p < 1:
        logits = top_p(logits, generation.top_p)
    if generation.min_p:
        logits = min_p(logits, generation.min_p)
    return logits


def seen_tokens(token_ids: Tensor, vocabulary: int) -> Tensor:
    """Which tokens occur in `token_ids` [batch, n]: a mask [batch, vocab]; others don't count."""
    mask = torch.zeros(token_ids.shape[0], vocabulary + 1, dtype=torch.bool, device=token_ids.device)
    return mask.scatter_(1, token_ids.clamp(max=vocabulary), True)[:, :vocabulary]


def penalize(logits: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """Make seen tokens less likely (CTRL, section 4.1): logits over the penalty, negative ones times it."""
    return torch.where(seen, torch.where(logits < 0, logits * penalty, logits / penalty), logits)


def top_k(logits: Tensor, k: int) -> Tensor:
    """Keep the k best, and whatever ties with the last of them."""
    worst_kept = logits.topk(min(k, logits.shape[-1])).values[:, -1:]
    return logits.masked_fill(logits < worst_kept, -torch.inf)


def top_p(logits: Tensor, p: float) -> Tensor:
    """Keep the smallest set of best tokens whose probability reaches p."""
    ascending, order = logits.sort(dim=-1)
    mass_from_below = ascending.softmax(dim=-1).cumsum(dim=-1)
    dropped = mass_from_below <= 1 - p
    dropped[:, -1] = False  # the best token stays, whatever rounding says
    return logits.masked_fill(dropped.scatter(1, order, dropped), -torch.inf)


def min_p(logits: Tensor, p: float) -> Tensor:
    """Keep what is at least p times as likely as the best token."""
    probabilities = logits.softmax(dim=-1)
    return logits.masked_fill(probabilities < p * probabilities.amax(dim=-1, keepdim=True), -torch.inf)
