"""Where a model's weights come from: the names a profile can give as `model.source`, parsed.

Fetches nothing: a worker does, in `engine/worker/checkpoints/fetch.py`.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from engine.errors import InputError

SHAPES = Path(__file__).parent / "shapes"  # one config.json a named shape
BUILT_IN = {
    **{f"Qwen/Qwen3-{size}": f"qwen3-{size.lower()}" for size in ("0.6B", "1.7B", "4B", "8B", "14B", "32B")},
    **{f"google/gemma-3-{size}-it": f"gemma-3-{size}" for size in ("1b", "4b", "12b", "27b")},
    "Qwen/Qwen2.5-7B-Instruct": "qwen2.5-7b",
    "Qwen/Qwen3-30B-A3B": "qwen3-30b-a3b",
    "meta-llama/Llama-3.1-8B-Instruct": "llama-3.1-8b",
    "meta-llama/Llama-3.3-70B-Instruct": "llama-3.1-70b",
    "microsoft/phi-4": "phi-4-14b",
    "mistralai/Mistral-Small-24B-Instruct-2501": "mistral-small-24b",
    "unsloth/gpt-oss-20b-BF16": "gpt-oss-20b",
}
"""Repositories in full precision whose shapes are here: planned from those where the hub gives nothing."""
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


@dataclass(frozen=True, slots=True)
class Demo:
    """The packaged SmolLM2-135M-Instruct."""


@dataclass(frozen=True, slots=True)
class Hub:
    """A repository on the model hub, such as `Qwen/Qwen2.5-7B-Instruct`."""

    repo: str


@dataclass(frozen=True, slots=True)
class Folder:
    """A local checkpoint folder, also one that a quantizer wrote."""

    path: Path


@dataclass(frozen=True, slots=True)
class GgufFile:
    """A local `.gguf` file."""

    path: Path


@dataclass(frozen=True, slots=True)
class Random:
    """Random weights of a named real shape: measures a machine before any download."""

    shape: str

    @property
    def config(self) -> Path:
        """The shape's config.json."""
        return SHAPES / f"{self.shape}.json"


Source = Demo | Hub | Folder | GgufFile | Random


def shapes() -> list[str]:
    """The names that `random:` knows."""
    return sorted(file.stem for file in SHAPES.glob("*.json"))


def parse_source(text: str) -> Source:
    """The source a profile names; InputError where it names none."""
    if text == "demo":
        return Demo()
    if text.startswith("random:"):
        shape = text.removeprefix("random:")
        if shape not in shapes():
            raise InputError(f"no shape named {shape!r}", "choose from " + ", ".join(shapes()))
        return Random(shape)
    if "\0" in text:
        raise InputError(f"{text!r} names no model", "a path has no NUL in it")
    if text.lower().endswith(".gguf"):
        return GgufFile(Path(text))
    if text.startswith((".", "/", "~")):
        return Folder(Path(text))
    if _HUB_ID.fullmatch(text):
        return Hub(text)
    raise InputError(f"{text!r} names no model", "demo, org/name, a folder, a .gguf file or random:<shape>")
