"""The memory bars' rows."""

from engine.protocol.model import Memory
from tui.widgets.memory_bars import rows_of


def test_the_allocators_figure_is_called_so() -> None:
    sizes = dict.fromkeys(("weights", "kv_cache", "peak", "process", "device_used", "device_total"), 1)
    fields = {f"{name}_bytes": size for name, size in sizes.items()}
    labels = {
        source: rows_of(Memory(**fields, process_source=source))[-1][0]
        for source in ("NVML", "allocator", "resident set")
    }
    assert labels == {"NVML": "process", "allocator": "reserved", "resident set": "process"}


def test_of_a_servers_model_the_weights_alone_are_known() -> None:
    assert rows_of(None, 7)[0] == ("weights", 7)
    assert {value for _, value in rows_of(None, 7)[1:]} == {None}
