"""How a served model is asked: which server it is, which of its models, and which key.

Owns the section `remote` of a profile. Asks nothing; a key's value never comes here.
"""

import re
from typing import Literal

from msgspec import Struct

Engine = Literal["auto", "vllm", "llama-server", "sglang", "ollama", "openai"]
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]{0,63}")


class Remote(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a server is asked, where `model.source` is one's address ([served models](served.md))."""

    engine: Engine = "auto"
    """Which program serves; `auto` asks it. `openai` is any other that speaks OpenAI's interface."""
    model: str | None = None
    """The name that the server has for the model; left out, its only one."""
    key_env: str | None = None
    """The environment variable that has the server's key. The key itself stands in no profile."""

    def __post_init__(self) -> None:
        if self.key_env is not None and not _VARIABLE.fullmatch(self.key_env):
            # what stands there may be the key itself: it is not repeated
            raise ValueError("key_env: expected the name of an environment variable in capitals, not a key")
