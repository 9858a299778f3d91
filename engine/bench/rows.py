"""Stamps of repeated runs folded into a row of figures. Pure; defined as in `engine.stats.metrics`.

Prefill tok/s is context × batch over the prefill's time. Decode tok/s is (steps - 1) × batch over
the time from the first token to the last: that of all sequences together, and no prefill is in it.
"""

from collections.abc import Sequence
from statistics import fmean, median, stdev
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from engine.bench.plan import Shape
from engine.protocol.answers import Decode
from engine.protocol.failure import Failed, Failure
from engine.protocol.model import ModelInfo
from engine.protocol.runs import CopyMeasured, Measured
from engine.stats import bottleneck, energy
from engine.stats.metrics import NS, decode_tok_s, percentile


class Figure(Struct, frozen=True):
    """A figure over the repeats, each repeat's value with it; one repeat has no standard deviation."""

    mean: float
    stdev: float | None
    """Of the sample: n - 1 in the denominator."""
    samples: tuple[float, ...]


class Latency(Struct, frozen=True):
    """Percentiles in ms, over all gaps of all repeats."""

    p50: float
    p95: float


class Speeds(Struct, frozen=True):
    """Percentiles in tok/s: the median, and what 95 of 100 reach."""

    p50: float
    p5: float


class Stamps(Struct, frozen=True):
    """One repeat, in ns since its start: the figures can be computed from these again."""

    prefilled_ns: int | None
    """None of a server's answer."""
    token_ns: tuple[int, ...]


class Many(Struct, frozen=True, kw_only=True):
    """What many requests at once came to; all but `failed` is of those that were answered whole."""

    requests: int
    failed: int
    ttft_ms: Latency | None
    """Over requests."""
    request_tok_s: Speeds | None
    """Decode tok/s, over requests."""
    total_tok_s: float | None
    """Tokens of all answers over `seconds`."""
    tokens: int
    seconds: float
    """From the first request that was written to the last token."""
    client_cpu_share: float
    """Of one core, which all of the client's threads share."""
    client_late_ms: float
    """How late a thread of the client woke, at the 95th percentile."""


class Evidence(Struct, frozen=True, kw_only=True):
    """What the self-check looks at."""

    cached_tokens: tuple[int, ...]
    """In the cache at the end of each repeat, a sequence."""
    peak_at_reset_bytes: int | None
    in_use_at_reset_bytes: int | None


class Row(Struct, frozen=True, kw_only=True):
    """One profile at one shape. What could not be measured is null; `error` says why."""

    profile: str
    label: str = ""
    kernel: str = ""
    decode: Decode | Literal["compiled"] | None = None
    """How the steps were run (`compiled` in kept runs only); null where transformers' `generate` ran them."""
    context: int
    batch: int
    at_once: int = 0
    """Requests under way at any time; then figures are in `many` and `itl_ms`."""
    served: bool = False
    """A server's: figures as docs/served.md defines them."""
    prefill_tok_s: Figure | None = None
    decode_tok_s: Figure | None = None
    """Of all sequences together."""
    decode_tok_s_per_sequence: float | None = None
    ttft_ms: Figure | None = None
    itl_ms: Latency | None = None
    joules_per_token: Figure | None = None
    """Of the decoding, by the device's own counter, whatever else it did; null where a repeat has none."""
    mean_watts: Figure | None = None
    """Of the device, while it decoded."""
    weights_bytes: int | None = None
    kv_cache_bytes: int | None = None
    peak_bytes: int | None = None
    step_bytes: int | None = None
    """Weights and cache that a decode step must read."""
    copy_bytes_s: float | None = None
    """What the device copies, read plus written: the median of several copies after loading."""
    bandwidth_share: float | None = None
    """step_bytes × steps a second, as a share of copy_bytes_s."""
    bottleneck: str | None = None
    """Why the share is low and what to do, below 40 %."""
    many: Many | None = None
    marks: tuple[str, ...] = ()
    """What spoiled the speeds."""
    error: Failure | None = None
    evidence: Evidence | None = None
    stamps: tuple[Stamps, ...] = ()

    @property
    def shape(self) -> Shape:
        """Its cell of the matrix."""
        return Shape(self.context, self.batch, self.at_once)


class Runs(Struct, frozen=True, kw_only=True):
    """What a row stands for."""

    timed: tuple[Measured, ...]
    peak: Measured
    """The run that took the memory's peak."""
    copy: CopyMeasured | None
    """None where there was no memory left to copy."""


