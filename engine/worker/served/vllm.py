"""vLLM: the conversation is tokenized by the server, and the ids are sent, so that what is read is known."""

import secrets
from typing import Any

from engine.config.profile import Generation, Prompt
from engine.protocol import Message
from engine.worker.served.adapter import Asked, Can, Facts, Rendered
from engine.worker.served.connection import Connection, ServerError
from engine.worker.served.openai import OpenAI, plain


class Vllm(OpenAI):
    """See above."""

    name = "vllm"
    can = Can(ids=True, server_times=True, cold=True, load_figure=True)
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
        ids = _ids(connection.ask("/tokenize", asked).get("tokens"))
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


def variables(prompt: Prompt) -> dict[str, Any]:
    """What a template is told: the profile's variables, and whether to think."""
    found = dict(prompt.template_args)
    if prompt.thinking != "auto":
        found["enable_thinking"] = prompt.thinking == "on"
    return {"chat_template_kwargs": found} if found else {}


def _ids(found: Any) -> tuple[int, ...]:
    if not isinstance(found, list) or not all(
        isinstance(each, int) and 0 <= each < 1 << 31 for each in found
    ):
        raise ServerError("/tokenize answers without token ids", status=200)
    return tuple(found)
