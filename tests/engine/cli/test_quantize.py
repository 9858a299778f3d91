"""`quantduel quantize` and `quantduel store`: real workers on the tiny model, a store for every test."""

import json
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import msgspec
import pytest

from engine import cli
from engine.checkpoints import store
from engine.config.methods import Rtn
from engine.config.profile import Profile, of_model
from engine.config.record import Check, ModuleError, Recipe, Record
from engine.protocol import Failed, Staged
from engine.session.client import Session

NF4 = ["--set", "quantization.method=bitsandbytes", "--set", "model.device=cpu"]


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


def test_a_checkpoint_is_made_shown_copied_and_used_in_a_duel(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "mine"
    assert cli.run(["quantize", "random:tiny", *NF4, "--out", str(out), "--json"]) == 0
    shown, err = capsys.readouterr()
    assert err == ""
    made = json.loads(shown)
    assert made["path"] == str(out) and made["was_there"] is False and made["size_bytes"] > 100_000
    assert made["record"]["check"]["perplexity"] > 0 and made["record"]["recipe"]["method"]["bits"] == 4
    copied = json.loads((out / "quantduel.json").read_text())
    assert copied.pop("files").keys() >= {"model.safetensors", "config.json"} and copied == made["record"]

    assert cli.run(["quantize", "random:tiny", *NF4]) == 0
    shown = capsys.readouterr().out
    assert "It was made before" in shown and made["key"] in shown and "nf4, of random:tiny@" in shown

    assert cli.run(["duel", str(out), "random:tiny", "-p", "Hi", "--json", "--max-new-tokens", "2"]) == 0
    side = json.loads(capsys.readouterr().out)["sides"][0]
    assert (side["label"], side["error"]) == ("nf4", None)
    assert side["model"]["kernel"] in {"PackedNibbles", "Linear4bit"}  # by processor


async def test_cancelling_leaves_nothing_behind(own_home: Path) -> None:
    pytest.importorskip("gptqmodel")
    session = Session(gptq())
    events = []
    async for event in session.quantize():
        events.append(event)
        if isinstance(event, Staged) and event.unit == "layers":
            assert list(store.folder().glob("*.building"))
            session.cancel()
    assert isinstance(events[-1], Failed) and events[-1].kind == "cancelled"
    assert [path for path in store.folder().iterdir() if path.is_dir()] == []
    await session.close()


def gptq() -> Profile:
    options = {"method": "gptq", "group_size": 64, "calibration": {"samples": 64, "length": 256}}
    settings = {"quantization": options, "model": {"source": "random:tiny", "device": "cpu"}}
    return msgspec.convert(msgspec.to_builtins(of_model("random:tiny")) | settings, Profile)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["quantize", "random-tiny-bf16"], "random-tiny-bf16: method full makes no checkpoint"),
        (["quantize", "random:tiny"], "method stored makes no checkpoint"),
        (["quantize", "random:tiny", *NF4, "--out", "."], "exists already"),
        (["quantize", "random:tiny", *NF4, "--out", ".", "--force"], "is no checkpoint that QuantDuel wrote"),
        (["store", "show", "abc"], "no checkpoint in the store named 'abc'"),
        (["store", "path", ""], "no checkpoint in the store named ''"),
        (["store", "prune", "abc", "--all"], "expected KEYS or --all"),
    ],
)
def test_bad_input_is_told_before_anything_starts(
    args: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(args) == 2
    assert said in capsys.readouterr().err


def test_what_cannot_be_made_ends_with_exit_code_3(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("gptqmodel")
    method = ["--set", "quantization.method=rtn", "--set", "quantization.group_size=128"]
    assert cli.run(["quantize", "smollm2-bf16", *method]) == 3
    assert capsys.readouterr().err.splitlines() == [
        "quantduel: smollm2-bf16: group_size 128 does not divide demo's layers, which are 576 wide",
        "  these do: 64, 32, 16, -1 (-1 is a whole row)",
    ]


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
