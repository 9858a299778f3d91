"""SGLang: OpenAI's interface with more sampling settings, and counts in every event.

By its documentation and source; no server of it was run against this.
"""

from typing import Any

from engine.config.profile import Generation, Prompt
from engine.worker.served.adapter import Asked
from engine.worker.served.openai import OpenAI
from engine.worker.served.vllm import variables


class SGLang(OpenAI):
    """See above."""

    name = "sglang"

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
        return path, body | more

    def unsent(self, generation: Generation, prompt: Prompt) -> list[str]:
        """It takes all of them."""
        return []
