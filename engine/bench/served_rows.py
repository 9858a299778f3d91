"""Stamps of a server's answers folded into a row. Pure; an answer's figures are `engine.stats.metrics`'s.

Of one answer after the other the row has means over repeats; of many at once percentiles over all of them.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

from msgspec import Struct
from msgspec.structs import replace

from engine.bench.rows import Latency, Many, Row, Speeds, Stamps, figure_of_all
from engine.protocol.answers import Finished, Prompted, ServedFigures
from engine.protocol.runs import ServedAnswer, ServedMeasured
from engine.stats.metrics import NS, Metrics, Timeline, percentile

BUSY_CLIENT = 0.8  # of a core
LATE_SHARE, LATE_MS = 0.1, 1.0  # of a median gap between tokens, and at least
NEAR = 0.02  # a prompt that differs by less is the one that was asked for


class Taken(Struct, frozen=True):
    """A run's answers, and its end."""

    answers: tuple[ServedAnswer, ...]
    end: ServedMeasured


def filled(row: Row, steps: int, runs: Sequence[Taken]) -> Row:
    """The row with the figures of its repeats, each of them one whole answer or several."""
    answers = [answer for run in runs for answer in run.answers]
    lines = [timeline(answer) for answer in answers]
    found = [line.metrics() for line in lines]
    itl = _latency([gap for line in lines for gap in line.gaps_ms()])
    memory = [run.end.memory for run in runs if run.end.memory]
    return replace(
        row,
        prefill_tok_s=figure_of_all([each.prefill_tok_s for each in found]),
        decode_tok_s=(decode := figure_of_all([each.decode_tok_s for each in found])),
        decode_tok_s_per_sequence=decode.mean if decode else None,
        ttft_ms=figure_of_all([each.ttft_ms for each in found]),
        itl_ms=itl,
        kv_cache_bytes=memory[-1].kv_cache_bytes if memory else None,
        peak_bytes=max((each.peak_bytes for each in memory), default=None),
        marks=tuple(dict.fromkeys((*_marks(row, steps, answers, found), *_client_marks(runs, itl)))),
        stamps=tuple(_stamps(answer) for answer in answers),
    )


def filled_at_once(row: Row, steps: int, run: Taken) -> Row:
    """The row of a level: percentiles over the answers that are whole; the others are counted."""
    whole = [answer for answer in run.answers if not answer.failure]
    lines = [timeline(answer) for answer in whole]
    found = [line.metrics() for line in lines]
    itl = _latency([gap for line in lines for gap in line.gaps_ms()])
    tokens, seconds = sum(each.new_tokens for each in found), _seconds(run.answers)
    is_counted = all(
        each.counted or (answer.figures and answer.figures.tokens)
        for each, answer in zip(found, whole, strict=True)
    )
    many = Many(
        requests=len(run.answers),
        failed=len(run.answers) - len(whole),
        ttft_ms=_latency([each.ttft_ms for each in found if each.ttft_ms is not None]),
        request_tok_s=_speeds([each.decode_tok_s for each in found if each.decode_tok_s is not None]),
        total_tok_s=tokens / seconds if seconds and is_counted else None,
        tokens=tokens,
        seconds=seconds,
        client_cpu_share=run.end.cpu_share,
        client_late_ms=run.end.late_ms,
    )
    marks = (
        *_failures(run.answers),
        *_marks(row, steps, whole, found),
        *_joined(lines),
        *_client_marks([run], itl),
    )
    return replace(row, many=many, itl_ms=itl, marks=marks)


def timeline(answer: ServedAnswer) -> Timeline:
    """An answer's stamps where all speeds are defined."""
    found = Timeline()
    found.add(Prompted(request=0, tokens=0, sha256="", ns=answer.sent_ns))
    found.token_ns, found.counted = list(answer.token_ns), answer.counted
    found.add(Finished(request=0, reason="length", memory=None, served=answer.figures or ServedFigures()))
    return found


def _marks(row: Row, steps: int, answers: Sequence[ServedAnswer], found: Sequence[Metrics]) -> Iterator[str]:
    """What differs from what was asked for."""
    tokens = [each.new_tokens for each in found]
    if tokens and not min(tokens) == max(tokens) == steps:
        yield f"{_span(tokens)} of {steps} tokens came"
    prompts = [each.prompt_tokens for each in found if each.prompt_tokens]
    if prompts and max(abs(each - row.context) for each in prompts) > NEAR * row.context:
        yield f"prompts of {_span(prompts)} tokens"
    if reused := max((each.reused_tokens or 0 for each in found), default=0):
        yield f"up to {reused} of a prompt's tokens were in the server's cache"
    if any(answer.connected for answer in answers):
        yield "connections were made anew: TTFT holds that"


def _client_marks(runs: Sequence[Taken], itl: Latency | None) -> Iterator[str]:
    """Others at the server, and a client that could not keep up."""
    if any(run.end.contended for run in runs):
        yield "contended: the server answered others meanwhile"
    share, late_ms = max(run.end.cpu_share for run in runs), max(run.end.late_ms for run in runs)
    if share >= BUSY_CLIENT:
        yield f"the client was the limit: {share:.0%} of a core"
    if itl and late_ms > max(LATE_MS, LATE_SHARE * itl.p50):
        yield f"stamps up to {late_ms:.2g} ms late: the client waited for a processor"
    for run in runs:
        yield from run.end.notes


def _failures(answers: Sequence[ServedAnswer]) -> Iterator[str]:
    said = Counter(answer.failure for answer in answers if answer.failure)
    if said:
        yield f"{said.total()} of {len(answers)} failed: {said.most_common(1)[0][0]}"


def _joined(lines: Sequence[Timeline]) -> Iterator[str]:
    left_out = sum(len(line.token_ns) > 1 and not line.gaps_ms() for line in lines)
    if left_out:
        yield f"ITL without {left_out} of {len(lines)} answers, of which a read brought several tokens"


def _seconds(answers: Sequence[ServedAnswer]) -> float:
    """From the first request to the last token of any."""
    sent = [answer.sent_ns for answer in answers if answer.sent_ns]
    last = [answer.token_ns[-1] for answer in answers if answer.token_ns]
    return (max(last) - min(sent)) / NS if sent and last else 0.0


def _latency(values: Sequence[float]) -> Latency | None:
    p50, p95 = percentile(values, 50), percentile(values, 95)
    return None if p50 is None or p95 is None else Latency(p50, p95)


def _speeds(values: Sequence[float]) -> Speeds | None:
    p50, p5 = percentile(values, 50), percentile(values, 5)
    return None if p50 is None or p5 is None else Speeds(p50, p5)


def _span(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return f"{low}" if low == high else f"{low} to {high}"


def _stamps(answer: ServedAnswer) -> Stamps:
    return Stamps(None, tuple(ns - answer.sent_ns for ns in answer.token_ns))
