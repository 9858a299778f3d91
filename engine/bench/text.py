"""A bench in words: what holds for all rows, a row for reading and for machines, the verdicts."""

from collections.abc import Callable
from functools import partial

from engine.bench import at_once_text
from engine.bench.document import Document, Start
from engine.bench.plan import FOLLOW_UP_TOKENS, Settings
from engine.bench.rows import Figure, Row
from engine.jobs.sheet import Sheet
from engine.machine.gpu_state import GpuState
from engine.protocol.model import ModelInfo
from engine.protocol.runs import Generator
from engine.stats import energy
from engine.tables import Cell
from engine.units import MISSING, bytes_text, digits, ms_text, with_error


def sheet(document: Document) -> Sheet:
    """The document, ready to be written."""
    at_once = bool(document.header.settings.concurrency)
    return Sheet(
        above=heading(document),
        rows=[*map(reader(document), document.rows)],
        below=[*reasons(document), *energy_lines(document), *verdicts(document)],
        plots=at_once_text.plots(document) if at_once else (),
        numbers=[numbers(row) for row in document.rows],
        records=document.rows,
        document=document,
        title="Bench of " + ", ".join(dict.fromkeys(row.profile for row in document.rows)),
    )


def reader(document: Document) -> Callable[[Row], dict[str, Cell]]:
    """What makes cells of each row of a document, with the columns that this one needs."""
    settings, found = document.header.settings, document.rows
    if settings.concurrency:
        return at_once_text.cells
    with_batches = any(each.batch > 1 for each in [*settings.shapes, *(row.shape for row in found)])
    with_energy = any(map(_has_joules, found))
    return partial(cells, with_batches=with_batches, with_energy=with_energy)


def energy_lines(document: Document) -> list[str]:
    """Each device's idle draw, and why profiles have no joules."""
    measured = [row for row in document.rows if row.error is None]
    names, counted = ({row.profile for row in rows} for rows in (measured, filter(_has_joules, measured)))
    models = {name: energy.of(info) for name, info in document.header.models.items() if name in names}
    return energy.lines(models, counted)


def _has_joules(row: Row) -> bool:
    return row.joules_per_token is not None


NO_TIMES = "the server does not say how long it read (vLLM does with --enable-per-request-metrics)"
NO_COUNTS = "the server does not say how many tokens came with each piece, or sent all of them at once"


def heading(document: Document) -> list[str]:
    """What holds for all rows: machine, versions, settings, and how busy the machine was."""
    header = document.header
    host = header.hardware.host
    machine = f"{host.name}, {host.cores} cores, {bytes_text(host.total_bytes)}"
    versions = ", ".join(f"{name} {version}" for name, version in header.versions.items())
    starts = [line for start in header.starts for line in _start(start)]
    models = [_model(name, info, header.settings.generator) for name, info in header.models.items()]
    lines = [machine, versions, *models, _how(header.settings), *starts, *header.notes]
    return [line for line in lines if line]


def reasons(document: Document) -> list[str]:
    """Why a figure is missing; why decoding reaches little of the bandwidth, at a profile's slowest shape."""
    slow = [row for row in document.rows if row.bottleneck]
    names = dict.fromkeys(row.profile for row in slow)
    of_each = ([row for row in slow if row.profile == name] for name in names)
    worst = [min(rows, key=lambda row: row.bandwidth_share or 0.0) for rows in of_each]
    slowest = [f"{row.profile} {row.context}×{row.batch}: {row.bottleneck}" for row in worst]
    return [*(line for name in document.header.models for line in _missing(name, document)), *slowest]


def _missing(name: str, document: Document) -> list[str]:
    """What a server does not say, and what that leaves out."""
    mine = [row for row in document.rows if row.profile == name and row.served and row.error is None]
    found = [
        (
            f"{name}: prefill {MISSING}: {NO_TIMES}",
            any(not row.prefill_tok_s and not row.many for row in mine),
        ),
        (
            f"{name}: memory {MISSING}: the server holds it",
            any(not row.peak_bytes and not row.many for row in mine),
        ),
        (f"{name}: decode {MISSING}: {NO_COUNTS}", any(_has_no_speed(row) for row in mine)),
    ]
    return [line for line, is_so in found if is_so]


def _has_no_speed(row: Row) -> bool:
    return (row.many.request_tok_s if row.many else row.decode_tok_s) is None


def _model(name: str, info: ModelInfo, generator: Generator) -> str:
    if info.served:
        round_trip = info.served.round_trip_ms
        network = "" if round_trip is None else f", {ms_text(round_trip)} round trip"
        return f"{name}: {info.label}, {info.kernel}, {info.device_name}{network}"
    copied = f", copies {info.copy_bytes_s / 1e9:.1f} GB/s" if info.copy_bytes_s else ""
    decode = f"step {info.step}" if generator == "engine" else "transformers, weights as loaded"
    how = f"kernel {info.kernel}, {decode}, {info.threads} threads"
    return f"{name}: {info.label}, {how} on {info.place}{copied}"


