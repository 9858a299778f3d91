"""How far a load is, in words. Knows no terminal."""

from engine.protocol import Staged
from engine.units import bytes_text, share_text


def stage_text(event: Staged) -> str:
    """`read 42 %, 108.2 MiB of 256.6 MiB`."""
    done, total = str(event.done), str(event.total)
    if event.unit == "bytes":
        done, total = bytes_text(event.done), bytes_text(event.total)
    amount = (
        f"{done} of {total} {event.unit}" if event.total else f"{done} {event.unit}" if event.done else ""
    )
    amount = amount.removesuffix(" bytes")
    parts = (share_text(event.done, event.total), amount, event.detail)
    return " ".join((event.stage, ", ".join(part for part in parts if part))).rstrip()
