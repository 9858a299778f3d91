"""One line on what bounds a model, from its kernel, its device and the share of bandwidth it reaches."""

import pytest

from engine.protocol.model import ModelInfo, Weights
from engine.stats.bottleneck import explain, reached

GB = 10**9


def info(kernel: str, device: str) -> ModelInfo:
    return ModelInfo(
        label="",
        kernel=kernel,
        architecture="",
        parameters=0,
        context_length=0,
        dtype="bfloat16",
        device=device,
        device_name="",
        threads=2,
        weights=Weights(linear_bytes=0, embedding_bytes=0, other_bytes=0),
        tokenizer_sha256="",
        has_chat_template=False,
        versions={},
    )


@pytest.mark.parametrize(
    ("kernel", "device", "step_bytes", "copy_bytes_s", "said"),
    [
        ("TorchLinear", "cpu", GB, 20 * GB, "unpacks weights"),
        ("TritonV2Linear", "cuda:0", 5 * GB, 2000 * GB, "unpacks weights"),
        ("Linear8bitLt", "cuda:0", 8 * GB, 2000 * GB, "waits for the GPU"),
        ("Linear8bitLt", "cpu", GB, 20 * GB, "unpacks weights"),
        ("Linear4bit", "cuda:0", 50 * GB, 2000 * GB, "no fast kernel"),
        ("Linear4bit", "cpu", GB, 20 * GB, "more free cores help"),
        ("OneDnnLinear", "cpu", GB, 20 * GB, "more free cores help"),
        ("OneDnnLinear", "cpu", GB // 10, 20 * GB, "only 5.0 ms, so matmuls too small"),
        ("Linear", "cuda:0", GB, 2000 * GB, "only 0.5 ms, so Python and kernel"),
        ("Linear", "cuda:0", 140 * GB, 2000 * GB, "no fast kernel"),
    ],
)
def test_what_bounds_a_slow_model(
    kernel: str, device: str, step_bytes: int, copy_bytes_s: float, said: str
) -> None:
    line = explain(info(kernel, device), step_bytes, copy_bytes_s, 0.25)
    assert line and line.startswith("25% of the bandwidth: ") and said in line


def test_a_model_at_the_memorys_speed_needs_no_reason() -> None:
    assert explain(info("TorchLinear", "cpu"), GB, 20 * GB, 0.4) is None


def test_what_an_answer_reached() -> None:
    found = reached(info("Linear4bit", "cpu"), GB // 2, 10.0, 20.0 * GB)
    assert found and (found.share, found.bytes_s) == (0.25, 5.0 * GB)
    assert found.text == "5.0 GB/s, 25% of what a copy reaches"
    assert found.reason and found.reason.startswith("25% of the bandwidth")
    assert reached(info("Linear4bit", "cpu"), GB, 10.0, 20.0 * GB).reason is None


@pytest.mark.parametrize("missing", [(None, 10.0, 1.0), (5, None, 1.0), (5, 10.0, None)])
def test_no_share_without_all_of_its_parts(missing: tuple[int | None, float | None, float | None]) -> None:
    assert reached(info("Linear4bit", "cpu"), *missing) is None
