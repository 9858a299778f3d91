"""A recorded turn's figures as rows of text, for every export: each side's, and those against A. Pure."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from engine.duel import text as words
from engine.duel.answer import Answer
from engine.duel.comparison import Comparison, comparisons, divergence_offsets
from engine.duel.duel import Duel
from engine.duel.sides import LETTERS, all_of
from engine.duel.text import Ratio
from engine.protocol.answers import BUSY_CORES
from engine.protocol.model import ModelInfo
from engine.stats import energy
from engine.units import MISSING, bytes_text, ms_text, speed_text

Texts = tuple[str, ...]


class Figure(NamedTuple):
    """One row."""

    name: str
    texts: Texts
    """Of each side."""
    against: tuple[Ratio | None, ...] = ()
    """Each other side's as a multiple of A's; None where one of the two is missing."""


def figures(duel: Duel) -> list[Figure]:
    """Speeds, then memory. What was not measured is `–`; a row without any figure is left out."""
    found = {comparison.side: words.ratios(comparison) for comparison in comparisons(duel)}
    others = [{ratio.name: ratio for ratio in found.get(side, ())} for side in range(1, len(duel.sessions))]
    rows = [(name, _of_all(duel, shown)) for name, shown in _ROWS]
    return [
        Figure(name, texts, tuple(ratios.get(name) for ratios in others))
        for name, texts in rows
        if set(texts) != {MISSING}
    ]


def against_names(duel: Duel) -> list[str]:
    """`B against A`, and so on: the names of what `Figure.against` has."""
    return [f"{letter} against {LETTERS[0]}" for letter in LETTERS[1 : len(duel.sessions)]]


def comparison_lines(duel: Duel) -> list[str]:
    """Whether the input was the same, and where answers diverge from A's; nothing unless two answered."""
    found = comparisons(duel)
    inputs = dict.fromkeys(map(words.input_text, found))
    said = list(inputs) if len(inputs) == 1 else [_of(duel, one, words.input_text(one)) for one in found]
    said += [_of(duel, one, words.divergence_text(one)) for one in found]
    answer = "answer" if all_of(len(duel.sessions)) == "both" else "answers"
    contended = f"the device was shared with the other {answer}: speeds are contended"
    shared = [contended] if any(one.contended for one in found) else []
    slowed = [LETTERS[side] for side in sorted({side for one in found for side in one.slowed})]
    busy = [f"{BUSY_CORES}, {', '.join(slowed)} slowed: speeds do not compare"] if slowed else []
    too_short = words.too_short_text(side for one in found for side in one.too_short)
    return [*said, *shared, *busy, *([too_short] if too_short else [])]


def _of(duel: Duel, found: Comparison, text: str) -> str:
    """The text, and of which side it is where that is not B in any case."""
    return f"{LETTERS[found.side]}: {text}" if len(duel.sessions) > 2 else text


def divergence_offset(duel: Duel, side: int) -> int | None:
    """Where a side's answer diverges, in characters; None where it does not, or where that is not known."""
    return divergence_offsets(comparisons(duel)).get(side)


def facts(duel: Duel) -> list[Figure]:
    """What answered, on which machine, with which versions."""
    infos = [duel.answers[side].info if side in duel.answers else None for side in range(len(duel.sessions))]
    versions = sorted({name for info in infos if info for name in info.versions})
    rows = [(name, _shown(infos, fact)) for name, fact in _FACTS]
    rows += [(name, _shown(infos, partial(_version, name))) for name in versions]
    return [Figure(name, texts) for name, texts in rows if set(texts) != {MISSING}]


def remarks(answer: Answer | None) -> list[str]:
    """Why an answer ended, its notes, why it failed."""
    if answer is None:
        return ["was not asked"]
    failed = answer.failure
    failure = [f"{failed.message} ({failed.hint})" if failed.hint else failed.message] if failed else []
    return [text for text in (answer.ending, *answer.notes, *failure) if text]


def _of_all(duel: Duel, shown: Callable[[Answer], str]) -> Texts:
    sides = range(len(duel.sessions))
    return tuple(shown(duel.answers[side]) if side in duel.answers else MISSING for side in sides)


def _shown(infos: list[ModelInfo | None], shown: Callable[[ModelInfo], str]) -> Texts:
    return tuple((shown(info) if info else MISSING) or MISSING for info in infos)


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
    ("energy", lambda answer: energy.joules_text(answer.metrics.joules_per_token)),
    ("mean draw", lambda answer: energy.watts_text(answer.metrics.mean_watts)),
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
    ("idle draw", lambda info: energy.idle_text(info.energy)),
    ("notes", lambda info: "; ".join(info.notes)),
)
