"""The store of quantized checkpoints: all or nothing, one builder at a time, nothing left behind."""

import hashlib
import os
import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from engine.checkpoints import store
from engine.config.methods import Gptq, Rtn
from engine.config.record import Check, ModuleError, Recipe, Record
from engine.errors import InputError
from engine.protocol.loading import Staged


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A store of its own for every test."""
    monkeypatch.setenv("QUANTDUEL_HOME", str(tmp_path))
    yield tmp_path / "cache" / "checkpoints"


def recipe(bits: int = 4) -> Recipe:
    method = msgspec.convert({"method": "gptq", "bits": bits}, Gptq)
    return Recipe(model="demo@1", dtype="bfloat16", method=method, versions={"gptqmodel": "7.6.0"})


def record(of: Recipe) -> Record:
    check = Check(text="held out", tokens=10, source_perplexity=2.0, perplexity=3.0)
    errors = (ModuleError(layer=0, module="q_proj", loss=0.5),)
    return Record(
        recipe=of,
        profile="p",
        created=store.now(),
        seconds=1.0,
        total_seconds=2.0,
        peak_bytes=3,
        check=check,
        errors=errors,
    )


def never(_: Staged | None) -> None:
    raise AssertionError("nobody else builds")


def build(of: Recipe, content: str = "weights", *, force: bool = False) -> Path:
    with store.building(of, never, force=force) as building:
        assert building is not None
        (building.path / "model.safetensors").write_text(content)
        return building.publish(record(of))


def test_what_was_published_is_found_and_read_back() -> None:
    path = build(recipe())
    found = store.find(recipe())
    assert found is not None and found.path == path and found.record.recipe == recipe()
    assert found.record.check is not None and found.record.check.ratio == 1.5
    assert store.find(recipe(3)) is None


def test_equal_recipes_have_one_key_and_different_ones_do_not() -> None:
    assert recipe().key == recipe().key != recipe(3).key
    rtn = Recipe(model="demo@1", dtype="bfloat16", method=Rtn(), versions=recipe().versions)
    assert rtn.key != recipe().key


def test_an_option_that_came_later_leaves_earlier_checkpoints_their_keys() -> None:
    made = Recipe(model="demo", dtype="bfloat16", method=Gptq(), versions={})
    content = msgspec.to_builtins(made)
    del content["method"]["backend"], content["method"]["format"]
    before = hashlib.sha256(msgspec.json.encode(content, order="sorted")).hexdigest()[:16]
    assert made.key == before != replace(made, method=Gptq(backend="auto-gptq")).key


def test_an_exception_while_building_leaves_nothing(folder: Path) -> None:
    with pytest.raises(OSError), store.building(recipe(), never) as building:
        assert building is not None
        (building.path / "half").write_text("…")
        raise OSError("the disk is full")
    assert store.find(recipe()) is None and not [path for path in folder.iterdir() if path.is_dir()]


def test_who_comes_second_waits_is_reported_how_far_it_is_and_gets_none() -> None:
    heard, was_built = queue.SimpleQueue[Staged | None](), queue.SimpleQueue[bool]()

    def come_second() -> None:
        with store.building(recipe(), heard.put) as building:
            was_built.put(building is None)

    second = threading.Thread(target=come_second)
    with store.building(recipe(), never) as first:
        assert first is not None
        first.report(Staged(stage="quantize", done=3, total=30, unit="layers"))
        second.start()
        progress = heard.get(timeout=30)
        first.publish(record(recipe()))
    second.join()
    assert progress is not None and progress.done == 3 and was_built.get(timeout=30)


def test_a_killed_builders_folder_is_swept_and_never_listed(folder: Path) -> None:
    left = folder / f"{recipe().key}.building"
    left.mkdir(parents=True)
    (left / store.RECORD).write_bytes(msgspec.json.encode(record(recipe())))
    assert store.entries() == [] and not left.exists()


def test_a_living_builders_folder_is_not_swept_and_not_listed() -> None:
    with store.building(recipe(), never) as building:
        assert building is not None
        (building.path / store.RECORD).write_bytes(msgspec.json.encode(record(recipe())))
        assert store.sweep() == 0 and store.entries() == [] and building.path.exists()


def test_a_checkpoint_made_again_replaces_the_old_one() -> None:
    build(recipe(), "old")
    path = build(recipe(), "new", force=True)
    assert (path / "model.safetensors").read_text() == "new" and len(store.entries()) == 1


def test_a_record_of_another_version_counts_as_none_and_is_made_again() -> None:
    path = build(recipe())
    (path / store.RECORD).write_text('{"recipe": "of old"}')
    assert store.find(recipe()) is None and store.entries() == []
    assert build(recipe()) == path and store.find(recipe()) is not None


def test_removing() -> None:
    build(recipe())
    build(recipe(3))
    store.remove(store.entry(recipe(3).key[:6]))
    assert [entry.key for entry in store.entries()] == [recipe().key]
    with pytest.raises(InputError, match="no checkpoint"):
        store.entry(recipe(3).key)


def test_nothing_is_removed_whose_name_is_no_recipe(folder: Path, tmp_path: Path) -> None:
    path = build(recipe())
    mine, kept = folder / "photos.removed", folder / "thesis.building"
    for place in (mine, kept, tmp_path / "elsewhere"):
        place.mkdir()
        (place / "thesis.txt").write_text("…")
    (folder / f"{'a' * 16}.removed").symlink_to(tmp_path / "elsewhere")
    (folder / "copy of mine").mkdir()
    (folder / "copy of mine" / store.RECORD).write_bytes((path / store.RECORD).read_bytes())
    assert [entry.path for entry in store.entries()] == [path]
    assert all((place / "thesis.txt").is_file() for place in (mine, kept, tmp_path / "elsewhere"))
    assert not (folder / f"{'a' * 16}.removed").is_symlink()


def _pipe(file: Path) -> None:
    os.mkfifo(file)


def _device(file: Path) -> None:
    file.symlink_to("/dev/zero")


def _folder(file: Path) -> None:
    file.mkdir()


def _no_text(file: Path) -> None:
    file.write_bytes(b'{"recipe": "\xff\xfe"}')


def _deep(file: Path) -> None:
    file.write_bytes(b"[" * 100_000)


@pytest.mark.parametrize("put", [_pipe, _device, _folder, _no_text, _deep])
def test_what_is_no_record_counts_as_none(put: Callable[[Path], None]) -> None:
    path = build(recipe())
    (path / store.RECORD).unlink()
    put(path / store.RECORD)
    assert store.find(recipe()) is None and store.entries() == []


def test_what_a_killed_builder_left_and_cannot_be_removed_is_passed_over(folder: Path) -> None:
    path = build(recipe())
    left = folder / f"{recipe(3).key}.building"
    left.mkdir()
    (folder / f"{recipe(3).key}.lock").mkdir()  # no lock can be had there
    assert [entry.path for entry in store.entries()] == [path] and left.exists()


def test_a_store_that_cannot_be_read_is_one_line(folder: Path) -> None:
    folder.parent.mkdir()
    folder.write_text("no folder")
    with pytest.raises(InputError, match="Not a directory"):
        store.entries()
