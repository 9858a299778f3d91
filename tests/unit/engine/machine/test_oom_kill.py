"""The kernel's counters of processes killed because memory ran out."""

from pathlib import Path

from engine.machine import oom_kill


def test_kills_are_counted_by_the_innermost_group(tmp_path: Path) -> None:
    inner = tmp_path / "groups" / "job"
    inner.mkdir(parents=True)
    own, system = tmp_path / "cgroup", tmp_path / "vmstat"
    own.write_text("0::/job\n")
    system.write_text("pgfault 1\noom_kill 9\n")
    assert oom_kill.count(tmp_path / "groups", own, system) == 9
    (inner / "memory.events").write_text("low 0\noom 3\noom_kill 2\n")
    assert oom_kill.count(tmp_path / "groups", own, system) == 2
    assert oom_kill.count(tmp_path / "none", tmp_path / "none", tmp_path / "none") is None
