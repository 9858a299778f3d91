"""`quantduel store`, a store for every test."""

import json
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import msgspec
import pytest

from engine import cli
from engine.checkpoints import store
from engine.config.methods import Rtn
from engine.config.record import Check, ModuleError, Recipe, Record


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home, and so a store, of every test's own."""
    monkeypatch.setenv("QUANTDUEL_HOME", str(tmp_path / "home"))
    yield tmp_path / "home"


def publish(bits: int = 4, **versions: str) -> str:
    """A checkpoint in the store, as a worker would leave it; its key."""
    made_with = versions or {"msgspec": metadata.version("msgspec")}
    method = msgspec.convert({"method": "rtn", "bits": bits, "group_size": 64}, Rtn)
    recipe = Recipe(model="demo@1", dtype="bfloat16", method=method, versions=made_with)
    record = Record(
        recipe=recipe,
        profile="p",
        created=store.now(),
        seconds=75.0,
        total_seconds=90.0,
        peak_bytes=2 << 30,
        check=Check(text="held-out text", tokens=10, source_perplexity=2.0, perplexity=3.0),
        errors=(ModuleError(layer=0, module="mlp.up_proj", loss=0.5),),
        notes=("everything is quantized",),
    )
    with store.building(recipe, lambda _: None) as build:
        assert build is not None
        (build.path / "model.safetensors").write_bytes(bytes(1 << 20))
        build.publish(record)
    return recipe.key


def test_the_store_is_listed_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["store", "list"]) == 0
    assert capsys.readouterr() == ("", f"0 checkpoints, 0 B, in {store.folder()}\n")
    key = publish()
    assert cli.run(["store", "list"]) == 0
    listed, err = capsys.readouterr()
    assert f"{key}  rtn4-g64  1.0 MiB" in listed and err.startswith("1 checkpoint, 1.0 MiB, in ")
    assert cli.run(["store", "list", "--json"]) == 0
    assert [entry["key"] for entry in json.loads(capsys.readouterr().out)] == [key]

    assert cli.run(["store", "show", key[:6]]) == 0
    shown = capsys.readouterr().out
    assert "3.00 (source 2.00, × 1.500) on held-out text" in shown and "1 min 15 s" in shown
    assert "note: everything is quantized" in shown and "up proj" in shown
    assert cli.run(["store", "path", key]) == 0
    assert capsys.readouterr().out.strip() == str(store.folder() / key)


def test_prune_removes_what_is_not_used_any_more_or_what_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    current, old, other = publish(4), publish(8, msgspec="0.1"), publish(3)
    assert cli.run(["store", "prune", "--dry-run"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(old) and err == "1 checkpoint, 1.0 MiB, would be removed\n"
    assert len(store.entries()) == 3
    assert cli.run(["store", "prune"]) == 0
    assert {entry.key for entry in store.entries()} == {current, other}
    assert cli.run(["store", "prune", other]) == 0
    assert [entry.key for entry in store.entries()] == [current]
    assert cli.run(["store", "prune", "--all"]) == 0
    assert store.entries() == [] and capsys.readouterr().err.count(" removed") == 3
