"""How a model scores given tokens: log-probabilities, first choices, and the divergence from a reference.

Knows a loaded model and one command. The arithmetic is float32, slice by slice, so its memory does not grow
with the text. How another model's logits get here is `logits_file`'s business.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedTokenizerBase

from engine.errors import GenerationError, InputError
from engine.protocol.failure import Failed
from engine.protocol.scores import Passage, Score, Scored
from engine.worker import forward, step
from engine.worker.checkpoints import readable
from engine.worker.interrupt import CancelledError, interruptible
from engine.worker.load import LoadedModel
from engine.worker.measure.likeliest import Likeliest, rounding_step
from engine.worker.measure.logits_file import Exchange

LARGEST_LOGIT = 1e4  # beyond it nothing is left of the other tokens
SLICE_BYTES = 32 << 20  # of float32 logits that are worked on at once


class Scorer:
    """Scores command after command; keeps what the last one read, for one that continues it."""

    def __init__(self) -> None:
        self._read: _Read | None = None

    @torch.inference_mode()
    def scored(self, loaded: LoadedModel, command: Score, cancelled: Callable[[], bool]) -> Scored | Failed:
        """What the command asks for. InputError where its tokens do not fit the model's context window."""
        passage = command.passage
        _require_window(loaded, passage)
        readable.require_embedded(loaded.model, loaded.tokenizer, passage.token_ids)
        torch.set_num_threads(command.threads or loaded.info.threads)
        self._read = self._previous(loaded, passage)
        found, exchange = _Found(passage.top), Exchange(command)
        targets = torch.tensor(passage.token_ids[passage.first :])
        for logits in found.timed(_blocks(loaded, passage, self._read, cancelled)):  # [n, vocabulary]
            for part in logits.split(slice_positions(logits.shape[-1])):
                done = len(found.log_probs)
                reference = exchange.swap(part, done)
                found.add(part, targets[done : done + len(part)].to(part.device), reference)
        if len(found.log_probs) < len(targets):
            self._read = None
            return Failed(kind="cancelled", message="cancelled", request=command.request)
        found.require_numbers()
        pieces = _pieces(loaded.tokenizer, found.mentioned(passage)) if passage.top else {}
        return found.event(command.request, pieces, exchange)

    def _previous(self, loaded: LoadedModel, passage: Passage) -> "_Read":
        """What was read before; nothing unless the passage continues the last one."""
        if self._read is None or not passage.continues:
            return _Read(step.new_cache(loaded.model.config, dtype=loaded.cache_dtype))
        if self._read.cache.get_seq_length() != passage.first:
            raise InputError("these tokens do not continue the last ones")
        return self._read


@dataclass(slots=True)
class _Read:
    """Tokens that were read: their cache, and the logits [1, vocabulary] for the next token."""

    cache: DynamicCache
    next_logits: Tensor | None = None


@dataclass(slots=True)
class _Found:
    """The figures of all positions so far, on the host, and the time that the forward passes took."""

    top: int
    log_probs: list[float] = field(default_factory=list)
    first_choices: list[int] = field(default_factory=list)
    klds: list[float] = field(default_factory=list)
    margins: list[float] = field(default_factory=list)
    reference_margins: list[float] = field(default_factory=list)
    reference_rounding: list[float] = field(default_factory=list)
    top_ids: list[tuple[int, ...]] = field(default_factory=list)
    top_log_probs: list[tuple[float, ...]] = field(default_factory=list)
    rounding: list[float] = field(default_factory=list)
    left_out: list[float] = field(default_factory=list)
    read_tokens: int = 0
    read_ns: int = 0

    def timed(self, blocks: Iterator[tuple[int, Tensor | None]]) -> Iterator[Tensor]:
        """The logits of forward passes, whose tokens and time are counted."""
        while True:
            started_ns = time.monotonic_ns()
            tokens, logits = next(blocks, (None, None))
            self.read_tokens += tokens or 0
            self.read_ns += time.monotonic_ns() - started_ns
            if tokens is None:
                return
            if logits is not None:
                yield logits

    def add(self, logits: Tensor, targets: Tensor, reference: Tensor | Likeliest | None) -> None:
        """Take a slice: logits [n, vocabulary] and the reference's, targets [n]."""
        log_p = log_softmax(logits)
        self.log_probs += log_p.gather(1, targets[:, None])[:, 0].tolist()
        self.first_choices += logits.argmax(dim=-1).tolist()
        if isinstance(reference, Likeliest):
            self.compare_likeliest(logits, log_p, reference.to(logits.device))
        elif reference is not None:
            self.compare(logits, log_p, reference.to(logits.device))
        if self.top:
            best = logits.topk(min(self.top, logits.shape[-1]), dim=-1)
            self.top_ids += map(tuple, best.indices.tolist())
            self.top_log_probs += map(tuple, log_p.gather(1, best.indices).tolist())
            self.rounding += rounding_step(best.values[:, 0]).tolist()

    def compare(self, logits: Tensor, log_p: Tensor, reference: Tensor) -> None:
        """Take a slice against the reference's logits: all are [n, vocabulary]."""
        self.klds += divergence(log_softmax(reference), log_p).tolist()
        best = reference.topk(2, dim=-1)  # values and indices [n, 2]
        self.margins += margin(logits.gather(1, best.indices))
        self.reference_margins += margin(best.values)
        self.reference_rounding += rounding_step(best.values[:, 0]).tolist()

    def compare_likeliest(self, logits: Tensor, log_p: Tensor, reference: Likeliest) -> None:
        """Take a slice against the reference's likeliest tokens, the others as one: a bound from below."""
        klds, left_out = reference.divergence(log_p)
        self.klds += klds
        self.left_out += left_out
        self.margins += margin(logits.gather(1, reference.ids[:, :2]))
        self.reference_margins += margin(reference.log_p[:, :2])
        self.reference_rounding += reference.rounding.tolist()

    def require_numbers(self) -> None:
        """GenerationError where a figure is not finite: an overflow, or a token without any probability."""
        likeliest = (value for values in self.top_log_probs for value in values)
        if not all(map(math.isfinite, (*self.log_probs, *self.klds, *self.rounding, *likeliest))):
            hint = "try another `model.dtype`"
            raise GenerationError(
                "the model's logits are infinite or NaN, or give a token of the text no probability", hint
            )

    def mentioned(self, passage: Passage) -> set[int]:
        """Every token id in the event."""
        return {*passage.token_ids[passage.first :], *(id for ids in self.top_ids for id in ids)}

    def event(self, request: int, pieces: dict[int, str], exchange: Exchange) -> Scored:
        """All of it."""
        return Scored(
            request=request,
            log_probs=tuple(self.log_probs),
            first_choices=tuple(self.first_choices),
            klds=tuple(self.klds),
            margins=tuple(self.margins),
            reference_margins=tuple(self.reference_margins),
            reference_rounding=tuple(self.reference_rounding),
            top_ids=tuple(self.top_ids),
            top_log_probs=tuple(self.top_log_probs),
            pieces=pieces,
            rounding=tuple(self.rounding),
            left_out=tuple(self.left_out),
            logits=exchange.written,
            read_tokens=self.read_tokens,
            read_ns=self.read_ns,
        )


