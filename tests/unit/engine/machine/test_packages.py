"""A package that is missing is reported before anything is started, fetched or loaded, whatever asks."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from engine import cli
from engine.config.methods import Rtn
from engine.config.profile import Profile
from engine.config.sources import SHAPES
from engine.machine import hardware, packages
from engine.plan import advice
from engine.plan.local import planned
from engine.protocol.failure import Failed
from engine.session.client import Session
from tui.jobs.quantize import QuantizeJob
from tui.screens.profiles import judged

RTN = ["--set", "quantization.method=rtn", "--set", "quantization.group_size=32"]


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes a package look as if it were not installed."""
    real = packages.find_spec

    def hide(package: str) -> None:
        monkeypatch.setattr(packages, "find_spec", lambda name: None if name == package else real(name))

    return hide


def test_the_command_that_installs_it_names_the_extra(without: Callable[[str], None]) -> None:
    without("gptqmodel")
    lacking = packages.missing("gptqmodel")
    assert lacking and lacking.message == "needs GPTQModel, which is not installed"
    assert "pip install" in lacking.hint and "[gptq]" in lacking.hint
    without("torch")
    lacking = packages.missing("transformers")
    assert lacking and "torch" in lacking.message and "[local]" in lacking.hint


async def test_a_session_ends_without_starting_a_process(
    make_profile: Callable[..., Profile], without: Callable[[str], None]
) -> None:
    without("gptqmodel")
    wanted = make_profile(
        text="{model: {source: 'random:tiny'}, quantization: {method: rtn, group_size: 32}}"
    )
    assert isinstance(wanted.quantization, Rtn)
    session = Session(wanted)
    for events in (session.load(), session.quantize()):
        (only,) = [event async for event in events]
        assert isinstance(only, Failed) and "GPTQModel" in only.message and session.pid is None
    await session.close()


def test_the_command_line_says_it_in_one_line(
    without: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    without("gptqmodel")
    for command in (["quantize", "random:tiny"], ["duel", "random:tiny", "random:tiny", "-p", "Hi"]):
        assert cli.run([*command, *RTN]) == 3
        said = capsys.readouterr().err.strip().splitlines()
        assert all("GPTQModel" in line or "pip install" in line for line in said), said
    assert cli.run(["plan", "smollm2-rtn4"]) == 0
    assert "needs GPTQModel" in capsys.readouterr().out


def test_screens_know_it_beforehand(without: Callable[[str], None]) -> None:
    without("gptqmodel")
    fit = judged("smollm2-rtn4", hardware.detect())
    assert fit.verdict is None and "needs GPTQModel" in fit.detail
    assert "needs GPTQModel" in QuantizeJob("smollm2-rtn4").look("smollm2-rtn4")[0]


def test_a_folder_that_is_packed_is_refused_before_it_is_read(
    make_profile: Callable[..., Profile], without: Callable[[str], None], tmp_path: Path
) -> None:
    config = json.loads((SHAPES / "smollm2-135m.json").read_text())
    packing = {"quant_method": "gptq", "bits": 4, "group_size": 64}
    header = json.dumps(
        {"model.embed_tokens.weight": {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]}}
    )
    (tmp_path / "model.safetensors").write_bytes(
        len(header).to_bytes(8, "little") + header.encode() + bytes(2)
    )
    (tmp_path / "config.json").write_text(json.dumps({**config, "quantization_config": packing}))
    wanted = make_profile(text=f"{{model: {{source: '{tmp_path}'}}, quantization: {{method: stored}}}}")
    without("gptqmodel")
    assert "GPTQModel" in planned(wanted).missing_package
    failed = advice.refusal(wanted)
    assert failed and "GPTQModel" in failed.message
