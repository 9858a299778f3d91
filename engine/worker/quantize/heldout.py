"""A short check of a quantized model: its perplexity on text that calibration did not use.

Owns the text, its windows and the verdict. Meant to catch broken results; figures to compare need longer
runs.
"""

import math
from collections.abc import Callable
from itertools import islice

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from engine.config.record import Check
from engine.errors import LoadError
from engine.worker.texts.sets import HELD_OUT_NAME, python_docs
from engine.worker.texts.tokens import beginning, token_stream

WINDOWS, LENGTH = 2, 512
BROKEN_RATIO = 10.0

Samples = list[list[int]]


def samples(tokenizer: PreTrainedTokenizerBase, window: int) -> Samples:
    """The held-out text as token ids: two windows of at most 512."""
    length = min(LENGTH, window or LENGTH)
    begin = beginning(tokenizer)
    ids = token_stream(python_docs(held_out=True), "\n\n", tokenizer, window)
    return [[*begin, *islice(ids, length - len(begin))] for _ in range(WINDOWS)]


@torch.inference_mode()
def perplexity(
    model: PreTrainedModel, found: Samples, device: torch.device, reach: Callable[[int], None]
) -> float:
    """exp of the mean negative log-likelihood (float32) of every token but a window's first.

    `reach` is called with how many windows are done.
    """
    total, count = 0.0, 0
    for done, sample in enumerate(found, 1):
        ids = torch.tensor([sample], device=device)  # [1, length]
        logits = model(ids, use_cache=False).logits[0, :-1].float()  # [length − 1, vocabulary]
        targets = ids[0, 1:].to(logits.device)
        total += float(torch.nn.functional.cross_entropy(logits, targets, reduction="sum"))
        count += len(targets)
        reach(done)
    return math.exp(min(total / count, 700.0)) if math.isfinite(total) else math.inf


def check(found: Samples, source: float, result: float) -> Check:
    """Both perplexities with the text they were measured on."""
    tokens = sum(len(sample) - 1 for sample in found)
    text = f"{HELD_OUT_NAME}: {len(found)} windows of {len(found[0])} tokens"
    return Check(text=text, tokens=tokens, source_perplexity=source, perplexity=result)


def note(found: Check) -> str:
    """The figures in a line."""
    return (
        f"perplexity on held-out text {found.perplexity:.2f}; the source's is {found.source_perplexity:.2f}"
    )


def refuse_broken(found: Check, label: str) -> None:
    """LoadError where the result is ten times worse than its source, or not finite."""
    if found.perplexity < BROKEN_RATIO * found.source_perplexity:
        return
    raise LoadError(
        f"the result of {label} is broken: perplexity {found.perplexity:.4g} on held-out text, "
        f"the source's is {found.source_perplexity:.4g}",
        "it was not kept; try more bits, a smaller group_size, or more calibration text",
    )
