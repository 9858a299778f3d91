"""Profiles: a model, a quantization method, a prompt and sampling settings in one YAML file.

Owns the schema. Reads no file and knows no torch.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from msgspec import Meta, Struct

from engine.config.methods import LlamaCpp, Method, Stored, original
from engine.config.runtime import CacheDtype
from engine.config.serving.programs import program
from engine.config.serving.serve import Serve
from engine.config.sources import Remote, Served, Source, parse_source
from engine.config.worker_place import Worker
from engine.errors import InputError

Dtype = Literal["auto", "bfloat16", "float16", "float32"]
Thinking = Literal["auto", "on", "off"]
TEMPLATE_NAMES = {"messages", "tools", "documents", "add_generation_prompt", "chat_template", "tokenize"}
"""Variables of a chat template that are the engine's to fill."""
MOST_TEMPLATE_BYTES = 1 << 20
Seed = Annotated[int, Meta(ge=0, le=2**62)]


class _Section(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the parts of a profile have in common."""


class Model(_Section, frozen=True):
    """Where the weights come from and how they are held."""

    source: str
    """`demo`, a hub id (`org/name`), a folder, a `.gguf` file, `random:<shape>`, or a server's address
    (`http://host:8000/v1`)."""
    revision: str = "main"
    """Branch, tag or commit of a hub id."""
    dtype: Dtype = "auto"
    """Of the weights that are not quantized, and of the arithmetic; `auto` is the checkpoint's own."""
    device: str = "auto"
    """`auto` is the first GPU, or the CPU where there is none; `split` spreads over all GPUs."""
    trust_remote_code: bool = False
    """Run Python code out of the model's repository. Only for repositories you have read."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?|split", self.device):
            raise ValueError(f"device: expected auto, cpu, cuda, cuda:1 or split, not {self.device!r}")
        try:
            parse_source(self.source)
        except InputError as error:
            raise ValueError(f"source: {error}") from None


class Cache(_Section, frozen=True):
    """How the keys and values of what was read are held ([its figures](measuring.md#a-cache-in-8-bits)).

    In 8 bits they take about half the memory. A model with layers that keep a sliding window or a recurrent
    state is refused, but not with `llama_cpp`: there int8 is q8_0, and there is no fp8. A served model has
    the cache its server was started with (vLLM: `--kv-cache-dtype fp8`, llama-server: `-ctk q8_0 -ctv q8_0`).
    """

    dtype: CacheDtype = "auto"
    """`auto` is the model's own; `int8` and `fp8` (e4m3) have a scale for each token and head."""

    @property
    def badge(self) -> str:
        """What a method's badge needs with it, such as `+kv-int8`; empty for `auto`."""
        return "" if self.dtype == "auto" else f"+kv-{self.dtype}"


class Prompt(_Section, frozen=True):
    """How a conversation becomes the text the model reads."""

    template: str = "chat"
    """`chat` (the tokenizer's own), `raw` (plain completion), or the path of a Jinja file."""
    system: str | None = None
    """The system message; where nothing is said, the template's own default stands."""
    thinking: Thinking = "auto"
    """Whether a model that can think before it answers does; `auto` leaves it to the template."""
    template_args: dict[str, bool | int | float | str] = {}
    """Variables for the template, such as `{enable_thinking: false}` or `{reasoning_effort: low}`."""

    def __post_init__(self) -> None:
        for name in self.template_args:
            if not name.isidentifier() or name in TEMPLATE_NAMES:
                raise ValueError(f"template_args: {name!r} is no variable that can be set")

    @property
    def file(self) -> Path | None:
        """The Jinja file it names, where it names one."""
        return None if self.template in {"chat", "raw"} else Path(self.template)

    def __hash__(self) -> int:
        """Profiles are keys; a dict alone is none."""
        return hash((self.template, self.system, self.thinking, frozenset(self.template_args.items())))


class Generation(_Section, frozen=True):
    """Sampling settings, with the meaning transformers gives them."""

    RETIRED: ClassVar[Mapping[str, str]] = {
        "compile": "delete this line: decode steps are compiled on a CPU and captured on a GPU anyway"
    }
    """Keys that were known once, and what to do about them."""

    max_new_tokens: Annotated[int, Meta(ge=1, le=1_000_000)] = 256
    temperature: Annotated[float, Meta(ge=0, le=1_000_000)] = 0.0
    """0 is greedy."""
    top_k: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    """0 is off."""
    top_p: Annotated[float, Meta(gt=0, le=1)] = 1.0
    min_p: Annotated[float, Meta(ge=0, le=1)] = 0.0
    repetition_penalty: Annotated[float, Meta(ge=1e-6, le=1_000_000)] = 1.0
    seed: Seed = 0
    stop: tuple[Annotated[str, Meta(min_length=1)], ...] = ()
    """Strings that end an answer, special tokens too; they are not part of it."""


class Profile(_Section, frozen=True, kw_only=True):
    """One side of a duel."""

    name: str = ""
    """The file's name without `.yaml`; not written in the file."""
    description: str = ""
    model: Model
    quantization: Method = Stored()
    cache: Cache = Cache()
    worker: Worker = Worker()
    remote: Remote = Remote()
    serve: Serve | None = None
    prompt: Prompt = Prompt()
    generation: Generation = Generation()

    @property
    def source(self) -> Source:
        """Where the weights come from, parsed."""
        return parse_source(self.model.source)

    def has_model_of(self, other: "Profile") -> bool:
        """Whether both load the same files: equal names on two machines are not."""
        own, others = self.model, other.model
        is_same = own.source == others.source and own.revision == others.revision
        return is_same and self.worker.launch == other.worker.launch

    @property
    def place(self) -> tuple[str, str]:
        """Equal for two profiles whose models share a device, as far as their words tell."""
        return self.worker.launch or "", self.model.device

    @property
    def runs_in(self) -> Worker:
        """Where its worker runs: as it says, or else in the environment that its method's code needs."""
        package = "" if self.serve else original(self.quantization)
        return Worker(environment=package) if package and self.worker.is_own else self.worker

    @property
    def label(self) -> str:
        """The method's badge, such as `bf16` or `nf4`."""
        method = "served" if self.is_served else self.quantization.label(self.model.dtype)
        label = method + self.cache.badge
        return f"{label} {program(self.serve).title}" if self.serve else label

    @property
    def is_served(self) -> bool:
        """Whether a server holds the model, which is then asked and not loaded."""
        return isinstance(self.source, Served)

    @property
    def source_address(self) -> str:
        """What to call its source: a server's host and port, else as the profile names it."""
        source = self.source
        return source.address if isinstance(source, Served) else self.model.source

    @property
    def needs_torch(self) -> bool:
        """Whether a worker loads the model into torch: neither asks a server nor runs one."""
        is_elsewhere = self.is_served or self.serve is not None
        return not is_elsewhere and not isinstance(self.quantization, LlamaCpp)
