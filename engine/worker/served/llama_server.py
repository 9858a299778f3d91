"""llama.cpp's server, by its own interface: ids go in and come out, and its times are in the last event."""

from typing import Any

import msgspec
from msgspec import Struct

from engine.config.profile import Generation, Prompt
from engine.protocol.answers import FinishReason, Message, ServedFigures
from engine.protocol.scores import Passage
from engine.worker.served.adapter import Ask, Asked, Can, Facts, Piece, Position, Rendered
from engine.worker.served.connection import Connection, ServerError, error_text
from engine.worker.served.openai import DONE, OpenAI, plain, token_ids
from engine.worker.served.vllm import variables

SAMPLERS = ("penalties", "temperature", "top_k", "top_p", "min_p")  # transformers' order
FORCE = 1e5  # nats that are put on a token's logit
CLOSE = 1e-4  # the server keeps floats of 32 bits
STOPS: dict[str, FinishReason] = {"eos": "stop", "word": "stop", "limit": "length"}


class Timings(Struct):
    """The server's own clock."""

    cache_n: int | None = None
    prompt_n: int | None = None
    prompt_ms: float | None = None
    predicted_n: int | None = None
    predicted_ms: float | None = None


class Event(Struct):
    """One event; the last has `stop`."""

    content: str = ""
    tokens: tuple[int, ...] = ()
    stop: bool = False
    stop_type: str = ""
    stopping_word: str = ""
    tokens_predicted: int | None = None
    tokens_evaluated: int | None = None
    generation_settings: dict[str, Any] = {}
    timings: Timings | None = None
    error: Any = None


class Likely(Struct):
    """A token at a position."""

    id: int
    logprob: float
    token: str = ""


class Chosen(Likely):
    """The one that was written, and the likeliest ones."""

    top_logprobs: tuple[Likely, ...] = ()


class Written(Struct):
    """An answer of one token."""

    completion_probabilities: tuple[Chosen, ...] = ()