def cells(row: Row, *, with_batches: bool = True, with_energy: bool = False) -> dict[str, Cell]:
    """A row for reading."""
    itl, share = row.itl_ms, row.bandwidth_share
    speeds: dict[str, Cell] = {
        "prefill tok/s": _figure(row.prefill_tok_s),
        "decode tok/s": _figure(row.decode_tok_s),
    }
    batch: dict[str, Cell] = {"batch": row.batch} if with_batches else {}
    if with_batches:
        speeds["per sequence"] = row.decode_tok_s_per_sequence
    if with_energy:
        speeds |= {
            energy.JOULES: _with_deviation(row.joules_per_token),
            energy.WATTS: _with_deviation(row.mean_watts),
        }
    return {
        "profile": row.profile,
        "method": row.label,
        "context": row.context,
        **batch,
        **speeds,
        "TTFT ms": _figure(row.ttft_ms),
        "ITL p50, p95 ms": f"{digits(itl.p50)}, {digits(itl.p95)}" if itl else MISSING,
        "weights": bytes_text(row.weights_bytes),
        "peak": bytes_text(row.peak_bytes),
        "bandwidth": MISSING if share is None else f"{share:.0%}",
        "remarks": row.error.message if row.error else ", ".join(row.marks),
    }


def numbers(row: Row) -> dict[str, Cell]:
    """A row for machines that cannot read JSON."""
    return {
        "profile": row.profile,
        "label": row.label,
        "kernel": row.kernel,
        "context": row.context,
        "batch": row.batch,
        **at_once_text.numbers(row),
        **_columns("prefill_tok_s", row.prefill_tok_s),
        **_columns("decode_tok_s", row.decode_tok_s),
        "decode_tok_s_per_sequence": row.decode_tok_s_per_sequence,
        **_columns("ttft_ms", row.ttft_ms),
        "itl_p50_ms": row.itl_ms.p50 if row.itl_ms else None,
        "itl_p95_ms": row.itl_ms.p95 if row.itl_ms else None,
        **_columns("joules_per_token", row.joules_per_token),
        **_columns("mean_watts", row.mean_watts),
        "weights_bytes": row.weights_bytes,
        "kv_cache_bytes": row.kv_cache_bytes,
        "peak_bytes": row.peak_bytes,
        "step_bytes": row.step_bytes,
        "copy_bytes_s": row.copy_bytes_s,
        "bandwidth_share": row.bandwidth_share,
        "bottleneck": row.bottleneck,
        "marks": "; ".join(row.marks),
        "error": row.error.message if row.error else "",
    }


def verdicts(document: Document) -> list[str]:
    """The self-check, one line per check."""
    return [f"{check.verdict}: {check.name} ({check.detail})" for check in document.checks]


def _how(settings: Settings) -> str:
    if settings.concurrency:
        return at_once_text.how(settings)
    who = "the engine's loop" if settings.generator == "engine" else "transformers' generate"
    times = "once" if settings.repeat == 1 else f"{settings.repeat} times: mean ± standard deviation"
    what = "a prompt of `context` tokens"
    if settings.depth:
        what = f"a prompt of {FOLLOW_UP_TOKENS} tokens after `context` cached ones"
    order = {"concurrent": "; all profiles at once", "swap": "; one profile loaded at a time"}
    decode = "decode counts all sequences together"
    return (
        f"{who}: {what}, {settings.steps} greedy tokens, {times}; {decode}{order.get(settings.schedule, '')}"
    )


def _start(start: Start) -> list[str]:
    clock = f", {start.cpu_mhz:.0f} MHz" if start.cpu_mhz else ""
    cpu = f"{start.at}: CPU {start.cpu_busy_share:.0%} busy, load {start.load_1min:.2f}{clock}"
    return [cpu, *(_gpu(state) for state in start.gpus)]


def _gpu(state: GpuState) -> str:
    sm = f"SM {state.sm_mhz or MISSING} of {state.sm_max_mhz or MISSING} MHz"
    power = f"power cap {MISSING if state.power_cap_w is None else f'{state.power_cap_w:.0f} W'}"
    parts = (f"{state.name}: {sm}", power, f"{len(state.pids)} processes", *state.slowdowns)
    return ", ".join(parts)


def _figure(figure: Figure | None) -> str:
    """`34.1 ± 0.5`: three digits of the mean, the deviation to the same place."""
    if figure is None:
        return MISSING
    places = 0 if figure.mean >= 99.95 else 1 if figure.mean >= 9.995 else 2
    deviation = "" if figure.stdev is None else f" ± {figure.stdev:.{places}f}"
    return f"{figure.mean:.{places}f}{deviation}"


def _with_deviation(figure: Figure | None) -> str:
    """`0.1230 ± 0.0011`: two digits of the deviation, the mean to the same place."""
    return with_error(figure.mean, figure.stdev) if figure else MISSING


def _columns(name: str, figure: Figure | None) -> dict[str, Cell]:
    return {
        name: figure.mean if figure else None,
        f"{name}_stdev": figure.stdev if figure else None,
    }