def log_softmax(logits: Tensor) -> Tensor:
    """Log-probabilities [n, vocabulary] in float32."""
    return torch.log_softmax(logits.float(), dim=-1)


def divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p ‖ q) at each position [n], in nats: the sum of p (ln p - ln q); where p is 0 nothing is added."""
    terms = log_p.exp() * (log_p - log_q)
    return terms.masked_fill_(log_p == -torch.inf, 0).sum(dim=-1, dtype=torch.float64)


def margin(pairs: Tensor) -> list[float]:
    """The first of each pair of logits [n, 2] less the second, in nats; bounded where one is ruled out."""
    pairs = pairs.float().clamp(-LARGEST_LOGIT, LARGEST_LOGIT)
    found: list[float] = (pairs[:, 0] - pairs[:, 1]).tolist()
    return found


def slice_positions(vocabulary: int) -> int:
    """How many positions are worked on at once in float32."""
    return max(1, SLICE_BYTES // (4 * vocabulary))


def _blocks(
    loaded: LoadedModel, passage: Passage, read: _Read, cancelled: Callable[[], bool]
) -> Iterator[tuple[int, Tensor | None]]:
    """Of each forward pass the number of tokens read, and the logits [n, vocabulary] that are wanted, if any.

    A token's logits are those of the position before it. The passage is read to its very end, so that passes
    have the shape, and the rounding, of plain ones. Ends early when it is cancelled.
    """
    begin, end = read.cache.get_seq_length(), len(passage.token_ids)
    if begin and read.next_logits is not None:
        yield 0, read.next_logits
    inputs = torch.tensor([passage.token_ids[begin:]], device=loaded.device)
    for chunk in read.cache.chunks(inputs, passage.chunk or inputs.shape[1]):
        if cancelled():
            return
        kept = read.cache.get_seq_length() + chunk.shape[1] - (passage.first - 1)
        try:
            with interruptible(cancelled, chunk.device):
                logits = _forward(loaded, chunk, read.cache, max(1, min(kept, chunk.shape[1])))
        except CancelledError:
            return
        if read.cache.get_seq_length() == end:
            logits, read.next_logits = logits[:-1], logits[-1:].clone()
        yield chunk.shape[1], logits if kept > 0 and len(logits) else None


def _forward(loaded: LoadedModel, chunk: Tensor, cache: DynamicCache, kept: int) -> Tensor:
    """A forward pass over `chunk` [1, n]: the logits [kept, vocabulary] of its last positions."""
    logits = forward.logits(loaded.model, chunk, cache, kept)
    if logits.is_cuda:
        torch.cuda.synchronize(logits.device)
    return logits[0, -kept:]


def _require_window(loaded: LoadedModel, passage: Passage) -> None:
    tokens, window = len(passage.token_ids), loaded.info.context_length
    if not 1 <= passage.first < tokens:
        raise InputError(f"there is nothing to score: token {passage.first} of {tokens}")
    if window and tokens > window:
        raise InputError(f"{tokens} tokens do not fit the model's context window of {window}")


def _pieces(tokenizer: PreTrainedTokenizerBase, token_ids: set[int]) -> dict[int, str]:
    """Each token's own text; part of a character becomes the replacement character."""
    return {token_id: tokenizer.decode([token_id]) for token_id in sorted(token_ids)}
