"""Generation: read a prompt in chunks, then token after token, as a generator.

Knows a loaded model and one request; must not know of processes, the wire or anybody's clock but its own.
"""

import math
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.config import runtime
from engine.config.profile import Generation
from engine.ending import STOP_STRING
from engine.errors import InputError
from engine.protocol.answers import Decode, FinishReason
from engine.worker import step as steps
from engine.worker.checkpoints import readable
from engine.worker.generate import prompt, sampling, thinking
from engine.worker.generate.detokenize import Detokenizer, StopStrings
from engine.worker.interrupt import CancelledError
from engine.worker.load import LoadedModel
from engine.worker.step import GrowingCache, Stepper


@dataclass(frozen=True, slots=True)
class Resumption:
    """The part of an answer that was written before it was resumed."""

    token_ids: tuple[int, ...]
    pieces: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Prefill:
    """How many of the prompt's tokens have been read."""

    done: int
    total: int
    ns: int


@dataclass(frozen=True, slots=True)
class Token:
    """A chosen token, `ns` when its id was known here, and the text it completed."""

    id: int
    text: str
    ns: int


@dataclass(frozen=True, slots=True)
class End:
    """The answer's end, the text still held back, and how it was decoded."""

    reason: FinishReason
    text: str
    mode: Decode = "eager"
    notes: tuple[str, ...] = ()


Step = Resumption | Prefill | Token | End


def generate(  # noqa: PLR0913  # a request, spelled out
    loaded: LoadedModel,
    token_ids: Sequence[int],
    generation: Generation,
    cancelled: Callable[[], bool],
    cache: GrowingCache,
    *,
    answered: int = 0,
) -> Iterator[Step]:
    """Answer a prompt: Prefill (the first with `done` 0), Token after Token, one End.

    The last `answered` of `token_ids` are an answer that was interrupted: Resumption comes first, then what
    would have come without the interruption, sampled or not.

    In float32 greedy tokens are those of transformers' own `generate`. `cancelled` is asked before every
    token and every chunk, and on a CPU also within a chunk, which is then forgotten. `cache` is the caller's,
    and may hold the first of `token_ids` already, but not all of them. InputError where the prompt fills the
    context window, or has a token that the model does not know.
    """
    readable.require_embedded(loaded.model, loaded.tokenizer, token_ids)
    limit = int(min(generation.max_new_tokens, tokens_left(loaded.info.context_length, len(token_ids))))
    model = steps.begin(loaded.model, cache)
    prompt = torch.tensor([token_ids], device=loaded.device)
    unread = prompt[:, cache.get_seq_length() :]
    answer = _Answer(loaded, generation.stop)
    if answered:
        ids = tuple(token_ids[-answered:])
        yield Resumption(ids, tuple(answer.take(id) for id in ids))
    chunks = model.chunks(unread, runtime.chunk_tokens(loaded.info.parameters, loaded.device.type))
    if not (yield from _prefill(model, chunks, cancelled)):
        yield End("cancelled", "")
        return
    choose = _Chooser(generation, prompt, model.logits)
    choose.skip(answered, model.logits)
    reader = _Reader(model, prompt, cancelled)
    reason = yield from _decode(model, reader, choose, answer, limit, cancelled)
    yield End(reason, answer.flush(), model.mode, (*answer.notes, *model.notes))


def prepare(loaded: LoadedModel, cache: GrowingCache, batch: int = 1) -> int:
    """Do once what the steps of an answer in this cache need; the nanoseconds it took, 0 for nothing to do.

    It counts towards no answer's time. `cache` holds the beginning of a prompt or nothing.
    """
    started_ns = time.monotonic_ns()
    model = steps.begin(loaded.model, cache)
    token_ids = torch.zeros((batch, 1), dtype=torch.long, device=loaded.device)
    return time.monotonic_ns() - started_ns if model.prepare(token_ids) else 0


def tokens_left(context_length: int, prompt_tokens: int) -> float:
    """How many tokens fit after a prompt, infinity where `context_length` is 0; InputError for none."""
    if prompt_tokens == 0:
        raise InputError("the prompt has no tokens", "this model needs at least one to start from")
    left = context_length - prompt_tokens if context_length else math.inf
    if left <= 0:
        raise InputError(
            f"the prompt has {prompt_tokens} tokens, the context window {context_length}: none are left",
            "shorten the prompt or clear the conversation",
        )
    return left


def end_tokens(loaded: LoadedModel) -> frozenset[int]:
    """Every token that ends an answer, by the model's generation config and by the tokenizer."""
    configured = getattr(loaded.model.generation_config, "eos_token_id", None)
    listed = configured if isinstance(configured, list | tuple) else [configured]
    return frozenset(id for id in (*listed, loaded.tokenizer.eos_token_id) if id is not None)


class _Chooser:
    """Picks tokens for one answer, with its own random numbers and its own set of seen tokens."""

    def __init__(self, generation: Generation, prompt: Tensor, logits: Tensor) -> None:
        self._generation, self._home = generation, prompt.device
        self._rng = torch.Generator(logits.device).manual_seed(generation.seed)
        penalized = generation.repetition_penalty != 1
        self._seen = sampling.seen_tokens(prompt.to(logits.device), logits.shape[-1]) if penalized else None

    def skip(self, tokens: int, logits: Tensor) -> None:
        """Draw and drop the random numbers of this many tokens, which were used before."""
        for _ in range(tokens if self._generation.temperature >= sampling.GREEDY_BELOW else 0):
            torch.empty_like(logits).exponential_(1, generator=self._rng)

    @torch.inference_mode()
    def __call__(self, logits: Tensor) -> Tensor:
        """The next token [1, 1], on the device where the model wants it."""
        choice = sampling.pick(logits, self._generation, self._seen, self._rng)
        if self._seen is not None:
            self._seen.scatter_(1, choice, True)
        return choice.to(self._home)


