"""A model against itself: the same bits in two workers give the same logits, to the last one."""

import json

import pytest

from engine import cli
from tests.gpu.on_device import WISH

pytestmark = pytest.mark.gpu
EVAL = ["eval", "random:tiny", "random:tiny", "--tokens", "300", "--window", "128", "--no-speed"]


def test_a_model_is_nothing_away_from_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([*EVAL, "--format", "json", "--set", f"model.device={WISH}"]) == 0
    document = json.loads(capsys.readouterr().out)
    (candidate,) = document["candidates"]
    assert candidate["perplexity"] == document["reference"]["perplexity"]
    assert candidate["kld"]["mean"] == candidate["kld"]["max"] == candidate["rms_dp"] == 0
    assert candidate["same_top"] == 100
