"""Figures as text: bytes in MiB and GiB, speeds, times, shares. The one place that decides on digits.

Knows nothing of where a figure came from. A figure that was not measured is shown as `–`.
"""

import re
from datetime import UTC, datetime
from math import isfinite

MISSING = "–"
KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


def bytes_text(count: int | None) -> str:
    """`105.3 MiB`, `14.96 GiB`, `17 KiB`, `512 B`."""
    if count is None:
        return MISSING
    size = abs(count)
    if size >= GIB:
        return f"{count / GIB:.2f} GiB"
    if size >= MIB:
        return f"{count / MIB:.1f} MiB"
    return f"{count / KIB:.0f} KiB" if size >= KIB else f"{count} B"


def parse_bytes(text: str) -> int:
    """`400MiB`, `1.5 GiB`, `800M`, `1073741824` in bytes, by powers of 1024; ValueError for anything else."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?", text.strip(), re.IGNORECASE)
    if not found:
        raise ValueError(f"{text!r} is not a size such as 400MiB or 1.5GiB")
    power = "_kmgt".index(found[2].lower() or "_")
    return int(float(found[1]) * 1024**power)


def speed_text(tok_s: float | None) -> str:
    """`34.1 tok/s`."""
    return MISSING if tok_s is None else f"{_three_digits(tok_s)} tok/s"


def ms_text(ms: float | None) -> str:
    """`83 ms`, `1.24 s`, `2 min 5 s`."""
    if ms is None:
        return MISSING
    return f"{_three_digits(ms)} ms" if ms < 1000 else seconds_text(ms / 1000)


def seconds_text(seconds: float | None) -> str:
    """`0.42 s`, `12.3 s`, `2 min 5 s`."""
    if seconds is None:
        return MISSING
    if seconds < 60:
        return f"{_three_digits(seconds)} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"


def calm_text(seconds: float) -> str:
    """Whole seconds below a minute, so that a figure which is shown again and again is calm."""
    return f"{seconds:.0f} s" if seconds < 59.5 else seconds_text(seconds)


def time_text(utc: str, *, with_zone: bool = False) -> str:
    """`2026-11-27 20:41` where the user is, of an ISO 8601 time; with the zone, `2026-11-27 20:41 CET`.

    Records keep UTC. What is no time stays as it is.
    """
    try:
        kept = datetime.fromisoformat(utc)
        local = (kept if kept.tzinfo else kept.replace(tzinfo=UTC)).astimezone()
    except (ValueError, OverflowError):
        return utc
    return f"{local:%Y-%m-%d %H:%M %Z}" if with_zone else f"{local:%Y-%m-%d %H:%M}"


def digits(value: float, count: int = 3) -> str:
    """`0.00123`, `34.2`, `1240`: so many digits, and never a power of ten for a large number."""
    return f"{value:.{count}g}" if abs(value) < 10**count - 0.5 else f"{value:.0f}"


def with_error(value: float | None, error: float | None, unit: str = "") -> str:
    """`0.0313 ± 0.0011`: two digits of the error, the value to the same place."""
    if value is None:
        return MISSING
    if not error or not (isfinite(value) and isfinite(error)):
        return f"{value:.4g}{unit}"
    places = max(0, 1 - _magnitude(error))
    return f"{value:.{places}f} ± {error:.{places}f}{unit}"


def share_text(done: int, total: int) -> str:
    """`42 %`; nothing where the total is unknown."""
    return f"{min(100, 100 * done // total)} %" if total > 0 else ""


def _magnitude(value: float) -> int:
    """The power of ten of its first digit: 0.0031 has -3."""
    return int(f"{value:e}".partition("e")[2])


def _three_digits(value: float) -> str:
    """Three significant digits below a thousand: 0.42, 3.42, 34.2, 342."""
    if abs(value) >= 99.95:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 9.995 else f"{value:.2f}"
