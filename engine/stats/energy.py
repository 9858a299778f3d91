"""Joules and watts: their figures, and all words about them. Pure; docs/measuring.md has the definitions.

A figure is of the device, not of a process: what others did there meanwhile is in it.
"""

from collections.abc import Collection, Mapping, Sequence

from engine.protocol.model import Energy, Lack, ModelInfo
from engine.units import MISSING, digits

NS = 1_000_000_000
JOULES, WATTS = "J/token", "mean W"
"""Names of the columns."""
WHY: dict[Lack, str] = {
    "no RAPL": "the processor shows no energy counter here (RAPL)",
    "RAPL not readable": "the processor's energy counter (RAPL) may be read by root alone here",
    "no NVML": "the GPU's driver tells no energy (NVML)",
    "not in NVML": "this GPU tells no energy: those before Volta and parts of a GPU (MIG) have no counter",
    "server": "a server does not say what its answers take",
}
NOT_COUNTED = "the counter gave no figure"
SHARED = "others were on the device"


def joules_per_token(joules: float | None, tokens: int) -> float | None:
    """`joules` were counted from the first token on, while `tokens` came after it."""
    return None if joules is None or tokens < 1 else joules / tokens


def mean_watts(joules: float | None, token_ns: Sequence[int]) -> float | None:
    """Over the time from the first token's stamp to the last one's; None where that is none."""
    span_ns = token_ns[-1] - token_ns[0] if token_ns else 0
    return None if joules is None or not span_ns else joules * NS / span_ns


def joules_text(joules: float | None) -> str:
    """`0.123 J/token`."""
    return MISSING if joules is None else f"{digits(joules)} {JOULES}"


def watts_text(watts: float | None) -> str:
    """`45.2 W`."""
    return MISSING if watts is None else f"{digits(watts)} W"


def why(found: Energy) -> str:
    """Why there is no figure."""
    return WHY[found.lack] if found.lack else NOT_COUNTED


def idle_text(found: Energy | None) -> str:
    """`12.3 W`, `12.3 W (others were on the device)`; the reason where there is none."""
    if found is None:
        return MISSING
    if found.idle_watts is None:
        return f"{MISSING} ({why(found)})"
    return watts_text(found.idle_watts) + (f" ({SHARED})" if found.idle_is_shared else "")


def line(joules: float | None, watts: float | None, found: Energy | None, *, contended: bool = False) -> str:
    """`0.123 J/token, mean 45.2 W, idle 12.3 W`; why not; nothing of a record that does not tell."""
    if joules is None:
        return f"{JOULES} {MISSING}: {why(found)}" if found else ""
    idle = f", idle {idle_text(found)}" if found else ""
    shared = " (contended)" if contended else ""
    return f"{joules_text(joules)}, mean {watts_text(watts)}{shared}{idle}"


def lines(models: Mapping[str, tuple[str, Energy | None]], counted: Collection[str]) -> list[str]:
    """Below a table: each place's idle draw, and why the names that are not `counted` have no figure.

    `models` has the device and what is known of its energy, by profile.
    """
    return [*_idle(models), *_lacking({name: each for name, each in models.items() if name not in counted})]


def of(info: ModelInfo) -> tuple[str, Energy | None]:
    """What `lines` is told of a model."""
    return info.place, info.energy


def _idle(models: Mapping[str, tuple[str, Energy | None]]) -> list[str]:
    """Of several readings of a device the one that nobody disturbed, or the lowest."""
    found: dict[str, Energy] = {}
    for place, each in models.values():
        if each and each.idle_watts is not None:
            found[place] = min(found.get(place, each), each, key=_disturbance)
    return [f"idle draw of {place}, before loading: {idle_text(each)}" for place, each in found.items()]


def _disturbance(found: Energy) -> tuple[bool, float]:
    return found.idle_is_shared, found.idle_watts or 0.0


def _lacking(models: Mapping[str, tuple[str, Energy | None]]) -> list[str]:
    names: dict[str, list[str]] = {}
    for name, (_, found) in models.items():
        if found:
            names.setdefault(why(found), []).append(name)
    return [f"{', '.join(those)}: {JOULES} {MISSING}: {reason}" for reason, those in names.items()]
