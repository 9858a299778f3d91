"""A worker's stages in sentences: the worker itself sends numbers and names."""

from typing import get_args

from msgspec.structs import replace

from engine.protocol.loading import Preparing, Quantizing, Reading, Staged, Starting
from engine.session.progress import STEPS, stage_text


def test_every_step_has_a_sentence() -> None:
    steps = {step for kind in (Starting, Reading, Preparing, Quantizing) for step in get_args(kind)}
    assert steps == STEPS.keys()


def test_amounts_names_and_memory() -> None:
    assert stage_text(Staged(stage="warm up")) == "warm up"
    download = Staged(stage="download", subject="org/model", done=1 << 20, total=2 << 20, unit="bytes")
    assert stage_text(download) == "download 50 %, 1.0 MiB of 2.0 MiB, org/model"
    assert stage_text(replace(download, host="gpu2")).endswith("org/model, on gpu2")
    text = Staged(stage="quantize", step="calibration text", subject="wikitext2")
    assert stage_text(text) == "quantize calibration text: wikitext2"
    layers = Staged(
        stage="quantize", step="quantize layers", done=3, total=30, unit="layers", peak_bytes=600 << 20
    )
    assert stage_text(layers) == "quantize 10 %, 3 of 30 layers, peak 600.0 MiB"


def test_what_another_process_does_is_said_to_be_elsewhere() -> None:
    waiting = Staged(stage="quantize", done=1, total=2, unit="layers", elsewhere=True)
    assert stage_text(waiting).endswith("1 of 2 layers, another QuantDuel is making this checkpoint")
