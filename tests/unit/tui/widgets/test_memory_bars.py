"""The memory bars' rows."""

from engine.protocol import Memory
from tui.widgets.memory_bars import rows_of


def test_the_allocators_figure_is_called_so() -> None:
    sizes = dict.fromkeys(("weights", "kv_cache", "peak", "process", "device_used", "device_total"), 1)
    fields = {f"{name}_bytes": size for name, size in sizes.items()}
    labels = {
        source: rows_of(Memory(**fields, process_source=source))[-1][0]
        for source in ("NVML", "allocator", "resident set")
    }
    assert labels == {"NVML": "process", "allocator": "reserved", "resident set": "process"}
