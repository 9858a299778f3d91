"""The wire between the engine and a worker: commands one way, events the other, one JSON object a line.

Every event carries `ns`, the worker's CLOCK_MONOTONIC at the moment it happened: the only clock that counts.
Between two processes of one machine tensors never travel here. Between two machines the far end says `Hello`
first, both sides say something every moment, and logits travel in pieces: a line that says how many bytes
follow, and the bytes. What is outside the bounds of a field is no event, nor is a number that is none.
Requests are numbered by the client; events that belong to one carry its number.
"""

import time
from typing import Annotated, Literal

import msgspec
from msgspec import Struct

from engine.config.profile import Generation, Profile, Prompt
from engine.config.record import Record
from engine.config.runtime import StepKind

WIRE_VERSION = 3
"""Of everything here: raised with whatever an older QuantDuel would misread or not know."""
LONGEST_LINE_BYTES = 1 << 26
PIECE_BYTES = 1 << 20  # the most that follows one line
LONGEST_TEXT = 1 << 14  # characters of what is no model's output
GPU_FAULT_EXIT_CODE = 71  # of a worker whose GPU no longer answers
MOST_NOTES = 100
BUSY_CORES = "other processes kept cores busy"
"""What an answer's note begins with whose speeds others took cores from; recordings have it."""

Count = Annotated[int, msgspec.Meta(ge=0)]
PieceBytes = Annotated[int, msgspec.Meta(ge=1, le=PIECE_BYTES)]
LogitBytes = Annotated[int, msgspec.Meta(ge=1, le=1 << 30)]
Line = Annotated[str, msgspec.Meta(max_length=LONGEST_TEXT)]
Notes = Annotated[tuple[Line, ...], msgspec.Meta(max_length=MOST_NOTES)]

Stage = Literal["resolve", "download", "read", "quantize", "move", "start", "warm up"]
Reading = Literal["hash source", "wait for demo", "convert demo", "parse GGUF", "unpack GGUF"]
Preparing = Literal["compile kernel", "compile decode step", "capture decode step"]
Quantizing = Literal[
    "load source",
    "measure source",
    "calibration text",
    "quantize layers",
    "quantize while reading",
    "write checkpoint",
    "load result",
    "measure result",
]
Step = Reading | Preparing | Quantizing
Unit = Literal["bytes", "layers", "tensors", "windows", ""]
Generator = Literal["engine", "hf"]
Decode = Literal["graph", "eager"]
FinishReason = Literal["stop", "length", "cancelled"]
Role = Literal["system", "user", "assistant"]
Scoring = Literal["", "passage", "token"]
"""Of a server: not at all, a whole passage a request, or a token a request."""
Counter = Literal["", "NVML", "RAPL"]
Lack = Literal["", "no RAPL", "RAPL not readable", "no NVML", "not in NVML", "server"]
"""Why no energy can be counted; the engine puts it into words."""
FailureKind = Literal[
    "bad_input", "not_loaded", "out_of_memory", "generation", "cancelled", "worker_lost", "unresponsive"
]


class Message(Struct, frozen=True):
    """One turn of a conversation."""

    role: Role
    content: str


class _Command(Struct, frozen=True, kw_only=True, tag_field="command"):
    pass


class Load(_Command, frozen=True, tag="load"):
    """Load this profile's model. Once in a worker's life."""

    profile: Profile
    threads: int | None = None
    """CPU threads; None is as many as were fastest at load, every physical core at most."""
    memory_limit_bytes: int | None = None
    """What the worker may take of the host's memory, libraries included; None is whatever there is."""
    native_step: bool = True
    """Repack the weights for the engine's own step; otherwise the model stays as transformers loads it."""
    checkpoint: str | None = None
    """For a server that is started: the folder that was made by the profile's method."""


class Quantize(_Command, frozen=True, tag="quantize"):
    """Make this profile's quantized checkpoint, where the store has none yet, and load nothing."""

    profile: Profile
    out: str | None = None
    """A folder that gets a copy."""
    force: bool = False
    """Make it again, and replace what is in `out`."""
    threads: int | None = None


class Generate(_Command, frozen=True, tag="generate"):
    """Answer a conversation."""

    request: int
    messages: tuple[Message, ...]
    generation: Generation
    prompt: Prompt | None = None
    """How the conversation becomes text; None is as the profile says."""
    answered: tuple[int, ...] = ()
    """Token ids of an answer that was cut: go on after them."""
    threads: int | None = None
    cold: bool = False
    """Read the whole prompt, even where the cache still holds its beginning."""


