"""What is said of memory between two models."""

from engine.duel.swap import MemoryReturn, return_text
from engine.units import GIB


def test_memory_that_does_not_come_back_is_said() -> None:
    kept = MemoryReturn(
        side=0,
        profile="a",
        device="cuda:0",
        free_before_bytes=20 * GIB,
        free_loaded_bytes=4 * GIB,
        free_after_bytes=5 * GIB,
        memory_returned=False,
        waited_s=5.0,
    )
    assert "5.00 GiB free, which is not back" in return_text(kept)