class _Answer:
    """The text of one answer, and whether a token or a stop string has ended it."""

    def __init__(self, loaded: LoadedModel, stop: tuple[str, ...]) -> None:
        self._detokenizer, self._stops = Detokenizer(loaded.tokenizer), StopStrings(stop)
        self._ends = end_tokens(loaded)
        template = prompt.template(loaded.tokenizer, loaded.profile.prompt)
        self._marks = thinking.marks(loaded.tokenizer, template) or ()
        self.is_over = False

    def take(self, token_id: int) -> str:
        """The text this token completes; an end token has none."""
        if token_id in self._ends:
            self.is_over = True
            return ""
        hidden = self._detokenizer.hides(token_id)
        name = self._detokenizer.name(token_id) if hidden else ""
        text = self._detokenizer.push(token_id)
        if name in self._marks:  # the reader needs it, to know where thoughts end
            text, name = self._detokenizer.flush() + name, ""
        piece = self._stops.push(text, name)
        self.is_over = self._stops.reached
        return piece

    @property
    def notes(self) -> tuple[str, ...]:
        """What ended it, where that was no token of the model's own."""
        return (STOP_STRING,) if self._stops.reached else ()

    def flush(self) -> str:
        """What was held back, as far as it may be shown."""
        return self._stops.push(self._detokenizer.flush()) + self._stops.flush()


def _prefill(
    model: Stepper, chunks: Sequence[Tensor], cancelled: Callable[[], bool]
) -> Generator[Prefill, None, bool]:
    """Read a prompt; False where it was cancelled on the way, even in the middle of a chunk."""
    done, total = 0, sum(chunk.shape[1] for chunk in chunks)
    yield Prefill(done, total, time.monotonic_ns())
    for chunk in chunks:
        if not model.read_unless(cancelled, chunk):
            return False
        done += chunk.shape[1]
        yield Prefill(done, total, time.monotonic_ns())
    return True


class _Reader:
    """Reads the tokens of one answer, and all of a text once more where its family does so at some length."""

    def __init__(self, model: Stepper, text: Tensor, cancelled: Callable[[], bool]) -> None:
        self._model, self._cancelled, self._at = model, cancelled, model.read_again_at
        self._text, self._tokens = [text], text.shape[1]

    def __call__(self, choice: Tensor) -> None:
        """Read one token [1, 1]; CancelledError where that happened while the text was read again."""
        self._tokens += 1
        if self._tokens <= self._at < math.inf:
            self._text.append(choice)
        if self._tokens != self._at:
            self._model.read(choice)
        elif not self._model.read_again_unless(self._cancelled, torch.cat(self._text, dim=1)):
            raise CancelledError


def choices(
    model: Stepper,
    choose: Callable[[Tensor], Tensor],
    steps: int,
    read: Callable[[Tensor], None] | None = None,
) -> Generator[tuple[list[int], int]]:
    """Token ids [batch] of one step after another, and when they were known here.

    A GPU gets the next step's work before this one's tokens are looked at. `read` is the model's own.
    """
    read = read or model.read
    try:
        choice = choose(model.logits)
        for left in reversed(range(steps)):
            arriving, is_ahead = _Arriving(choice), bool(left) and model.runs_ahead
            if is_ahead:
                read(choice)
                choice = choose(model.logits)
            yield arriving.ids(), time.monotonic_ns()
            if left and not is_ahead:
                read(choice)
                choice = choose(model.logits)
    finally:
        model.sync_length()


class _Arriving:
    """A choice [batch, 1] on its way from the device."""

    def __init__(self, choice: Tensor) -> None:
        self._here, self._arrived = choice, None
        if choice.is_cuda:
            self._here = torch.empty(choice.shape, dtype=choice.dtype, pin_memory=True)
            self._here.copy_(choice, non_blocking=True)
            self._arrived = torch.cuda.Event()
            self._arrived.record()

    def ids(self) -> list[int]:
        """Waits for it, and for nothing that was launched later."""
        if self._arrived is not None:
            self._arrived.synchronize()
        ids: list[int] = self._here.view(-1).tolist()
        return ids


def _decode(  # noqa: PLR0913, PLR0917  # an answer's parts
    model: Stepper,
    reader: _Reader,
    choose: _Chooser,
    answer: _Answer,
    limit: int,
    cancelled: Callable[[], bool],
) -> Generator[Token, None, FinishReason]:
    """Write an answer of at most `limit` tokens; why it ended."""
    if cancelled():
        return "cancelled"
    with suppress(CancelledError), closing(choices(model, choose, limit, reader)) as chosen:
        for number, ((token_id,), ns) in enumerate(chosen, start=1):
            yield Token(token_id, answer.take(token_id), ns)
            if answer.is_over:
                return "stop"
            if number < limit and cancelled():
                return "cancelled"
        return "length"
    return "cancelled"