class Render(_Command, frozen=True, tag="render"):
    """Show the prompt a conversation becomes, without answering."""

    request: int
    messages: tuple[Message, ...]
    prompt: Prompt | None = None
    """How it becomes text; None is as the profile says."""
    continuations: tuple[str, ...] = ()
    """Texts that may come next, to be tokenized after the prompt: where they are, white space at the prompt's
    end belongs to them."""


class BenchRun(Struct, frozen=True, kw_only=True):
    """One measured run: read prompts of `context` tokens, write `steps` greedy ones, end tokens or not."""

    context: int
    batch: int = 1
    """Sequences at once, all of them equally long."""
    steps: int = 128
    depth: int = 0
    """Tokens in the cache before the clock starts."""
    generator: Generator = "engine"
    with_memory: bool = False
    """Take the memory's peak; speeds of such a run are not to be used."""


class Measure(_Command, frozen=True, tag="measure"):
    """Run once, with an empty cache and made-up prompts, and stamp what happens."""

    request: int
    run: BenchRun
    threads: int | None = None


class ServedRun(Struct, frozen=True, kw_only=True):
    """Requests to a server, greedy, each with a made-up prompt of its own."""

    context: int
    """Tokens of a prompt; where the server takes no ids, as near as its own count allows."""
    steps: int
    """Tokens of an answer, end tokens or not where the server knows how."""
    requests: int = 1
    at_once: int = 1
    """How many are under way: when one ends the next is asked."""
    seed: int = 0
    """Equal seeds are equal prompts where the tokenizers are; with other seeds all of them are others."""


class MeasureServed(_Command, frozen=True, tag="measure served"):
    """Ask a server so many times, and stamp what comes."""

    request: int
    run: ServedRun


class MeasureCopy(_Command, frozen=True, tag="measure copy"):
    """Copy a buffer on the model's device, several times."""

    request: int
    threads: int | None = None


class Tokenize(_Command, frozen=True, tag="tokenize"):
    """Tokenize a text for eval."""

    request: int
    text: str
    """A set's name or a file: see engine.evaluation.settings."""
    content: str | None = None
    """What is in that file, where the worker has it not."""
    tokens: int | None = None
    """How many from the start; None is all of them."""


class Place(Struct, frozen=True):
    """A stretch of a file that two workers open by this path: shared memory, or a file on disk."""

    path: str
    offset_bytes: int = 0
    kept: Count = 0
    """Where not 0, logits here are those of so many likeliest tokens a position: see `kept_row_bytes`."""


class Logits(Struct, frozen=True, kw_only=True):
    """Logits [positions, vocabulary] as the model gave them, at a place."""

    place: Place
    positions: int
    vocabulary: int
    dtype: Literal["bfloat16", "float16", "float32"]

    @property
    def size_bytes(self) -> int:
        """Of all of them."""
        row_bytes = self.vocabulary * (4 if self.dtype == "float32" else 2)
        return self.positions * (kept_row_bytes(self.place.kept) if self.place.kept else row_bytes)


def kept_row_bytes(kept: int) -> int:
    """A position of which only the likeliest tokens are kept: ids, log-probabilities, one number more."""
    return 4 * (2 * kept + 1)


class Passage(Struct, frozen=True, kw_only=True):
    """Tokens to be scored: those from `first` on, each given all that come before it."""

    token_ids: tuple[int, ...]
    first: int
    continues: bool = False
    """These tokens begin with those of the last passage, which need not be read again."""
    chunk: int | None = None
    """Tokens a forward pass; None reads all at once."""
    top: int = 0
    """How many of the likeliest tokens are reported at each position."""


class TakeReference(_Command, frozen=True, tag="take reference"):
    """Load the reference's model as well, for scores with one layer of the own model in it."""

    request: int
    profile: Profile


class Score(_Command, frozen=True, tag="score"):
    """Log-probabilities of given tokens."""

    request: int
    passage: Passage
    layer: int | None = None
    """By the reference's model with this one layer of the own; None is by the own model."""
    write: Place | None = None
    """Put the logits here."""
    reference: Logits | None = None
    """Compare with these, which another model gave for the same tokens."""
    threads: int | None = None


