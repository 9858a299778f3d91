"""How many tokens a model was made for, by its config: for the plan and for the worker alike.

Owns the rule. Where rotary positions are scaled, `max_position_embeddings` may be the window before that.
"""

from collections.abc import Mapping
from typing import Any

from engine.shape import families
from engine.shape.boundary import LARGEST_NUMBER

_STRETCHING = {"linear", "dynamic", "yarn"}
"""Kinds of scaling with a factor. llama3's and longrope's window is `max_position_embeddings` itself."""
LARGEST_FACTOR = 1e6
_WINDOW, _ORIGINAL = "max_position_embeddings", "original_max_position_embeddings"


def of(config: Mapping[str, Any]) -> int:
    """Tokens; 0 where the config sets no limit."""
    text = families.completed(config)
    said = _tokens(text, _WINDOW)
    scaling = text.get("rope_parameters") or text.get("rope_scaling")
    if not said or not isinstance(scaling, dict) or _has_wide_layers(text):
        return said
    original = _tokens(text, _ORIGINAL) or _tokens(scaling, _ORIGINAL) or said
    return max(said, int(original * _factor(scaling)))


def _factor(scaling: Mapping[str, Any]) -> float:
    """How many times as far positions reach by this scaling; 0 where it says nothing of that."""
    kind, factor = scaling.get("rope_type") or scaling.get("type"), scaling.get("factor")
    if not isinstance(kind, str) or kind not in _STRETCHING or not isinstance(factor, int | float):
        return 0.0
    return float(factor) if 0 < factor <= LARGEST_FACTOR else 0.0


def _tokens(config: Mapping[str, Any], key: str) -> int:
    """A number of tokens; 0 for none and for what stands for any number, such as 1e30."""
    value = config.get(key)
    return value if isinstance(value, int) and 0 < value <= LARGEST_NUMBER else 0


def _has_wide_layers(text: Mapping[str, Any]) -> bool:
    """Whether the scaling is that of some layers alone: their window is what the config says."""
    return len(set(families.of(text).get("layers", []))) > 1