def explained(row: Row, info: ModelInfo) -> Row:
    """The row with what bounds its decoding, where it reaches little of the bandwidth."""
    if row.bandwidth_share is None or not row.step_bytes or not row.copy_bytes_s:
        return row
    return replace(
        row, bottleneck=bottleneck.explain(info, row.step_bytes, row.copy_bytes_s, row.bandwidth_share)
    )


def empty(profile: str, shape: Shape, info: ModelInfo | None) -> Row:
    """A row without figures; `info` where the model could be loaded."""
    return Row(
        profile=profile,
        label=info.label if info else "",
        kernel=info.kernel if info else "",
        context=shape.context,
        batch=shape.batch,
        at_once=shape.at_once,
        served=info is not None and info.served is not None,
        weights_bytes=info.weights_bytes if info else None,
    )


def failed(row: Row, failure: Failed) -> Row:
    """The row of a shape that could not be measured."""
    return replace(row, error=failure.failure)


def filled(row: Row, prompt_tokens: int, runs: Runs) -> Row:
    """The row with its figures; `prompt_tokens` of each prompt were timed."""
    timed, peak, batch = runs.timed, runs.peak, row.batch
    decode = figure([decode_tok_s(run, batch) for run in timed])
    copy_bytes_s = median(runs.copy.bytes_s) if runs.copy else None
    return replace(
        row,
        prefill_tok_s=figure([prefill_tok_s(run, prompt_tokens * batch) for run in timed]),
        decode_tok_s=decode,
        decode_tok_s_per_sequence=decode.mean / batch,
        ttft_ms=figure([ttft_ms(run) for run in timed]),
        itl_ms=itl_ms(timed),
        joules_per_token=figure_of_all([_joules_per_token(run, batch) for run in timed]),
        mean_watts=figure_of_all([energy.mean_watts(run.decode_joules, run.token_ns) for run in timed]),
        decode=peak.decode,
        kv_cache_bytes=peak.kv_cache_bytes,
        peak_bytes=peak.memory.peak_bytes if peak.memory else None,
        step_bytes=peak.step_bytes,
        copy_bytes_s=copy_bytes_s,
        bandwidth_share=share(peak.step_bytes, decode.mean / batch, copy_bytes_s),
        evidence=_evidence(timed, peak),
        stamps=tuple(_stamps(run) for run in timed),
    )


def figure(samples: Sequence[float]) -> Figure:
    """Mean and spread of the repeats."""
    return Figure(fmean(samples), stdev(samples) if len(samples) > 1 else None, tuple(samples))


def figure_of_all(samples: Sequence[float | None]) -> Figure | None:
    """Over the repeats; None where one of them has none."""
    found = [each for each in samples if each is not None]
    return figure(found) if found and len(found) == len(samples) else None


def _joules_per_token(run: Measured, batch: int) -> float | None:
    return energy.joules_per_token(run.decode_joules, (len(run.token_ns) - 1) * batch)


def prefill_tok_s(run: Measured, tokens: int) -> float:
    """`tokens` of all prompts together, over the time from the start to their last logits."""
    return tokens * NS / (run.prefilled_ns - run.started_ns)


def ttft_ms(run: Measured) -> float:
    """From the start to the first token; a bench renders no text, so the start is the prefill's."""
    return (run.token_ns[0] - run.started_ns) / 1e6


def itl_ms(runs: Sequence[Measured]) -> Latency:
    """Percentiles of the gaps between neighbouring tokens, all repeats together."""
    gaps = [(b - a) / 1e6 for run in runs for a, b in zip(run.token_ns, run.token_ns[1:], strict=False)]
    return Latency(percentile(gaps, 50) or 0.0, percentile(gaps, 95) or 0.0)


def share(step_bytes: int | None, steps_s: float, copy_bytes_s: float | None) -> float | None:
    """The bandwidth that decoding reaches, as a share of what the device copies, where both are known."""
    return step_bytes * steps_s / copy_bytes_s if step_bytes and copy_bytes_s else None


def _evidence(runs: Sequence[Measured], peak: Measured) -> Evidence:
    reset = peak.memory_at_reset
    return Evidence(
        cached_tokens=tuple(run.cached_tokens for run in runs),
        peak_at_reset_bytes=reset.peak_bytes if reset else None,
        in_use_at_reset_bytes=reset.process_bytes if reset else None,
    )


def _stamps(run: Measured) -> Stamps:
    start_ns = run.started_ns
    return Stamps(run.prefilled_ns - start_ns, tuple(ns - start_ns for ns in run.token_ns))