class Cancel(_Command, frozen=True, tag="cancel"):
    """Stop this request before its next token (during prefill: before its next chunk)."""

    request: int


class Ping(_Command, frozen=True, tag="ping"):
    """To the far end, every moment: its `Beat` echoes the time, which is the sender's own."""

    ns: int


class Foresee(_Command, frozen=True, tag="foresee"):
    """Plan this profile on the far end's machine; nothing is loaded."""

    profile: Profile
    context: int | None = None
    batch: int = 1
    limit_bytes: int | None = None


class Diagnose(_Command, frozen=True, tag="diagnose"):
    """What the far end's machine can run, and what is missing there."""


class Rest(_Command, frozen=True, tag="rest"):
    """Nothing will be said until something is said again: QuantDuel is stopped, and its line is not cut."""


class Piece(_Command, frozen=True, tag="piece"):
    """So many bytes follow this line: the next ones of the reference's logits, for the next Score."""

    size_bytes: PieceBytes
    of_bytes: LogitBytes
    """All of them together."""


Task = (
    Load
    | Quantize
    | Generate
    | Render
    | Measure
    | MeasureServed
    | MeasureCopy
    | Tokenize
    | TakeReference
    | Score
)
"""What a worker does one at a time."""
Command = Task | Cancel
Question = Foresee | Diagnose
FarCommand = Command | Ping | Rest | Piece | Question
"""What the far end of a launched command is told."""


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


class _Event(Struct, frozen=True, kw_only=True, tag_field="event"):
    ns: Count = msgspec.field(default_factory=time.monotonic_ns)


class Greeting(Struct, frozen=True):
    """What every version's first line has."""

    event: Line = ""
    """`hello`."""
    wire: int = 0
    host: Line = ""
    version: Line = ""


class Hello(_Event, frozen=True, tag="hello"):
    """The far end's first line: who speaks, on which machine."""

    wire: int
    version: Line
    """QuantDuel's."""
    host: Annotated[str, msgspec.Meta(max_length=255)]
    machine: Annotated[str, msgspec.Meta(max_length=255)]
    """Equal means the same running kernel, whatever its hosts are called."""
    patience_s: Annotated[float, msgspec.Meta(ge=1, le=86_400)]
    """So long a silence ends it."""


class Beat(_Event, frozen=True, tag="beat"):
    """The far end lives; `echo_ns` is what a Ping said."""

    echo_ns: Count | None = None


class Answered(_Event, frozen=True, tag="answered"):
    """What the far end says to a question: a plan, or a diagnosis."""

    content: msgspec.Raw


class Sent(_Event, frozen=True, tag="sent"):
    """So many bytes follow this line: the next ones of the logits that the running Score writes."""

    size_bytes: PieceBytes
    of_bytes: LogitBytes
    """All of them together."""


class Started(_Event, frozen=True, tag="started"):
    """The worker's first event."""

    pid: Count


class Staged(_Event, frozen=True, tag="staged"):
    """Loading has come this far; `total` is 0 where it is not known. The engine puts it into words."""

    stage: Stage
    step: Step | None = None
    """Which part of the stage, where it has several."""
    subject: Line = ""
    """The name of what is read: a repository, a file, a text."""
    done: Count = 0
    total: Count = 0
    unit: Unit = ""
    peak_bytes: Count | None = None
    """The most memory that was held at once so far."""
    elsewhere: bool = False
    """Another process does it, and this one waits."""
    host: Line = ""
    """The machine's name; empty for the one that QuantDuel runs on."""


class Loaded(_Event, frozen=True, tag="loaded"):
    """The model is ready."""

    info: ModelInfo
    memory: Memory | None
    """None where the model is not in the worker."""


class Quantized(_Event, frozen=True, tag="quantized"):
    """The checkpoint is in the store."""

    path: Line
    """Its folder: the user's, where one was named."""
    record: Record
    cached: bool
    """Whether it was in the store already."""


class Rendered(_Event, frozen=True, tag="rendered"):
    """The prompt as text and token ids."""

    request: Count
    text: str
    token_ids: tuple[int, ...]
    continuation_ids: tuple[tuple[int, ...], ...] = ()
    """Of each continuation that was asked for."""


