"""`quantduel quantize` with real workers on the tiny model, a store for every test."""

import json
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import msgspec
import pytest

from engine import cli
from engine.checkpoints import store
from engine.config.profile import Profile
from engine.config.profiles import of_model
from engine.protocol.failure import Failed
from engine.protocol.loading import Staged
from engine.session.client import Session

PACKED = "smollm2-q4-llama-cpp"  # its worker needs no torch: no long start
NF4 = ["--set", "quantization.method=bitsandbytes", "--set", "model.device=cpu"]
needs_gptqmodel = pytest.mark.skipif(find_spec("gptqmodel") is None, reason="needs GPTQModel")  # in a worker


@pytest.fixture(autouse=True)
def own_home(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch, lend_compiled: Callable[[Path], None]
) -> Iterator[Path]:
    """A home, and so a store, of every test's own."""
    lend_compiled(tmp_path / "home")
    (demo := home / "cache" / "demo").mkdir(parents=True, exist_ok=True)
    (tmp_path / "home/cache/demo").symlink_to(demo)
    monkeypatch.setenv("QUANTDUEL_HOME", str(tmp_path / "home"))
    yield tmp_path / "home"


def test_a_checkpoint_is_made_shown_copied_and_used_in_a_duel(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "mine"
    assert cli.run(["quantize", "random:tiny", *NF4, "--out", str(out), "--json"]) == 0
    shown, err = capsys.readouterr()
    assert err == ""
    made = json.loads(shown)
    assert made["path"] == str(out) and made["cached"] is False and made["size_bytes"] > 100_000
    assert made["record"]["check"]["perplexity"] > 0 and made["record"]["recipe"]["method"]["bits"] == 4
    copied = json.loads((out / "quantduel.json").read_text())
    assert copied.pop("files").keys() >= {"model.safetensors", "config.json"} and copied == made["record"]

    assert cli.run(["quantize", "random:tiny", *NF4]) == 0
    shown = capsys.readouterr().out
    assert "It was made before" in shown and made["key"] in shown and "nf4, of random:tiny@" in shown

    assert cli.run(["duel", str(out), PACKED, "-p", "Hi", "--json", "--max-new-tokens", "2"]) == 0
    side = json.loads(capsys.readouterr().out)["sides"][0]
    assert (side["label"], side["error"]) == ("nf4", None)
    assert side["model"]["kernel"] in {"Int4Linear", "Linear4bit"}  # by processor


@needs_gptqmodel
async def test_cancelling_leaves_nothing_behind(own_home: Path) -> None:
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


@needs_gptqmodel
def test_what_cannot_be_made_ends_with_exit_code_3(capsys: pytest.CaptureFixture[str]) -> None:
    method = ["--set", "quantization.method=rtn", "--set", "quantization.group_size=128"]
    assert cli.run(["quantize", "smollm2-bf16", *method]) == 3
    assert capsys.readouterr().err.splitlines() == [
        "quantduel: smollm2-bf16: group_size 128 does not divide the layers of demo, which have 576 inputs",
        "  these do: 64, 32, 16, -1 (-1 is one group per row)",
    ]
