"""Order, contention and threads."""

import pytest

from engine.protocol.model import Memory, ModelInfo, Weights
from engine.session import schedule


def model(place: str) -> ModelInfo:
    device, _, machine = place.partition(" on ")
    return ModelInfo(
        label="bf16",
        kernel="Linear",
        architecture="LlamaForCausalLM",
        parameters=1,
        context_length=1,
        dtype="bfloat16",
        device=device,
        host=machine,
        machine=machine,
        device_name="",
        threads=8,
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
        (["cuda:0", "cuda:0 on gpu2"], False),
        (["cuda:0 on gpu2", "split"], False),
        (["cuda:0 on gpu2", "split on gpu2"], True),
    ],
)
def test_who_shares_a_device(devices: list[str], shared: bool) -> None:
    assert schedule.share_a_device([model(device) for device in devices]) is shared


def test_threads_are_divided_only_among_concurrent_cpu_sides() -> None:
    both = [model("cpu"), model("cpu")]
    assert schedule.threads("sequential", both, both[0]) is None
    assert schedule.threads("concurrent", [model("cpu"), model("cuda:0")], both[0]) is None
    assert schedule.threads("concurrent", both, both[0]) == max(1, schedule.physical_cores() // 2)


def test_threads_are_those_of_the_machine_that_answers() -> None:
    far = [model("cpu on gpu2"), model("cpu on gpu2"), model("cpu")]
    assert [schedule.threads("concurrent", far, one) for one in far] == [4, 4, None]


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
