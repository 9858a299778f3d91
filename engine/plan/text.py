"""A plan's verdict and its errors in words. Knows no screen and no command."""

from engine.plan.terms import Plan
from engine.units import bytes_text


def verdict_text(found: Plan) -> str:
    """`fits: 1.20 GiB needed for loading, 21.44 GiB free on cpu`."""
    memory = found.memory
    limited = f", by {memory.limited_by}" if memory.limited_by else ""
    return (
        f"{found.verdict}: {bytes_text(found.needed_bytes)} needed for {found.needed_for}, "
        f"{bytes_text(memory.free_bytes)} free on {memory.device}{limited}"
    )


def error_text(estimate: int, actual: int | None) -> str | None:
    """`+1.2 %`: the estimate against the actual figure; `exact` where they are equal."""
    if not actual:
        return None
    return "exact" if estimate == actual else f"{100 * (estimate / actual - 1):+.1f} %"
