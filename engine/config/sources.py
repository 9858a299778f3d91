"""Where a model's weights come from: the names a profile can give as `model.source`, parsed.

Fetches nothing: a worker does, in `engine/worker/checkpoints/fetch.py`. Also how a server that holds
the model is asked: the section `remote` of a profile. A key's value never comes here.
"""

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import SplitResult, urlsplit

from msgspec import Struct

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
    "mistralai/Mistral-7B-Instruct-v0.3": "mistral-7b",
    "mistralai/Mistral-Small-24B-Instruct-2501": "mistral-small-24b",
    "peft-internal-testing/opt-125m": "opt-125m",
    "unsloth/gpt-oss-20b-BF16": "gpt-oss-20b",
}
"""Repositories in full precision whose shapes are here: planned from those where the hub gives nothing."""
Engine = Literal["auto", "vllm", "llama-server", "sglang", "ollama", "openai"]
CACHE_FLAGS: dict[Engine, str] = {
    "vllm": "--kv-cache-dtype fp8",
    "sglang": "--kv-cache-dtype fp8_e4m3",
    "llama-server": "-ctk q8_0 -ctv q8_0",
    "ollama": "OLLAMA_KV_CACHE_TYPE=q8_0",
}
"""How a server is told to hold its cache in 8 bits."""
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]{0,63}")
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


@dataclass(frozen=True, slots=True)
class Served:
    """A model that a server holds, by the server's address: `http://host:8000/v1`."""

    url: str

    @property
    def root(self) -> str:
        """The server's own address, without the `/v1` of OpenAI's interface."""
        return self.url.rstrip("/").removesuffix("/v1")

    @property
    def address(self) -> str:
        """Host and port, to be shown."""
        return urlsplit(self.url).netloc

    @property
    def is_here(self) -> bool:
        """Whether it is on this machine, by its name."""
        host = urlsplit(self.url).hostname or ""
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"


class Remote(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a server is asked, where `model.source` is one's address ([served models](served.md))."""

    engine: Engine = "auto"
    """Which program serves; `auto` asks it. `openai` is any other that speaks OpenAI's interface."""
    model: str | None = None
    """The name that the server has for the model; left out, its only one."""
    key_env: str | None = None
    """The environment variable that has the server's key. The key itself stands in no profile."""

    @property
    def cache_flag(self) -> str:
        """What its server is started with to hold its cache in 8 bits."""
        return CACHE_FLAGS.get(
            self.engine, f"its own setting for that, such as {', '.join(CACHE_FLAGS.values())}"
        )

    def __post_init__(self) -> None:
        if self.key_env is not None and not _VARIABLE.fullmatch(self.key_env):
            # what stands there may be the key itself: it is not repeated
            raise ValueError("key_env: expected the name of an environment variable in capitals, not a key")


Source = Demo | Hub | Folder | GgufFile | Random | Served


def shapes() -> list[str]:
    """The names that `random:` knows."""
    return sorted(file.stem for file in SHAPES.glob("*.json"))


def parse_source(text: str) -> Source:
    """The source a profile names; InputError where it names none."""
    if text == "demo":
        return Demo()
    if text.lower().startswith(("http://", "https://")):
        return _served(text)
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
    hint = "demo, org/name, a folder, a .gguf file, random:<shape> or http://host:8000/v1"
    raise InputError(f"{text!r} names no model", hint)


def _served(text: str) -> Served:
    """InputError, which repeats no password, where this is no server's plain address."""
    parts = _split(text)
    if parts is None or not parts.hostname:
        raise InputError("this is no address of a server", "expected http://host:8000/v1")
    if "@" in parts.netloc:
        hint = "remote.key_env names the environment variable that has the key"
        raise InputError("an address has no name and no password in it", hint)
    if parts.query or parts.fragment:
        raise InputError("a server's address has no ? and no #", "expected http://host:8000/v1")
    return Served(text)


def _split(text: str) -> SplitResult | None:
    """None where a port or an IPv6 address is none, or a character is none of an address."""
    try:
        parts = urlsplit(text)
        return parts if parts.port != 0 and not re.search(r"[\s\0-\x1f\x7f]", text) else None
    except ValueError:
        return None
