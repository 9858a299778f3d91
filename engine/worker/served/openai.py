"""Any server that speaks OpenAI's interface: chat completions over server-sent events. Nothing is taken for
granted: no ids, no `[DONE]`, no usage, and a role chunk that comes before the prompt is read.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from engine.config.profile import Generation, Prompt
from engine.protocol.answers import FinishReason, Message, ServedFigures
from engine.protocol.scores import Passage
from engine.worker.served.adapter import Ask, Asked, Can, Facts, Piece, Position, Rendered
from engine.worker.served.connection import Connection, ServerError, error_text
from engine.worker.served.events import Framing

DONE = "[DONE]"
FINISHES: Mapping[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "content_filter": "stop",
    "tool_calls": "stop",
    "function_call": "stop",
}


class Cached(Struct):
    """Of a prompt."""

    cached_tokens: int | None = None


class Usage(Struct):
    """Counts; some servers send them with every event."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: Cached | None = None


class Delta(Struct):
    """What is new of a message."""

    content: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None


class Choice(Struct):
    """The one answer that was asked for: of a chat (`delta`), or of a text (`text`)."""

    delta: Delta | None = None
    text: str | None = None
    finish_reason: str | None = None
    stop_reason: str | int | None = None
    token_ids: tuple[int, ...] | None = None
    prompt_token_ids: tuple[int, ...] | None = None


class Times(Struct):
    """vLLM's."""

    time_to_first_token_ms: float | None = None
    mean_itl_ms: float | None = None


class Chunk(Struct):
    """One event."""

    choices: tuple[Choice, ...] = ()
    usage: Usage | None = None
    metrics: Times | None = None
    error: Any = None


class OpenAI:
    """See above."""

    name = "openai"
    can = Can()
    framing: Framing = "sse"
    ping = "/v1/models"

    def models(self, connection: Connection) -> list[str]:
        """By `/v1/models`."""
        data = connection.find("/v1/models").get("data")
        found = [each.get("id") for each in data if isinstance(each, dict)] if isinstance(data, list) else []
        return [name for name in found if isinstance(name, str)]

    def facts(self, connection: Connection, model: str) -> Facts:
        """Nothing but the name."""
        return Facts(label=self.name, model=model)

    def rendered(
        self, connection: Connection, model: str, messages: tuple[Message, ...], prompt: Prompt
    ) -> Rendered | None:
        """The interface does not tell."""
        return None

    def request(self, model: str, asked: Asked) -> tuple[str, dict[str, Any]]:
        """A chat, or for `raw` a text to go on with. Only fields that all know: some refuse others."""
        settings = asked.generation
        body = {
            "model": model,
            "stream": True,
            "stream_options": {"include_usage": True},
            "max_tokens": settings.max_new_tokens,
            "temperature": settings.temperature,
            "top_p": settings.top_p,
            "seed": settings.seed,
        }
        if settings.stop:
            body["stop"] = list(settings.stop)
        if asked.prompt.template == "raw":
            return "/v1/completions", body | {"prompt": "\n".join(each.content for each in asked.messages)}
        return "/v1/chat/completions", body | {"messages": plain(asked.messages)}

    def unsent(self, generation: Generation, prompt: Prompt) -> list[str]:
        """OpenAI's interface knows none of these."""
        defaults, plainly = Generation(), Prompt()
        names = ("top_k", "min_p", "repetition_penalty")
        found = [name for name in names if getattr(generation, name) != getattr(defaults, name)]
        of_prompt = ("thinking", "template_args")
        return [*found, *(name for name in of_prompt if getattr(prompt, name) != getattr(plainly, name))]

    def piece(self, data: str) -> Piece | None:
        """A chunk."""
        if data.strip() == DONE:
            return None
        chunk = msgspec.json.decode(data, type=Chunk)
        if chunk.error:
            return Piece(error=error_text(chunk.error))
        if not chunk.choices:
            return Piece(figures=figures(chunk)) if chunk.usage else None
        choice, delta = chunk.choices[0], chunk.choices[0].delta or Delta()
        return Piece(
            text=delta.content or choice.text or "",
            thought=delta.reasoning or delta.reasoning_content or "",
            ids=choice.token_ids,
            total=chunk.usage.completion_tokens if chunk.usage else None,
            finish=FINISHES.get(choice.finish_reason, "stop") if choice.finish_reason else None,
            stopped_by=choice.stop_reason if isinstance(choice.stop_reason, str) else "",
            figures=figures(chunk) if chunk.usage and choice.finish_reason else None,
            prompt_ids=choice.prompt_token_ids,
        )

    def others(self, connection: Connection) -> int | None:
        """The interface does not tell."""
        return None

    def text_of(self, connection: Connection, model: str, token_ids: tuple[int, ...]) -> str:
        """The interface does not tell."""
        return ""

    def most_likely(self, connection: Connection, model: str, facts: Facts) -> int:
        """None: what it says of likely tokens are texts, and of those that it writes alone."""
        return 0

    def tokenized(self, connection: Connection, model: str, text: str, *, begins: bool) -> tuple[int, ...]:
        """The interface does not tell."""
        raise ServerError("tells no token ids")

    def scored(self, ask: Ask, model: str, passage: Passage, top: int) -> list[Position]:
        """The interface does not tell."""
        raise ServerError("scores no text that is given to it")


def figures(chunk: Chunk) -> ServedFigures:
    """What the usage says, and vLLM's times: its first token counts from when the prompt's turn came."""
    usage, times = chunk.usage or Usage(), chunk.metrics or Times()
    cached = usage.prompt_tokens_details.cached_tokens if usage.prompt_tokens_details else None
    read = (usage.prompt_tokens or 0) - (cached or 0)
    first_ms, gap_ms = times.time_to_first_token_ms, times.mean_itl_ms
    return ServedFigures(
        tokens=usage.completion_tokens,
        prompt_tokens=usage.prompt_tokens,
        reused_tokens=cached,
        prefill_tok_s=read * 1000 / first_ms if first_ms and read > 0 and cached is not None else None,
        decode_tok_s=1000 / gap_ms if gap_ms else None,
    )


def token_ids(found: Any) -> tuple[int, ...]:
    """What `/tokenize` says, checked; ServerError where these are no ids."""
    found = found.get("tokens") if isinstance(found, dict) else None
    if not isinstance(found, list) or not all(
        isinstance(each, int) and 0 <= each < 1 << 31 for each in found
    ):
        raise ServerError("/tokenize answers without token ids", status=200)
    return tuple(found)


def plain(messages: tuple[Message, ...]) -> list[dict[str, str]]:
    """Messages as JSON has them."""
    return [{"role": message.role, "content": message.content} for message in messages]
