"""What a GPU holds besides weights and cache: as the plan says, and not counted in the figures."""

from contextlib import nullcontext

import pytest
import torch
from msgspec.structs import replace

from engine.config import profiles
from engine.machine.hardware import Gpu, Hardware, Host
from engine.plan import graphs, running
from engine.plan.planning import Wish, plan
from engine.plan.terms import Plan
from engine.protocol.model import Memory
from engine.session import plan_check
from engine.session.plan_check import Figures
from engine.shape import find
from engine.worker.host import bandwidth, memory
from tests.gpu_free.fake_cuda import GPU, fake_cuda

MIB, GIB = 1 << 20, 1 << 30
CARD = Gpu(index=0, name="a card", total_bytes=80 * GIB, free_bytes=79 * GIB, capability=(9, 0))
BOX = Hardware(host=Host("a processor", 2, 2, (), 8 * GIB, 4 * GIB, limited=False), gpus=(CARD,), driver="")
TOKEN_BYTES = 32 * 2 * 8 * 128 * 2  # Llama 3.1 8B: layers × keys and values × heads × size × bytes


def of(context: int, source: str = "random:llama-3.1-8b") -> Plan:
    wanted = profiles.find(source)
    return plan(wanted, find.of(wanted), BOX, Wish(context=context))


def test_capacities_are_powers_of_two_and_the_smaller_cache_is_kept() -> None:
    found = of(1100)
    assert found.kv_cache_bytes == 2048 * TOKEN_BYTES
    besides = {term.name: term.bytes for term in found.activations}
    assert besides["smaller cache"] == 1024 * TOKEN_BYTES
    assert besides["CUDA graph"] == graphs.POOL_BYTES + 128256 * 2
    assert "smaller cache" not in {term.name for term in of(200).activations}


def test_a_load_ends_with_the_cache_and_the_graph_of_a_first_answer() -> None:
    found = of(2048, "random:tiny")
    terms = {term.name: term.bytes for term in found.loading}
    assert terms["first cache"] == 1024 * 2 * 2 * 64 * 2  # tokens × layers × (keys, values) × width × bytes
    assert terms["CUDA graph"] == graphs.POOL_BYTES + 512 * 2
    assert found.load_peak_bytes == sum(terms.values())


def held(**known: int | str | None) -> Memory:
    none = dict.fromkeys(
        ("weights_bytes", "kv_cache_bytes", "process_bytes", "device_used_bytes", "device_total_bytes"), 0
    )
    return Memory(**{**none, "peak_bytes": 0, "process_source": "NVML", **known})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("read", "peak"),
    [
        (held(process_bytes=900, reserved_bytes=400, peak_bytes=300), 900),
        (held(process_bytes=900, reserved_bytes=400, peak_bytes=600), 1100),  # the context is in no peak
        (held(process_bytes=400, reserved_bytes=400, peak_bytes=600, process_source="allocator"), 600),
        (held(process_bytes=400, peak_bytes=600, process_source="resident set"), 600),
    ],
)
def test_a_loads_peak_is_of_the_whole_process(read: Memory, peak: int) -> None:
    assert plan_check.load_peak_bytes(read) == peak


def test_an_estimate_has_no_context_where_the_allocator_alone_can_be_read() -> None:
    found = of(2048)
    estimate = Figures(weights_bytes=1, kv_cache_bytes=2, load_peak_bytes=found.load_peak_bytes)
    assert plan_check.comparable(estimate, found, "NVML") == estimate
    less = found.load_peak_bytes - running.CUDA_CONTEXT_BYTES
    assert plan_check.comparable(estimate, found, "allocator") == replace(estimate, load_peak_bytes=less)


class Clock:
    """An event that says how many copies were made between two."""

    copies = 0

    def __init__(self, *, enable_timing: bool) -> None:
        assert enable_timing

    def record(self) -> None:
        self.at = Clock.copies

    def synchronize(self) -> None: ...

    def elapsed_time(self, ended: "Clock") -> float:
        return (ended.at - self.at) * 2.0  # ms


@pytest.mark.parametrize(("free", "buffer"), [(60 * GIB, GIB), (2 * GIB, GIB // 2)])
def test_copies_are_timed_by_the_gpu_in_a_row_and_leave_nothing(
    free: int, buffer: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(torch.cuda, "Event", Clock)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 80 * GIB))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: said.append("empty_cache"))
    monkeypatch.setattr(memory, "reset_peak", lambda device: said.append("reset_peak"))

    def counted(target: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
        Clock.copies += 1
        assert source.numel() == buffer
        return torch.ops.aten.copy_(target, source)

    with fake_cuda(), monkeypatch.context() as patch:
        patch.setattr(torch.cuda, "device", nullcontext)
        patch.setattr(torch.Tensor, "copy_", counted)
        assert bandwidth.quick_copy_speed(GPU) == pytest.approx(2 * buffer / 2e-3)
    assert said == ["empty_cache", "reset_peak"]
