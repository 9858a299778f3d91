"""A bench's document: read, resumed, refused."""

import dataclasses
import os
from pathlib import Path

import pytest
from msgspec.structs import replace

from engine.bench import document, rows
from engine.bench.plan import Shape
from engine.errors import InputError
from engine.protocol.failure import Failed, Failure
from tests.unit.engine.bench.samples import TINY, row, settings


def test_only_what_is_missing_is_measured_again() -> None:
    name, other = (found.name for found in settings().profiles)
    crash = Failed(kind="worker_lost", message="gone")
    no_room = Failed(kind="out_of_memory", message="too big")
    empty = rows.empty(other, Shape(64, 1), None)
    found = document.begun(settings()).with_row(row(name=name))
    found = found.with_row(rows.failed(rows.empty(other, Shape(32, 1), None), no_room))
    found = found.with_row(rows.failed(empty, crash))
    assert found.missing() == [(Shape(64, 1), name), (Shape(64, 1), other)]
    assert empty.error is None and found.rows[-1].error == Failure("worker_lost", "gone")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"steps": 6}, "its steps is 5, not 6"),
        ({"repeat": 3}, "its repeat is 2, not 3"),
        ({"depth": True}, "its depth is False, not True"),
        ({"generator": "hf"}, "its generator is engine, not hf"),
        ({"schedule": "swap"}, "its schedule is sequential, not swap"),
        ({"profiles": (TINY,)}, "its profiles are"),
    ],
)
def test_other_settings_are_refused(changes: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        document.resumed(document.begun(settings()), replace(settings(), **changes))


def test_other_versions_and_machines_are_refused() -> None:
    begun = document.begun(settings())
    older = replace(begun.header, versions={"msgspec": "0.0.1"})
    with pytest.raises(InputError, match=r"msgspec was 0\.0\.1 then"):
        document.resumed(replace(begun, header=older), settings())
    host = dataclasses.replace(begun.header.hardware.host, name="an abacus")
    hardware = dataclasses.replace(begun.header.hardware, host=host)
    elsewhere = replace(begun, header=replace(begun.header, hardware=hardware))
    with pytest.raises(InputError, match="another machine"):
        document.resumed(elsewhere, settings())


def test_a_matrix_may_grow_when_it_goes_on() -> None:
    name = TINY.name
    found = document.resumed(document.begun(settings()).with_row(row(name=name)), settings(contexts=(16, 32)))
    assert len(found.rows) == 1 and len(found.missing()) == 3
    assert len(found.header.starts) == 2


def test_what_is_no_bench_is_one_line_and_not_waited_for(tmp_path: Path) -> None:
    pipe, binary, deep = (tmp_path / f"{name}.json" for name in ("pipe", "binary", "deep"))
    os.mkfifo(pipe)
    binary.write_bytes(b'{"\xff": 1}')
    deep.write_bytes(b"[" * 100_000)
    for file, said in (
        (pipe, "is a pipe"),
        (binary, "is not a bench"),
        (deep, "is not a bench"),
        (tmp_path, "folder"),
    ):
        with pytest.raises(InputError, match=said):
            document.read(file)
