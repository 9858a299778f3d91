"""Order, contention and threads."""

import pytest

from engine.protocol import Memory, ModelInfo, Weights
from engine.session import schedule


def model(device: str) -> ModelInfo:
    return ModelInfo(
        label="bf16",
        kernel="Linear",
        architecture="LlamaForCausalLM",
        parameters=1,
        context_length=1,
        dtype="bfloat16",
        device=device,
        device_name="",
        threads=1,
        weights=Weights(linear_bytes=0, embedding_bytes=0, other_bytes=0),
        tokenizer_sha256="",
        has_chat_template=False,
        versions={},
    )


def test_sides_take_turns_in_going_first() -> None:
    assert [schedule.order(turn) for turn in range(3)] == [[0, 1], [1, 0], [0, 1]]


@pytest.mark.parametrize(
    ("devices", "shared"),
    [
        (["cpu", "cpu"], True),
        (["cuda:0", "cuda:1"], False),
        (["cuda:0", "split"], True),
        (["cpu", "cuda:0"], False),
    ],
)
def test_who_shares_a_device(devices: list[str], shared: bool) -> None:
    assert schedule.share_a_device([model(device) for device in devices]) is shared


def test_threads_are_divided_only_among_concurrent_cpu_sides() -> None:
    both = [model("cpu"), model("cpu")]
    assert schedule.threads("sequential", both) is None
    assert schedule.threads("concurrent", [model("cpu"), model("cuda:0")]) is None
    assert schedule.threads("concurrent", both) == max(1, schedule.physical_cores() // 2)


def test_one_more_fits_where_the_largest_would() -> None:
    def memory(process_bytes: int, used_bytes: int) -> Memory:
        return Memory(
            weights_bytes=0,
            kv_cache_bytes=0,
            peak_bytes=0,
            process_bytes=process_bytes,
            process_source="resident set",
            device_used_bytes=used_bytes,
            device_total_bytes=100,
        )

    assert schedule.fits_memory([])
    assert schedule.fits_memory([memory(40, 60)])
    assert not schedule.fits_memory([memory(40, 61)])
    assert not schedule.fits_memory([memory(60, 60), memory(10, 70)])
    assert schedule.fits_memory([memory(30, 90), memory(10, 70)])
