"""The machine: limits and processors from files like the kernel's, devices from the real driver."""

from pathlib import Path

import psutil

from engine.machine import hardware
from engine.machine.hardware import Gpu

GIB = 1 << 30


def cgroup(root: Path, path: str, files: dict[str, object]) -> None:
    folder = root / path
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in files.items():
        (folder / name).write_text(f"{value}\n")


def test_the_machine_is_as_psutil_sees_it_or_smaller() -> None:
    found = hardware.detect()
    assert 0 < found.host.available_bytes <= found.host.total_bytes <= psutil.virtual_memory().total
    assert 1 <= found.host.cores <= found.host.threads
    assert bool(found.gpus) <= bool(found.driver)


def test_the_tightest_limit_above_the_process_counts(tmp_path: Path) -> None:
    root, own = tmp_path / "cgroup", tmp_path / "own"
    own.write_text("0::/outer/inner\n")
    cgroup(root, "outer", {"memory.max": 4 * GIB, "memory.current": GIB})
    cgroup(root, "outer/inner", {"memory.max": "max", "memory.current": GIB})
    assert hardware.memory_limit(root, own) == (4 * GIB, GIB)


def test_file_cache_is_not_in_use(tmp_path: Path) -> None:
    root, own = tmp_path / "cgroup", tmp_path / "own"
    own.write_text("0::/\n")
    stat = f"anon 5\ninactive_file {GIB}\nactive_file 7"
    cgroup(root, ".", {"memory.max": 8 * GIB, "memory.current": 3 * GIB, "memory.stat": stat})
    assert hardware.memory_limit(root, own) == (8 * GIB, 2 * GIB)


def test_version_1_limits_are_seen(tmp_path: Path) -> None:
    root, own = tmp_path / "cgroup", tmp_path / "own"
    own.write_text("5:cpu:/x\n4:memory:/box\n")
    cgroup(root / "memory", "box", {"memory.limit_in_bytes": 2 * GIB, "memory.usage_in_bytes": GIB})
    assert hardware.memory_limit(root, own) == (2 * GIB, GIB)


def test_no_limit_is_no_limit(tmp_path: Path) -> None:
    assert hardware.memory_limit(tmp_path / "none", tmp_path / "none") is None


def test_the_processor_is_named_with_the_flags_that_matter(tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text(
        "processor\t: 0\nmodel name\t: Test CPU 9\nflags\t\t: fpu avx2 amx_bf16 avx512_bf16 sse\n"
    )
    assert hardware.cpu(info) == ("Test CPU 9", ("avx2", "avx512_bf16", "amx_bf16"))
    assert hardware.cpu(tmp_path / "absent") == ("unknown processor", ())


def test_what_a_device_can_compute_follows_its_capability() -> None:
    def gpu(major: int, minor: int) -> Gpu:
        return Gpu(index=0, name="x", total_bytes=1, free_bytes=1, capability=(major, minor))

    assert [(g.has_bf16, g.has_int8) for g in (gpu(7, 0), gpu(7, 5), gpu(8, 0), gpu(9, 0))] == [
        (False, False),
        (False, True),
        (True, True),
        (True, True),
    ]
