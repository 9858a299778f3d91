"""`quantduel pick` with real workers on a tiny random model."""

import json
from pathlib import Path

import pytest

from engine import cli
from engine.config.methods import BitsAndBytes, Gptq
from engine.evaluation import candidates


@pytest.fixture(autouse=True)
def two_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    """NF4, which is cheap, and GPTQ, which is not."""
    monkeypatch.setattr(candidates, "METHODS", (BitsAndBytes(), Gptq()))


def test_the_fastest_that_is_good_enough_is_named_and_dear_methods_wait(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "pick.json"
    assert cli.run(["pick", "random:tiny", "--max-kld", "5", "--tokens", "1024", "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "pick: random-tiny-nf4, the only one that is good enough of 1 that were tried" in shown
    assert "random-tiny-nf4: within the limits, " in shown
    assert shown.endswith("go on with: quantduel random-tiny-bf16 random-tiny-nf4\n")
    assert "random-tiny-bf16 gptq4: not tried: takes a calibration" in shown
    document = json.loads(out.read_text())
    assert document["pick"]["profile"] == "random-tiny-nf4" and len(document["candidates"]) == 1


def test_nothing_that_fits_is_bad_input(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["pick", "random:tiny", "--fits", "1MiB"]) == 2
    assert "nothing to try for random-tiny-bf16: random-tiny-nf4 takes" in capsys.readouterr().err
