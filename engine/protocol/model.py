"""What was loaded, as it really is: its parts, what it holds in memory, and what a server says of its own."""

from typing import Annotated, Literal

import msgspec
from msgspec import Struct

from engine.config.runtime import StepKind
from engine.protocol.bounds import MOST_NOTES, Count, Line, Notes

Scoring = Literal["", "passage", "token"]
"""Of a server: not at all, a whole passage a request, or a token a request."""
Counter = Literal["", "NVML", "RAPL"]
Lack = Literal["", "no RAPL", "RAPL not readable", "no NVML", "not in NVML", "server"]
"""Why no energy can be counted; the engine puts it into words."""


class Weights(Struct, frozen=True, kw_only=True):
    """Bytes of parameters and buffers as stored; a tensor used twice counts once, as embedding."""

    linear_bytes: Count
    """Linear layers with their scales and zero points; the output head too, unless it is the embedding."""
    embedding_bytes: Count
    other_bytes: Count
    """Norms, rotary tables and the like."""

    @property
    def total_bytes(self) -> int:
        """All of them."""
        return self.linear_bytes + self.embedding_bytes + self.other_bytes


class Memory(Struct, frozen=True, kw_only=True):
    """What is in use now, in bytes. `peak_bytes` is the highest since the request began."""

    weights_bytes: Count
    kv_cache_bytes: Count
    peak_bytes: Count
    """CUDA: the allocator's peak. CPU: the peak of the resident set."""
    process_bytes: Count
    device_used_bytes: Count
    device_total_bytes: Count
    process_source: Line
    """How `process_bytes` was read: `NVML`, `resident set`, or `allocator` where the driver hides it."""
    activations_bytes: Count | None = None
    """The peak, less weights and cache; on a CPU what the resident set grew by, less the cache."""
    reserved_bytes: Count | None = None
    """What CUDA's allocator holds, in use or not; None on a CPU, which has no such allocator."""


class ServedModel(Struct, frozen=True, kw_only=True):
    """A model that a server holds: which server, and what can be learned from it.

    Front ends go by this: what is not here cannot be asked.
    """

    engine: Line
    """`vllm`, `llama-server`, `sglang`, `ollama` or `openai`."""
    address: Line
    is_here: bool = False
    """The server is on this machine, and shares its processors."""
    round_trip_ms: float | None = None
    """Median of a few small requests: what the network adds to TTFT."""
    ids: bool = False
    """Prompts go as token ids, and answers come with theirs: equal input can be proved."""
    server_times: bool = False
    """It says itself how long the prompt and the answer took."""
    cold: bool = False
    """It can be made to read the whole prompt."""
    load_figure: bool = False
    """It says whether it answers others meanwhile."""
    all_steps: bool = False
    """An answer can be made as long as is asked for, whatever ends others."""
    at_once: bool = False
    """It answers many requests at once, in a process that is not the worker's."""
    scores: Scoring = ""
    """How it scores a text that is given to it."""
    top_k: Count = 0
    """How many of the likeliest tokens it tells at each position, at most; 0 where it scores no text."""


class Energy(Struct, frozen=True, kw_only=True):
    """How the device's energy is counted, and what the device drew before the model was loaded."""

    counter: Counter = ""
    lack: Lack = ""
    """Why there is no counter."""
    idle_watts: Annotated[float, msgspec.Meta(ge=0)] | None = None
    idle_is_shared: bool = False
    """Others were at work on the device, or a model of theirs was on it."""


class ModelInfo(Struct, frozen=True, kw_only=True):
    """What was loaded, as it really is."""

    label: Line
    """The method's badge, such as `bf16` or `nf4`."""
    kernel: Line
    """The class that multiplies with quantized weights, such as `Linear4bit`."""
    architecture: Line
    parameters: Count
    """Logical parameters: a packed 4-bit weight counts as one; tied ones count once. 0 is not known."""
    context_length: Count
    """0 is without bound, or not known."""
    dtype: Line
    device: Line
    device_name: Line
    threads: Count
    host: Line = ""
    """The machine's name; empty for the one that QuantDuel runs on."""
    machine: Line = ""
    """Equal for two models of one machine (see `Hello`); empty for those of this one, its containers too."""
    vocabulary: Count = 0
    """Logits a position."""
    logit_bytes: Count = 0
    """Of one logit, as the model gives it."""
    copy_bytes_s: float | None = None
    """How fast the device copied when the model was loaded, read plus written; None where that failed."""
    step: StepKind = "forward"
    """How a token is computed: `compiled` and `native` are the engine's own steps, `forward` the model's."""
    weights: Weights | None
    """None where a server does not say."""
    tokenizer_sha256: Line
    """Of the vocabulary and merges: equal means that equal ids are equal text. Empty for a server's."""
    has_chat_template: bool
    notes: Notes = ()
    """What the user should know, such as weights that were dequantized on load."""
    versions: Annotated[dict[Line, Line], msgspec.Meta(max_length=MOST_NOTES)]
    energy: Energy | None = None
    """None in records of a time when it was not told."""
    served: ServedModel | None = None
    """None for a model that is in the worker itself."""

    @property
    def weights_bytes(self) -> int | None:
        """All of them; None where that is not known."""
        return self.weights.total_bytes if self.weights else None

    @property
    def place(self) -> str:
        """`cuda:0`, `cuda:0 on gpu2`: the device, and the machine's name where it is another one."""
        return f"{self.device} on {self.host}" if self.host else self.device


class ThinkMarks(Struct, frozen=True, kw_only=True):
    """What stands around a model's thoughts, such as `<think>` and `</think>`."""

    open: Line
    close: Line
    within: bool = False
    """The prompt ends with the first mark: the answer begins within thoughts."""