class Prompted(_Event, frozen=True, tag="prompted"):
    """The worker has the request; `ns` is its receipt, later by what was prepared once (`notes`)."""

    request: Count
    tokens: Count
    """0 where only a server knows, which says it at the end."""
    sha256: Line
    """Of the prompt's token ids, as little-endian 32-bit integers; empty where they are not known."""
    reused_tokens: Count = 0
    """How many of them the cache still held; only the others are read."""
    notes: Notes = ()
    """What happened to the conversation on its way, such as a system message that the template leaves out."""
    think: ThinkMarks | None = None
    """How the model marks thoughts; None for one that does not think."""


class Resumed(_Event, frozen=True, tag="resumed"):
    """An answer that was cut is resumed: what it had said before, token by token."""

    request: Count
    token_ids: tuple[int, ...]
    pieces: tuple[str, ...]
    """The text of each token."""


class Prefilled(_Event, frozen=True, tag="prefilled"):
    """`done` of the prompt's tokens have been read; the first, with `done` 0, starts the prefill's clock."""

    request: Count
    done: Count
    total: Count


class Decoded(_Event, frozen=True, tag="decoded"):
    """One sampled token, stamped when it was known, and the text it completes (maybe none yet).

    A server's tokens that came in one read of the network have one stamp.
    """

    request: Count
    token_id: Count | None
    """None where a server does not say."""
    text: str
    tokens: Count | None = 1
    """Without an id: how many tokens this stands for; None where a server does not say that either."""


class ServedFigures(Struct, frozen=True, kw_only=True):
    """What a server says of an answer at its end; None is what it does not say."""

    tokens: Count | None = None
    """Of the answer, with the one that ended it."""
    prompt_tokens: Count | None = None
    reused_tokens: Count | None = None
    prefill_tok_s: float | None = None
    decode_tok_s: float | None = None
    contended: bool | None = None
    """It answered others meanwhile."""
    interrupted: bool = False
    """The connection dropped and the stream was gone on with: its stamps hold the gap."""


class Finished(_Event, frozen=True, tag="finished"):
    """The answer's end. `text` is what the detokenizer still held."""

    request: Count
    reason: FinishReason
    memory: Memory | None
    text: str = ""
    step_bytes: Count | None = None
    """Weights and cache that the answer's average decode step had to read; None where the tokens decide."""
    decode_joules: Annotated[float, msgspec.Meta(ge=0)] | None = None
    """What the device took from the first token to the end, by its own counter; None where it has none."""
    round_trip_ns: Count | None = None
    """To the far end and back; None where there is none. Part of no other figure."""
    decode: Decode = "eager"
    """How the steps were run: a replayed CUDA graph, compiled, or kernel after kernel."""
    notes: Notes = ()
    """What slowed the answer, such as a step that no graph could capture; a stop string that ended it."""
    served: ServedFigures | None = None


class Measured(_Event, frozen=True, tag="measured"):
    """A run's stamps, and what it held and had to read. The worker's clock, in nanoseconds."""

    request: Count
    started_ns: Count
    prefilled_ns: Count
    """When the logits of the prompts' last tokens were ready."""
    token_ns: tuple[int, ...]
    """When each token's id was known on the host; in a batch that of all sequences."""
    cached_tokens: Count
    """Tokens in the cache at the end, of each sequence."""
    kv_cache_bytes: Count
    step_bytes: Count | None
    """Weights and cache that the average decode step must read; None where the prompt decides (experts)."""
    threads: Count
    """CPU threads, the fewest where others needed cores meanwhile."""
    decode_joules: Annotated[float, msgspec.Meta(ge=0)] | None = None
    """What the device took from the first token to the end, by its own counter; None where it has none."""
    decode: Decode | None = None
    """How the steps were run; None where `generate` ran them."""
    memory: Memory | None = None
    memory_at_reset: Memory | None = None
    """What was in use when the peak was reset."""


class ServedAnswer(Struct, frozen=True, kw_only=True):
    """One answer of a served run, as it was stamped."""

    sent_ns: Count
    """Before its request was written; 0 for one that was not."""
    token_ns: tuple[Count, ...] = ()
    """A stamp a token; those of one read of the network are equal."""
    counted: bool = True
    """Otherwise they are stamps of pieces, of unknown numbers of tokens."""
    figures: ServedFigures | None = None
    failure: Line = ""
    """Why it is no whole answer."""
    connected: bool = False
    """A connection was made on its clock: the server had ended the one before."""


