"""Logits that no disk can hold."""

from engine.evaluation import run


def test_what_is_too_large_for_the_disk_is_refused_with_the_figure_needed() -> None:
    failure = run.too_large(tokens=1000, total_bytes=8 << 30, bound_bytes=4 << 30)
    assert failure.kind == "out_of_memory" and "8.00 GiB" in failure.message and "4.00 GiB" in failure.message
    assert failure.hint == "--tokens 500 would fit"
