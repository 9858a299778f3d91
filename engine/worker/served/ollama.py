"""Ollama, by its own interface: a JSON object a line, with its times in the last one.

By its documentation and source; no server of it was run against this.
"""

from typing import Any

import msgspec
from msgspec import Struct

from engine.config.profile import Generation, Prompt
from engine.protocol.answers import ServedFigures
from engine.worker.served.adapter import Asked, Can, Facts, Piece
from engine.worker.served.connection import Connection, error_text
from engine.worker.served.events import Framing
from engine.worker.served.openai import OpenAI, plain

KEEP = "30m"  # the model stays loaded between answers
PER_SECOND = 1e9  # its times are in nanoseconds


class Said(Struct):
    """What is new of a message."""

    content: str = ""
    thinking: str | None = None


class Line(Struct):
    """One line; the last has `done`."""

    message: Said | None = None
    response: str | None = None
    done: bool = False
    done_reason: str = ""
    prompt_eval_count: int | None = None
    prompt_eval_duration: int | None = None
    eval_count: int | None = None
    eval_duration: int | None = None
    error: Any = None


class Ollama(OpenAI):
    """See above."""

    name = "ollama"
    can = Can(server_times=True)
    framing: Framing = "lines"
    ping = "/api/version"

    def models(self, connection: Connection) -> list[str]:
        """By `/api/tags`."""
        return [name for each in _tags(connection) if isinstance(name := each.get("name"), str)]

    def facts(self, connection: Connection, model: str) -> Facts:
        """Quantization and the file's size."""
        found = next((each for each in _tags(connection) if each.get("name") == model), {})
        details, version = found.get("details") or {}, connection.find("/api/version").get("version")
        size = found.get("size")
        return Facts(
            label=str(details.get("quantization_level") or self.name).lower(),
            model=model,
            version=version if isinstance(version, str) else "",
            weights_bytes=size if isinstance(size, int) and size > 0 else None,
        )

    def request(self, model: str, asked: Asked) -> tuple[str, dict[str, Any]]:
        """A chat, or for `raw` a text to go on with."""
        settings = asked.generation
        options = {
            "num_predict": settings.max_new_tokens,
            "temperature": settings.temperature,
            "top_k": settings.top_k,
            "top_p": settings.top_p,
            "min_p": settings.min_p,
            "repeat_penalty": settings.repetition_penalty,
            "seed": settings.seed,
            "stop": list(settings.stop),
        }
        body: dict[str, Any] = {"model": model, "stream": True, "keep_alive": KEEP, "options": options}
        if asked.prompt.thinking != "auto":
            body["think"] = asked.prompt.thinking == "on"
        if asked.prompt.template == "raw":
            prompt = "\n".join(each.content for each in asked.messages)
            return "/api/generate", body | {"prompt": prompt, "raw": True}
        return "/api/chat", body | {"messages": plain(asked.messages)}

    def unsent(self, generation: Generation, prompt: Prompt) -> list[str]:
        """Its templates have no variables."""
        return ["template_args"] if prompt.template_args else []

    def piece(self, data: str) -> Piece | None:
        """A line."""
        line = msgspec.json.decode(data, type=Line)
        if line.error:
            return Piece(error=error_text(line.error))
        said = line.message or Said(content=line.response or "")
        return Piece(
            text=said.content,
            thought=said.thinking or "",
            finish=("length" if line.done_reason == "length" else "stop") if line.done else None,
            figures=_figures(line) if line.done else None,
        )


def _figures(line: Line) -> ServedFigures:
    """Where the prompt was cached its count is left out, and so is its speed."""
    read, read_ns = line.prompt_eval_count, line.prompt_eval_duration
    steps = (line.eval_count or 0) - 1
    return ServedFigures(
        tokens=line.eval_count,
        prompt_tokens=read,
        prefill_tok_s=read * PER_SECOND / read_ns if read and read_ns else None,
        decode_tok_s=steps * PER_SECOND / line.eval_duration if line.eval_duration and steps > 0 else None,
    )


def _tags(connection: Connection) -> list[dict[str, Any]]:
    found = connection.find("/api/tags").get("models")
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []
