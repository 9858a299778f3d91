"""SGLang: OpenAI's interface with more sampling settings, and counts in every event.

By its documentation and source; no server of it was run against this.
"""

from typing import Any

import msgspec
from msgspec import Struct

from engine.config.profile import Generation, Prompt
from engine.protocol.scores import Passage
from engine.worker.served.adapter import Ask, Asked, Can, Facts, Position
from engine.worker.served.connection import Connection, ServerError
from engine.worker.served.openai import OpenAI, token_ids
from engine.worker.served.vllm import variables

MOST_LIKELY = 1000  # it names no bound of its own
Said = tuple[float | None, int, str | None]
"""Log-probability, id, text; the first token has no probability."""


class Meta(Struct):
    """What comes with a text that is scored."""

    input_token_logprobs: tuple[Said, ...]
    input_top_logprobs: tuple[tuple[Said, ...] | None, ...]


class Answer(Struct):
    """What scores a given text."""

    meta_info: Meta


class SGLang(OpenAI):
    """See above."""

    name = "sglang"
    can = Can(all_steps=True, scores="passage")

    def request(self, model: str, asked: Asked) -> tuple[str, dict[str, Any]]:
        """As OpenAI's, and more."""
        path, body = super().request(model, asked)
        settings = asked.generation
        more = {
            "top_k": settings.top_k or -1,
            "min_p": settings.min_p,
            "repetition_penalty": settings.repetition_penalty,
            "stream_options": {"include_usage": True, "continuous_usage_stats": True},
            **variables(asked.prompt),
        }
        if asked.all_steps:
            more |= {"ignore_eos": True, "min_tokens": settings.max_new_tokens}
        return path, body | more

    def unsent(self, generation: Generation, prompt: Prompt) -> list[str]:
        """It takes all of them."""
        return []

    def most_likely(self, connection: Connection, model: str, facts: Facts) -> int:
        """As many as are asked for."""
        return MOST_LIKELY

    def tokenized(self, connection: Connection, model: str, text: str, *, begins: bool) -> tuple[int, ...]:
        """By `/tokenize`."""
        asked = {"model": model, "prompt": text, "add_special_tokens": begins}
        return token_ids(connection.ask("/tokenize", asked))

    def scored(self, ask: Ask, model: str, passage: Passage, top: int) -> list[Position]:
        """By the native `/generate`, in one request."""
        ids, first = passage.token_ids, passage.first
        asked = {
            "input_ids": ids,
            "sampling_params": {"max_new_tokens": 1, "temperature": 0},
            "return_logprob": True,
            "logprob_start_len": first - 1,
            "top_logprobs_num": top,
            "return_text_in_logprobs": True,
        }
        found = msgspec.json.decode(ask("/generate", asked), type=Answer).meta_info
        wanted = ids[first:]
        own, tops = found.input_token_logprobs[-len(wanted) :], found.input_top_logprobs[-len(wanted) :]
        if tuple(said[1] for said in own) != wanted or len(tops) != len(wanted):
            raise ServerError("scores other tokens than were sent", status=200)
        return [_position(said, top or ()) for said, top in zip(own, tops, strict=True)]


def _position(said: Said, likeliest: tuple[Said, ...]) -> Position:
    log_prob, token_id, _ = said
    if log_prob is None:
        raise ServerError(f"does not score token {token_id} of the text", status=200)
    return Position(
        token_id=token_id,
        log_prob=log_prob,
        likeliest={each: value for value, each, _ in likeliest if value is not None},
        pieces={each: text or "" for _, each, text in (said, *likeliest)},
    )
