"""A checkpoint in a user's folder: what is replaced is what an export wrote, and nothing else is lost."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from engine.checkpoints import export, store
from engine.config.atomic import replacing
from engine.config.methods import Rtn
from engine.config.record import Recipe, Record
from engine.errors import InputError


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store of its own for every test."""
    monkeypatch.setenv("QUANTDUEL_HOME", str(tmp_path / "home"))


@pytest.fixture
def checkpoint() -> Path:
    """A checkpoint in the store, with a folder in it."""
    recipe = Recipe(model="demo@1", dtype="bfloat16", method=Rtn(), versions={})
    record = Record(
        recipe=recipe, profile="p", created=store.now(), seconds=1.0, total_seconds=2.0, peak_bytes=3
    )
    with store.building(recipe, lambda _: None) as build:
        assert build is not None
        (build.path / "model.safetensors").write_text("weights")
        (build.path / "deep" / "er").mkdir(parents=True)
        (build.path / "deep" / "er" / "config.json").write_text("{}")
        return build.publish(record)


def files(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_an_export_replaces_an_export_and_leaves_nothing_next_to_it(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert export.export(checkpoint, out) == out
    assert files(out).keys() == {"model.safetensors", "deep/er/config.json", "quantduel.json"}
    assert store.record(out) == store.record(checkpoint)
    with pytest.raises(InputError, match="exists already") as refused:
        export.export(checkpoint, out)
    assert refused.value.hint == "--force replaces it"
    (checkpoint / "model.safetensors").write_text("newer weights")
    export.export(checkpoint, out, replace=True)
    assert files(out)["model.safetensors"] == "newer weights"
    assert {path.name for path in tmp_path.iterdir()} == {"out", "home"}


def only_a_record(out: Path) -> None:
    for path in sorted(out.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (out / "quantduel.json").write_text("{}")
    (out / "thesis.txt").write_text("…")


def unlisted_record(out: Path) -> None:
    record = json.loads((out / "quantduel.json").read_text())
    del record["files"]
    (out / "quantduel.json").write_text(json.dumps(record))


def link(out: Path) -> None:
    (out / "model.safetensors").unlink()
    (out / "model.safetensors").symlink_to(out / "quantduel.json")


def changed(out: Path) -> None:
    config, record = out / "deep/er/config.json", out / "quantduel.json"
    config.write_text("[]")
    os.utime(config, ns=(record.stat().st_mtime_ns + 1,) * 2)


CHANGES: dict[Callable[[Path], object], str] = {
    only_a_record: "is not a checkpoint that QuantDuel wrote",
    unlisted_record: "is not a checkpoint that QuantDuel wrote",
    lambda out: (out / "quantduel.json").write_text("nonsense"): "is not a checkpoint that QuantDuel wrote",
    lambda out: (out / "deep/thesis.txt").write_text("…"): "did not write: deep/thesis.txt",
    lambda out: (out / "empty").mkdir(): "did not write: empty",
    lambda out: (out / "model.safetensors").write_text("longer than it was"): "changed since: model.saf",
    link: "did not write: model.safetensors",
    changed: "changed since: deep/er/config.json",
}


@pytest.mark.parametrize(("change", "said"), CHANGES.items())
def test_whatever_a_user_put_there_stays(
    change: Callable[[Path], object], said: str, checkpoint: Path, tmp_path: Path
) -> None:
    out = export.export(checkpoint, tmp_path / "out")
    change(out)
    before = files(out)
    for replace, words in ((True, said), (False, "exists already")):
        with pytest.raises(InputError, match=words):
            export.export(checkpoint, out, replace=replace)
    assert files(out) == before


def test_a_link_leads_to_the_folder_that_is_replaced(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "out")
    out = export.export(checkpoint, tmp_path / "link")
    assert out == tmp_path / "disk" / "out" and (tmp_path / "link" / "quantduel.json").is_file()
    assert export.export(checkpoint, tmp_path / "link", replace=True) == out


@pytest.mark.parametrize("moment", ["rename", "unlink"])
def test_a_kill_leaves_the_old_or_the_new_and_the_next_export_sweeps(
    moment: str, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    out = export.export(checkpoint, tmp_path / "out")
    steps = []
    for after in range(20):
        real, calls = getattr(Path, moment), iter(range(after))

        def step(path: Path, *args: object, real=real, calls=calls, **options: object) -> object:
            if next(calls, None) is None:
                raise Killed
            return real(path, *args, **options)

        with monkeypatch.context() as patch:
            patch.setattr(Path, moment, step)
            try:
                export.export(checkpoint, out, replace=True)
            except Killed:
                steps.append(after)
            else:
                break
        places = [
            place
            for place in (out, tmp_path / ".out.quantduel-old")
            if (place / "model.safetensors").exists()
        ]
        assert places and files(places[0])["model.safetensors"] == "weights"
        export.export(checkpoint, out, replace=True)
        assert {path.name for path in tmp_path.iterdir()} == {"out", "home"}
    assert steps


def test_what_is_in_the_way_and_a_users_stays(checkpoint: Path, tmp_path: Path) -> None:
    for name in (".out.quantduel-new", ".out.quantduel-old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "thesis.txt").write_text("…")
        with pytest.raises(InputError, match="is in the way"):
            export.export(checkpoint, tmp_path / "out")
        assert (tmp_path / name / "thesis.txt").is_file()
        (tmp_path / name).rename(tmp_path / f"moved{name}")


def test_a_list_that_leads_out_of_its_folder_removes_nothing_there(checkpoint: Path, tmp_path: Path) -> None:
    left, mine = tmp_path / ".out.quantduel-old", tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("…")
    left.mkdir()
    (left / "link").symlink_to(mine)
    record = msgspec.to_builtins(store.record(checkpoint))
    names = ["../mine/thesis.txt", str(mine / "thesis.txt"), "link/thesis.txt"]
    (left / store.RECORD).write_text(json.dumps(record | {"files": dict.fromkeys(names, 3)}))
    with pytest.raises(InputError, match="is in the way"):
        export.export(checkpoint, tmp_path / "out")
    assert (mine / "thesis.txt").read_text() == "…"


def test_links_in_a_circle_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "round").symlink_to(tmp_path / "round")
    with pytest.raises(InputError, match="in a circle"):
        export.require_free(tmp_path / "round", replace=True)
    with pytest.raises(InputError, match="in a circle"), replacing(tmp_path / "round"):
        pass