class LlamaServer(OpenAI):
    """See above."""

    name = "llama-server"
    can = Can(
        ids=True,
        server_times=True,
        cold=True,
        load_figure=True,
        all_steps=True,
        resume=True,
        echoes_sampling=True,
        scores="token",
    )
    ping = "/health"

    def __init__(self) -> None:
        self._wanted = Generation()

    def facts(self, connection: Connection, model: str) -> Facts:
        """Format, size and build. A wrong name is taken silently by the server, so it was compared before."""
        data = connection.find("/v1/models").get("data") or []
        found = next((each for each in data if isinstance(each, dict) and each.get("id") == model), {})
        meta, props = found.get("meta") or {}, connection.find("/props")
        settings = props.get("default_generation_settings") or {}
        size = _whole(meta.get("size"))
        return Facts(
            label=str(meta.get("ftype") or props.get("model_ftype") or "gguf").lower(),
            model=model.rpartition("/")[2],
            version="" if "unknown" in (build := str(props.get("build_info") or "")) else build,
            parameters=_whole(meta.get("n_params")),
            context_length=_whole(settings.get("n_ctx")) or _whole(meta.get("n_ctx")),
            vocabulary=_whole(meta.get("n_vocab")),
            weights_bytes=size or None,
        )

    def rendered(
        self, connection: Connection, model: str, messages: tuple[Message, ...], prompt: Prompt
    ) -> Rendered | None:
        """The server's template, then its tokenizer, as it does itself."""
        if prompt.template == "raw":
            text = "\n".join(message.content for message in messages)
        else:
            asked = {"messages": plain(messages), **variables(prompt)}
            text = _text(connection.ask("/apply-template", asked).get("prompt"))
        tokenize = {"content": text, "add_special": True, "parse_special": True}
        return Rendered(text=text, token_ids=token_ids(connection.ask("/tokenize", tokenize)))

    def request(self, model: str, asked: Asked) -> tuple[str, dict[str, Any]]:
        """A text to go on with, as ids. The server's own defaults are other ones: every setting is sent."""
        settings = self._wanted = asked.generation
        return "/completion", {
            "prompt": asked.token_ids,
            "stream": True,
            "return_tokens": True,
            "cache_prompt": not asked.cold,
            "ignore_eos": asked.all_steps,
            "n_predict": settings.max_new_tokens,
            "temperature": settings.temperature,
            "top_k": settings.top_k,
            "top_p": settings.top_p,
            "min_p": settings.min_p,
            "repeat_penalty": settings.repetition_penalty,
            "repeat_last_n": len(asked.token_ids) + settings.max_new_tokens,  # all of them
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
            "seed": settings.seed % (1 << 32),
            "samplers": list(SAMPLERS),
            "stop": list(settings.stop),
        }

    def unsent(self, generation: Generation, prompt: Prompt) -> list[str]:
        """It takes all of them."""
        return []

    def piece(self, data: str) -> Piece | None:
        """Text and ids; at the end the times, and the settings that it used."""
        if data.strip() == DONE:
            return None
        event = msgspec.json.decode(data, type=Event)
        if event.error:
            return Piece(error=error_text(event.error))
        if not event.stop:
            return Piece(text=event.content, ids=event.tokens)
        return Piece(
            text=event.content,
            ids=event.tokens,
            finish=STOPS.get(event.stop_type),
            stopped_by=event.stopping_word,
            figures=_figures(event),
            notes=self._not_used(event.generation_settings),
        )

    def others(self, connection: Connection) -> int | None:
        """By `/slots`, which a server may be started without."""
        try:
            slots = connection.ask("/slots")
        except ServerError:
            return None
        if not isinstance(slots, list):
            return None
        return sum(isinstance(slot, dict) and slot.get("is_processing") is True for slot in slots)

    def text_of(self, connection: Connection, model: str, token_ids: tuple[int, ...]) -> str:
        """By `/detokenize`."""
        return _text(connection.ask("/detokenize", {"tokens": list(token_ids)}).get("content"))

    def most_likely(self, connection: Connection, model: str, facts: Facts) -> int:
        """All of the vocabulary."""
        return facts.vocabulary

    def tokenized(self, connection: Connection, model: str, text: str, *, begins: bool) -> tuple[int, ...]:
        """By `/tokenize`."""
        asked = {"content": text, "add_special": begins, "parse_special": True}
        return token_ids(connection.ask("/tokenize", asked))

    def scored(self, ask: Ask, model: str, passage: Passage, top: int) -> list[Position]:
        """Token by token, each written by force after all before it, which the server keeps.

        A bias that no logit outweighs chooses the text's own token; what is said of it and of the likeliest
        is the model's, before any bias and any sampling.
        """
        ids = passage.token_ids
        return [_position(ask, ids[:at], ids[at], top) for at in range(passage.first, len(ids))]

    def _not_used(self, used: dict[str, Any]) -> tuple[str, ...]:
        """Settings that the server says it changed; what does not matter to a greedy answer is left out."""
        wanted = {
            "temperature": self._wanted.temperature,
            "top_k": self._wanted.top_k,
            "top_p": self._wanted.top_p,
            "min_p": self._wanted.min_p,
            "repeat_penalty": self._wanted.repetition_penalty,
        }
        if self._wanted.temperature > 0:
            wanted["seed"] = self._wanted.seed % (1 << 32)
        other = [name for name, value in wanted.items() if name in used and not _equal(used[name], value)]
        return tuple(f"the server sampled with {name} {used[name]:g}, not {wanted[name]:g}" for name in other)


def _position(ask: Ask, before: tuple[int, ...], token_id: int, top: int) -> Position:
    asked = {
        "prompt": before,
        "n_predict": 1,
        "n_probs": top,
        "cache_prompt": True,
        "temperature": 0.0,
        "repeat_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "samplers": [],
        "logit_bias": [[token_id, FORCE]],
    }
    written = msgspec.json.decode(ask("/completion", asked), type=Written).completion_probabilities
    if not written or written[0].id != token_id:
        raise ServerError(f"does not score token {token_id} of the text", status=200)
    said = [*written[0].top_logprobs, written[0]]
    return Position(
        token_id=token_id,
        log_prob=written[0].logprob,
        likeliest={each.id: each.logprob for each in written[0].top_logprobs},
        pieces={each.id: each.token for each in said},
    )


def _figures(event: Event) -> ServedFigures:
    """The decoding's speed by its steps: the first token is the prompt's."""
    times = event.timings or Timings()
    steps = (times.predicted_n or 0) - 1
    read, read_ms = times.prompt_n, times.prompt_ms
    return ServedFigures(
        tokens=times.predicted_n if times.predicted_n is not None else event.tokens_predicted,
        prompt_tokens=event.tokens_evaluated,
        reused_tokens=times.cache_n,
        prefill_tok_s=read * 1000 / read_ms if read and read_ms else None,
        decode_tok_s=steps * 1000 / times.predicted_ms if times.predicted_ms and steps > 0 else None,
    )


def _equal(used: Any, wanted: float) -> bool:
    return isinstance(used, int | float) and abs(used - wanted) <= CLOSE * max(1.0, abs(wanted))


def _whole(found: Any) -> int:
    return found if isinstance(found, int) and found > 0 else 0


def _text(found: Any) -> str:
    if not isinstance(found, str):
        raise ServerError("answers without the text that was asked for", status=200)
    return found
