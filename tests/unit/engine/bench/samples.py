"""Rows of a bench, from stamps chosen so that the right figure is known."""

from engine.bench import rows
from engine.bench.plan import Settings, Shape
from engine.bench.rows import Row, Runs
from engine.config.profiles import of_model
from engine.jobs.profiles import distinct
from engine.protocol.model import Memory, ModelInfo, Weights
from engine.protocol.runs import CopyMeasured, Measured

MS = 1_000_000


TINY = of_model("random:tiny")


INFO = ModelInfo(
    label="fp8",
    kernel="Quick",
    step="native",
    architecture="",
    parameters=0,
    context_length=0,
    dtype="bfloat16",
    device="cpu",
    device_name="",
    threads=2,
    weights=Weights(linear_bytes=0, embedding_bytes=0, other_bytes=0),
    tokenizer_sha256="",
    has_chat_template=False,
    copy_bytes_s=7e9,
    versions={},
)


def settings(**changes: object) -> Settings:
    profiles = distinct([TINY] * 2)
    return Settings(profiles=profiles, **({"contexts": (32, 64), "steps": 5, "repeat": 2} | changes))


def memory(peak: int, process: int) -> Memory:
    return Memory(
        weights_bytes=1,
        kv_cache_bytes=1,
        peak_bytes=peak,
        process_bytes=process,
        device_used_bytes=1,
        device_total_bytes=2,
        process_source="resident set",
    )


def measured(
    *token_ms: float, cached: int = 36, reset: Memory | None = None, joules: float | None = None
) -> Measured:
    """Started at 1000 ms, its prompt read within 200 ms, its tokens known at these times after the start."""
    return Measured(
        request=1,
        started_ns=1000 * MS,
        prefilled_ns=1200 * MS,
        token_ns=tuple(int((1000 + ms) * MS) for ms in token_ms),
        cached_tokens=cached,
        kv_cache_bytes=77,
        step_bytes=4_000_000,
        threads=2,
        decode_joules=joules,
        memory=memory(500, 400),
        memory_at_reset=reset or memory(400, 400),
    )


def row(
    batch: int = 1,
    *,
    name: str = "tiny",
    context: int = 32,
    joules: tuple[float | None, float | None] = (None, None),
    **changes: object,
) -> Row:
    timed = (
        measured(250, 350, 450, 550, 650, joules=joules[0]),
        measured(250, 300, 350, 400, 450, joules=joules[1]),
    )
    copy = CopyMeasured(request=2, buffer_bytes=1, bytes_s=(1e8, 9e9, 1e8))
    empty = rows.empty(name, Shape(context, batch), None)
    runs = Runs(timed=timed, peak=measured(250, 260, **changes), copy=copy)
    return rows.filled(empty, context, runs)
