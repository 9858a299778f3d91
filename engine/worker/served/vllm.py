"""vLLM: the conversation is tokenized by the server, and the ids are sent, so that what is read is known."""

import re
import secrets
from typing import Any

import msgspec
from msgspec import Struct

from engine.config.profile import Generation, Prompt
from engine.protocol.answers import Message
from engine.protocol.scores import Passage
from engine.worker.served.adapter import Ask, Asked, Can, Facts, Position, Rendered
from engine.worker.served.connection import Connection, ServerError
from engine.worker.served.openai import OpenAI, plain, token_ids

MOST_ASKED = 1 << 20  # likeliest tokens: more than any vocabulary has
ALLOWED = re.compile(r"max allowed: (\d{1,9})")


class Likely(Struct):
    """A token at a position."""

    logprob: float
    decoded_token: str | None = None


class Scored(Struct):
    """The one answer."""

    prompt_logprobs: list[dict[int, Likely] | None] | None = None


class Answer(Struct):
    """What scores a given text."""

    choices: tuple[Scored, ...]


class Vllm(OpenAI):
    """See above."""

    name = "vllm"
    can = Can(ids=True, server_times=True, cold=True, load_figure=True, all_steps=True, scores="passage")
    ping = "/health"

    def facts(self, connection: Connection, model: str) -> Facts:
        """Version, and the context that the model was given."""
        data = connection.find("/v1/models").get("data") or []
        found = next((each for each in data if isinstance(each, dict) and each.get("id") == model), {})
        version = connection.find("/version").get("version")
        length = found.get("max_model_len")
        return Facts(
            label=model.rpartition("/")[2],
            model=model,
            version=version if isinstance(version, str) else "",
            context_length=length if isinstance(length, int) and length > 0 else 0,
        )

    def rendered(
        self, connection: Connection, model: str, messages: tuple[Message, ...], prompt: Prompt
    ) -> Rendered | None:
        """By `/tokenize`; the text by `/detokenize`."""
        asked: dict[str, Any] = {"model": model}
        if prompt.template == "raw":
            asked |= {"prompt": "\n".join(each.content for each in messages), "add_special_tokens": True}
        else:
            asked |= {"messages": plain(messages), "add_generation_prompt": True, **variables(prompt)}
        ids = token_ids(connection.ask("/tokenize", asked))
        return Rendered(text=self.text_of(connection, model, ids), token_ids=ids)

    def request(self, model: str, asked: Asked) -> tuple[str, dict[str, Any]]:
        """A text to go on with, as ids. A salt of its own keeps a cold prompt out of the prefix cache."""
        settings = asked.generation
        body = {
            "model": model,
            "prompt": asked.token_ids,
            "stream": True,
            "stream_options": {"include_usage": True, "continuous_usage_stats": True},
            "return_token_ids": True,
            "max_tokens": settings.max_new_tokens,
            "temperature": settings.temperature,
            "top_p": settings.top_p,
            "top_k": settings.top_k or -1,
            "min_p": settings.min_p,
            "repetition_penalty": settings.repetition_penalty,
            "seed": settings.seed,
        }
        if settings.stop:
            body["stop"] = list(settings.stop)
        if asked.all_steps:
            body |= {"ignore_eos": True, "min_tokens": settings.max_new_tokens}
        if asked.cold:
            body["cache_salt"] = secrets.token_hex(8)
        return "/v1/completions", body

    def unsent(self, generation: Generation, prompt: Prompt) -> list[str]:
        """It takes all of them."""
        return []

    def others(self, connection: Connection) -> int | None:
        """By `/load`."""
        count = connection.find("/load").get("server_load")
        return count if isinstance(count, int) else None

    def text_of(self, connection: Connection, model: str, token_ids: tuple[int, ...]) -> str:
        """By `/detokenize`."""
        found = connection.ask("/detokenize", {"model": model, "tokens": list(token_ids)}).get("prompt")
        return found if isinstance(found, str) else ""

    def most_likely(self, connection: Connection, model: str, facts: Facts) -> int:
        """`--max-logprobs`, which a refusal names: nothing is computed for it."""
        asked = {"model": model, "prompt": "a", "max_tokens": 1, "prompt_logprobs": MOST_ASKED}
        try:
            connection.ask("/v1/completions", asked)
        except ServerError as error:
            if error.status != 400:
                raise
            found = ALLOWED.search(error.message)
            return int(found[1]) if found else 0
        return MOST_ASKED

    def tokenized(self, connection: Connection, model: str, text: str, *, begins: bool) -> tuple[int, ...]:
        """By `/tokenize`."""
        asked = {"model": model, "prompt": text, "add_special_tokens": begins}
        return token_ids(connection.ask("/tokenize", asked))

    def scored(self, ask: Ask, model: str, passage: Passage, top: int) -> list[Position]:
        """In one request, for which the server reads the whole text, whatever it kept."""
        ids, first = passage.token_ids, passage.first
        asked = {"model": model, "prompt": ids, "max_tokens": 1, "temperature": 0, "prompt_logprobs": top}
        found = msgspec.json.decode(ask("/v1/completions", asked), type=Answer, strict=False)
        said = (found.choices[0].prompt_logprobs if found.choices else None) or []
        if len(said) != len(ids):
            raise ServerError(f"scores {len(said)} tokens of {len(ids)}", status=200)
        return [
            _position(token_id, each or {}) for token_id, each in zip(ids[first:], said[first:], strict=True)
        ]


def _position(token_id: int, said: dict[int, Likely]) -> Position:
    """The text's own token is always there, whether it is likely or not."""
    if token_id not in said:
        raise ServerError(f"does not score token {token_id} of the text: it reads other ids", status=200)
    return Position(
        token_id=token_id,
        log_prob=said[token_id].logprob,
        likeliest={each: likely.logprob for each, likely in said.items()},
        pieces={each: likely.decoded_token or "" for each, likely in said.items()},
    )


def variables(prompt: Prompt) -> dict[str, Any]:
    """What a template is told: the profile's variables, and whether to think."""
    found = dict(prompt.template_args)
    if prompt.thinking != "auto":
        found["enable_thinking"] = prompt.thinking == "on"
    return {"chat_template_kwargs": found} if found else {}
