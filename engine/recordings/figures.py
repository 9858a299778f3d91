"""A recorded turn's figures as rows of text, for every kind of export: A, B, and B against A. Pure."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from engine.duel import text as words
from engine.duel.answer import Answer
from engine.duel.comparison import compare
from engine.duel.duel import Duel
from engine.protocol import ModelInfo
from engine.units import MISSING, bytes_text, ms_text, speed_text

LETTERS = "AB"
Texts = tuple[str, str]


class Figure(NamedTuple):
    """One row."""

    name: str
    texts: Texts
    against: str = ""
    """B as a multiple of A."""
    is_better: bool | None = None


def figures(duel: Duel) -> list[Figure]:
    """Speeds, then memory. What was not measured is `–`; a row without any figure is left out."""
    found = compare(duel)
    ratios = {ratio.name: ratio for ratio in words.ratios(found)} if found else {}
    rows = [(name, _of_both(duel, shown)) for name, shown in _ROWS]
    return [
        Figure(name, texts, ratios[name].text, ratios[name].is_better)
        if name in ratios
        else Figure(name, texts)
        for name, texts in rows
        if texts != (MISSING, MISSING)
    ]


def comparison_lines(duel: Duel) -> list[str]:
    """Whether the input was the same, and where the answers diverge; nothing unless both answered."""
    found = compare(duel)
    if found is None:
        return []
    contended = (
        ["the device was shared with the other answer: speeds are contended"] if found.contended else []
    )
    return [words.input_text(found), words.divergence_text(found), *contended]


def divergence_offset(duel: Duel, side: int) -> int | None:
    """Where a side's answer diverges, in characters; None where it does not, or where that is not known."""
    found = compare(duel)
    place = found.divergence if found and found.same_tokenizer else None
    return place.offsets[side] if place else None


def facts(duel: Duel) -> list[Figure]:
    """What answered, on which machine, with which versions."""
    infos = [duel.answers[side].info if side in duel.answers else None for side in (0, 1)]
    versions = sorted({name for info in infos if info for name in info.versions})
    rows = [(name, _shown(infos, fact)) for name, fact in _FACTS]
    rows += [(name, _shown(infos, partial(_version, name))) for name in versions]
    return [Figure(name, texts) for name, texts in rows if texts != (MISSING, MISSING)]


def remarks(answer: Answer | None) -> list[str]:
    """Why an answer ended, its notes, why it failed."""
    if answer is None:
        return ["was not asked"]
    failed = answer.failure
    failure = [f"{failed.message} ({failed.hint})" if failed.hint else failed.message] if failed else []
    return [text for text in (answer.ending, *answer.notes, *failure) if text]


def _of_both(duel: Duel, shown: Callable[[Answer], str]) -> Texts:
    a, b = (shown(duel.answers[side]) if side in duel.answers else MISSING for side in (0, 1))
    return a, b


def _shown(infos: list[ModelInfo | None], shown: Callable[[ModelInfo], str]) -> Texts:
    a, b = (shown(info) if info else MISSING for info in infos)
    return a or MISSING, b or MISSING


def _tokens(answer: Answer) -> str:
    metrics = answer.metrics
    if not metrics.prompt_tokens:
        return MISSING
    kept = f" ({metrics.reused_tokens} kept)" if metrics.reused_tokens else ""
    return f"{metrics.prompt_tokens}{kept} + {metrics.new_tokens}"


def _weights(answer: Answer) -> str:
    return bytes_text(answer.info.weights_bytes if answer.info else None)


def _version(name: str, info: ModelInfo) -> str:
    return info.versions.get(name, MISSING)


def _memory(name: str) -> Callable[[Answer], str]:
    return lambda answer: bytes_text(getattr(answer.memory, name)) if answer.memory else MISSING


def _bandwidth(answer: Answer) -> str:
    found = answer.reached(answer.info) if answer.info else None
    return found.text if found else MISSING


_ROWS: tuple[tuple[str, Callable[[Answer], str]], ...] = (
    ("TTFT", lambda answer: ms_text(answer.metrics.ttft_ms)),
    ("round trip", lambda answer: ms_text(answer.metrics.round_trip_ms)),
    ("prefill", lambda answer: speed_text(answer.metrics.prefill_tok_s)),
    ("decode", lambda answer: speed_text(answer.metrics.decode_tok_s)),
    ("ITL p50", lambda answer: ms_text(answer.metrics.itl_p50_ms)),
    ("ITL p95", lambda answer: ms_text(answer.metrics.itl_p95_ms)),
    ("tokens", _tokens),
    ("bandwidth", _bandwidth),
    ("weights", _weights),
    ("KV cache", _memory("kv_cache_bytes")),
    ("peak", _memory("peak_bytes")),
    ("process", _memory("process_bytes")),
)
_FACTS: tuple[tuple[str, Callable[[ModelInfo], str]], ...] = (
    ("method", lambda info: info.label),
    ("architecture", lambda info: info.architecture),
    ("parameters", lambda info: f"{info.parameters / 1e6:,.1f} M"),
    ("device", lambda info: info.place),
    ("device name", lambda info: info.device_name),
    ("threads", lambda info: str(info.threads) if info.device == "cpu" else ""),
    ("dtype", lambda info: info.dtype),
    ("kernel", lambda info: info.kernel),
    ("step", lambda info: info.step),
    ("notes", lambda info: "; ".join(info.notes)),
)
