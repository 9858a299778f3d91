"""A duel as text on stdout: each answer as it comes, its figures below, the comparison at the end.

One answer is written at a time; what another side says meanwhile waits until its turn. On a terminal the
model's output is made safe to show, in a pipe it is written as it is.
"""

import sys
from collections.abc import Sequence

from engine.cli import print_error
from engine.cli.loading import LoadedSide
from engine.cli.terminal import Styled, say, write
from engine.duel import lens_text
from engine.duel import text as words
from engine.duel.answer import Answer
from engine.duel.comparison import Comparison, comparisons
from engine.duel.duel import Duel
from engine.duel.lens import Lens, NoLens
from engine.duel.sides import LETTERS
from engine.protocol.answers import Decoded, Finished
from engine.protocol.model import ModelInfo, Weights
from engine.protocol.wire import Event
from engine.stats import energy
from engine.stats.metrics import Metrics
from engine.units import MISSING, bytes_text, ms_text, speed_text


class Transcript:
    """Writes one turn; `add` takes every event after the duel has it."""

    def __init__(self, duel: Duel) -> None:
        self._duel = duel
        self._current: int | None = None
        self._written: set[int] = set()

    def begin(self, rendered: Sequence[str | None]) -> None:
        """Write the prompt as each side reads it, where that is asked for; once where all read the same."""
        shown = dict.fromkeys(text for text in rendered if text is not None)
        for text in shown:
            say(Styled("Prompt", bold=True))
            write(text)
            say()
            say()

    def end(self) -> None:
        """Write each against A, the proof of equal input, and where they diverge, if they answered."""
        found = comparisons(self._duel)
        for line in _lines(found):
            say(line)
        if found:
            say()

    def add_lens(self, found: Lens | NoLens) -> None:
        """Write why and where the answers diverge."""
        for line in lens_text.lines(found):
            say(line)
        say()

    def add(self, side: int, event: Event) -> None:
        """Write what this event adds."""
        if self._current is None:
            self._begin(side if self._duel.schedule == "swap" else next(iter(self._duel.answers)))
        elif side == self._current and isinstance(event, Decoded | Finished):
            write(event.text)
        while self._current is not None and self._duel.answers[self._current].ended:
            self._end(self._current)

    def write_whole(self) -> None:
        """Write the answers of a turn that is over."""
        for side in self._duel.answers:
            self._begin(side)
            self._write_end(side)

    def _begin(self, side: int) -> None:
        self._current = side
        session = self._duel.sessions[side]
        label, device = (session.info.label, session.info.place) if session.info else ("", "")
        say(Styled(f"{LETTERS[side]}  {session.profile.name}  ({label}, {device})", bold=True))
        write(self._duel.answers[side].text)

    def _end(self, side: int) -> None:
        self._write_end(side)
        following = next((other for other in self._duel.answers if other not in self._written), None)
        if following is not None and self._duel.schedule != "swap":  # there it is not loaded yet
            self._begin(following)

    def _write_end(self, side: int) -> None:
        answer, info = self._duel.answers[side], self._duel.answers[side].info
        say()
        if answer.failure:
            report(answer.failure.message, answer.failure.hint, self._duel.sessions[side].profile.name)
        if answer.pieces and info:
            for line in figures(answer, info):
                say(Styled(f"   {line}", dim=True))
        elif answer.ending:
            say(Styled(f"   {answer.ending}", dim=True))
        say()
        self._written.add(side)
        self._current = None


def report(message: str, hint: str, name: str) -> None:
    """A side's failure, on stderr."""
    sys.stdout.flush()
    print_error(f"{name}: {message}", hint)


def failed_loads(sides: list[LoadedSide]) -> None:
    """Report which sides have no model."""
    for side in sides:
        if side.failure:
            report(side.failure.message, side.failure.hint, side.session.profile.name)


