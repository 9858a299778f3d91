"""Writes engine/shape/families.json out of transformers' own configs: `python docs/write_families.py`.

A test keeps the file current. Of every text-generating kind it has the names that differ from the usual ones,
the defaults of what a plan asks for, and the kinds of the layers where they are not all alike.
"""

import json
import sys
from pathlib import Path
from typing import Any

from transformers import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.utils import logging

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from engine.shape.families import FILE, KEYS, WINDOW_NAMES  # noqa: E402

logging.set_verbosity_error()
WINDOW = "max_position_embeddings"


def families() -> dict[str, dict[str, Any]]:
    """What is known of every kind; of one with a text model inside, that one's kind."""
    found: dict[str, dict[str, Any]] = {}
    for kind in sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES):
        config = CONFIG_MAPPING[kind]
        inner: Any = (getattr(config, "sub_configs", None) or {}).get("text_config")
        if getattr(inner, "model_type", ""):
            found[kind] = {"text": inner.model_type}
            found[inner.model_type] = family(inner)
        else:
            found[kind] = family(config)
    return found


def family(config: Any) -> dict[str, Any]:
    """What is known of one kind."""
    names = {ours: theirs for ours, theirs in config.attribute_map.items() if ours in KEYS}
    if not _has(config, names.get(WINDOW, WINDOW)):
        names.update((WINDOW, name) for name in WINDOW_NAMES if _has(config, name))
    found = {key: getattr(config, names.get(key, key), ...) for key in KEYS}
    defaults = {key: value for key, value in found.items() if value is None or isinstance(value, int)}
    parts = {
        "names": names,
        "defaults": defaults,
        "layers": layers(config, defaults),
        "rotary": hasattr(config, "rope_parameters"),
    }
    return {name: part for name, part in parts.items() if part or name == "rotary"}


def layers(config: Any, defaults: dict[str, Any]) -> list[str]:
    """The kinds of layers that come again and again; none where rules about windows say the same."""
    try:
        kinds: list[str] = config().layer_types or []
    except Exception:  # a config that has no defaults, or no such attribute
        return []
    if not {"full_attention", "sliding_attention", "chunked_attention"} & set(kinds):
        return []
    if set(kinds) == {"full_attention"} and (
        "max_window_layers" in defaults or not defaults.get("sliding_window")
    ):
        return []
    lengths = range(1, len(kinds) + 1)
    return next(kinds[:n] for n in lengths if (kinds[:n] * len(kinds))[: len(kinds)] == kinds)


def _has(config: Any, name: str) -> bool:
    return isinstance(getattr(config, name, None), int)


def text() -> str:
    """The file: a line a kind."""
    lines = (f"{json.dumps(kind)}: {json.dumps(found)}" for kind, found in families().items())
    return "{\n" + ",\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    if "--print" in sys.argv:
        sys.stdout.write(text())
    else:
        FILE.write_text(text())
