"""How a quantized checkpoint was made: what `quantduel.json` in its folder says, with its recipe.

Plain data. Knows neither folders nor the wire.
"""

import msgspec
from msgspec import Struct

from engine.config.methods import Method

LATER = {"backend": "gptqmodel", "format": "gptq"}
"""Options that came later, with what was done before: a recipe that says so has the name that it had."""


class Recipe(Struct, frozen=True, kw_only=True):
    """Everything a quantized checkpoint depends on: equal recipes are one checkpoint."""

    model: str
    """The source with its content's identity: a commit, a content hash, a shape's name."""
    dtype: str
    method: Method
    calibration_sha256: str = ""
    """Of calibration text on this machine; empty for hub sets and where none is needed."""
    versions: dict[str, str]

    @property
    def key(self) -> str:
        """A short name for the recipe: 16 hex digits of its SHA-256."""
        import hashlib  # OpenSSL, which the first picture does without

        content = msgspec.to_builtins(self)
        method = content["method"]
        for option in [key for key, first in LATER.items() if method.get(key) == first]:
            del method[option]
        return hashlib.sha256(msgspec.json.encode(content, order="sorted")).hexdigest()[:16]


class Check(Struct, frozen=True, kw_only=True):
    """Perplexity on a short held-out text, before and after; `text` says which and how it was cut."""

    text: str
    tokens: int
    source_perplexity: float
    perplexity: float

    @property
    def ratio(self) -> float:
        """How many times the source's perplexity."""
        return self.perplexity / self.source_perplexity


class ModuleError(Struct, frozen=True, kw_only=True):
    """What quantizing one linear layer cost, in the method's own loss."""

    layer: int
    module: str
    loss: float


class Record(Struct, frozen=True, kw_only=True):
    """How a checkpoint was made."""

    recipe: Recipe
    profile: str
    created: str
    """ISO 8601, UTC."""
    seconds: float
    """Of quantizing and packing alone; without fetching, checking and saving."""
    total_seconds: float
    """Of everything after fetching the source."""
    peak_bytes: int
    """The process's largest resident set; on a GPU the allocator's peak."""
    calibration_tokens: int = 0
    check: Check | None = None
    errors: tuple[ModuleError, ...] = ()
    notes: tuple[str, ...] = ()
    content_sha256: str = ""
    """Of the files that are loaded; empty where the version that made it did not say."""