def figures(answer: Answer, info: ModelInfo) -> list[str]:
    """Speeds in one line, memory in another."""
    metrics, memory = answer.metrics, answer.memory
    whole = "complete" if answer.finish_reason else "unfinished"
    pieces = "tokens" if metrics.counted else "pieces (the server does not count tokens)"
    speeds = [
        f"TTFT {ms_text(metrics.ttft_ms)}{_line(metrics, info)}",
        f"prefill {speed_text(metrics.prefill_tok_s)}",
        f"decode {speed_text(metrics.decode_tok_s)}{' (contended)' if metrics.contended else ''}",
        f"{metrics.new_tokens} {pieces}, {answer.ending or whole}",
    ]
    if metrics.answer_ttft_ms is not None:
        count = metrics.thought_tokens
        thoughts = f"({count} token{'' if count == 1 else 's'} of thoughts)"
        then = f", {speed_text(metrics.answer_tok_s)} from there" if metrics.answer_tok_s else ""
        speeds.insert(1, f"to the answer {ms_text(metrics.answer_ttft_ms)} {thoughts}{then}")
    if metrics.server_decode_tok_s is not None:
        speeds.append(f"decode by the server's clock {speed_text(metrics.server_decode_tok_s)}")
    sizes = [f"weights {weights_text(info.weights)}"]
    if memory:
        sizes += [
            f"KV cache {bytes_text(memory.kv_cache_bytes)}",
            f"peak {bytes_text(memory.peak_bytes)}",
            f"process {bytes_text(memory.process_bytes)} ({memory.process_source})",
        ]
    said = energy.line(metrics.joules_per_token, metrics.mean_watts, info.energy, contended=metrics.contended)
    taken = [said] if said else []
    return [" · ".join(speeds), " · ".join(sizes), *_kernel(answer, info), *taken, *answer.notes]


def _line(metrics: Metrics, info: ModelInfo) -> str:
    """The round trip to another machine: part of a server's TTFT, and of no other figure."""
    if info.served is not None and info.served.address:
        return f" (with the network: {ms_text(info.served.round_trip_ms)} round trip)"
    return f" (and {ms_text(metrics.round_trip_ms)} round trip)" if metrics.round_trip_ms is not None else ""


def weights_text(weights: Weights | None) -> str:
    """The bytes of all, and where there are both, of the linear layers and the embedding."""
    if weights is None or not weights.embedding_bytes:
        return bytes_text(weights.total_bytes if weights else None)
    parts = f"linear {bytes_text(weights.linear_bytes)}, embedding {bytes_text(weights.embedding_bytes)}"
    return f"{bytes_text(weights.total_bytes)} ({parts})"


def _kernel(answer: Answer, info: ModelInfo) -> list[str]:
    """What computes, how much of the bandwidth it reaches, and what bounds it where that is little."""
    if info.served is not None:
        return []
    found = answer.reached(info)
    kernel = f"kernel {info.kernel}, step {info.step}, decode {answer.decode or MISSING}"
    if found is None:
        return [kernel]
    return [f"{kernel} · {found.text}", *([found.reason] if found.reason else [])]


def _lines(found: Sequence[Comparison]) -> list[str]:
    """Of each comparison its ratios and what was read; what was read once, where that is the same."""
    lines: list[str] = []
    for number, one in enumerate(found):
        given = words.input_text(one)
        is_new = number == 0 or given != words.input_text(found[number - 1])
        lines += [_ratios(one), *([given] if is_new else []), words.divergence_text(one)]
    too_short = words.too_short_text(side for one in found for side in one.too_short)
    return [*lines, *([too_short] if too_short else [])]


def _ratios(found: Comparison) -> str:
    a, b = found.labels
    ratios = " · ".join(f"{ratio.name} {ratio.words}" for ratio in words.ratios(found))
    why = ", ".join(filter(None, ("contended" if found.contended else "", words.slowed_text(found))))
    return f"{b} against {a}: {ratios}{f' ({why})' if why else ''}"