class ServedAdvanced(_Event, frozen=True, tag="served advanced"):
    """So many requests of a run have ended."""

    request: Count
    done: Count


class ServedAnswered(_Event, frozen=True, tag="served answered"):
    """One of a run's answers; they come when all have ended, so that nothing moves a stamp."""

    request: Count
    answer: ServedAnswer


class ServedMeasured(_Event, frozen=True, tag="served measured"):
    """A served run's end: how the client itself was, and whether it was alone."""

    request: Count
    cpu_share: Annotated[float, msgspec.Meta(ge=0)]
    """Of one core, the client's own: above it nothing can be stamped in time."""
    late_ms: Annotated[float, msgspec.Meta(ge=0)]
    """How late a thread of the client woke, at the 95th percentile: as late stamps may be."""
    contended: bool | None = None
    """The server answered others before or after; None where it does not say."""
    memory: Memory | None = None
    """Of a server within the worker."""
    notes: Notes = ()


class CopyMeasured(_Event, frozen=True, tag="copy measured"):
    """How fast the model's device copies: bytes read plus bytes written, a second."""

    request: Count
    buffer_bytes: Count
    bytes_s: tuple[float, ...]


class Tokenized(_Event, frozen=True, tag="tokenized"):
    """A text as token ids."""

    request: Count
    token_ids: tuple[int, ...]
    beginning: tuple[int, ...]
    """What the tokenizer puts before any text, such as BOS; not part of `token_ids`."""


class ReferenceTaken(_Event, frozen=True, tag="reference taken"):
    """The reference's model is there as well."""

    request: Count
    layers: Count
    """Each of them has a counterpart in the own model."""


class Scored(_Event, frozen=True, tag="scored"):
    """What a model says of given tokens, a value a position. Logarithms are natural, taken in float32."""

    request: Count
    log_probs: tuple[float, ...]
    first_choices: tuple[int, ...]
    """The likeliest token at each position."""
    klds: tuple[float, ...] = ()
    """KL(reference ‖ this model) over the vocabulary, in nats, where a reference was given."""
    margins: tuple[float, ...] = ()
    """How much likelier, in nats, the reference's first choice is than its second one, by this model."""
    reference_margins: tuple[float, ...] = ()
    """The same by the reference."""
    reference_rounding: tuple[float, ...] = ()
    """One rounding step of the reference's largest logit at each position."""
    top_ids: tuple[tuple[int, ...], ...] = ()
    top_log_probs: tuple[tuple[float, ...], ...] = ()
    pieces: dict[int, str] = {}
    """The text of every token that is reported, where the likeliest were asked for."""
    rounding: tuple[float, ...] = ()
    """One rounding step of the likeliest token's logit at each position, where they were asked for."""
    left_out: tuple[float, ...] = ()
    """The reference's probability of the tokens that were not kept of it, as one; empty where all were."""
    logits: Logits | None = None
    """What was written."""
    read_tokens: Count = 0
    read_ns: Count = 0
    """Spent in forward passes."""


class Failure(Struct, frozen=True):
    """Why something ended badly, as records keep it."""

    kind: FailureKind
    message: str
    hint: str = ""


class Failed(_Event, frozen=True, tag="failed"):
    """A load or a request that ended badly; `request` is None for a load and for the whole worker."""

    kind: FailureKind
    message: Line
    hint: Line = ""
    request: Count | None = None

    @property
    def failure(self) -> Failure:
        """What a record keeps of it."""
        return Failure(self.kind, self.message, self.hint)


Event = (
    Started
    | Staged
    | Loaded
    | Quantized
    | Rendered
    | Prompted
    | Resumed
    | Prefilled
    | Decoded
    | Finished
    | Measured
    | ServedAdvanced
    | ServedAnswered
    | ServedMeasured
    | CopyMeasured
    | Tokenized
    | ReferenceTaken
    | Scored
    | Answered
    | Failed
)

FarEvent = Event | Hello | Beat | Sent
"""What comes from the far end of a launched command."""

encode = msgspec.json.Encoder().encode
decode_command = msgspec.json.Decoder(Command).decode
decode_event = msgspec.json.Decoder(Event).decode
decode_far_command = msgspec.json.Decoder(FarCommand).decode
decode_far_event = msgspec.json.Decoder(FarEvent).decode
decode_greeting = msgspec.json.Decoder(Greeting).decode
