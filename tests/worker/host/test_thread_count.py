"""The number of threads that a model decodes with, chosen by timing."""

from collections.abc import Iterator

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from engine.worker.host import thread_count


@pytest.fixture(autouse=True)
def threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("cores", "tried"), [(1, [1]), (2, [2]), (8, [8, 4]), (64, [64, 32, 16, 8])])
def test_all_cores_and_fractions_of_them_are_tried(cores: int, tried: list[int]) -> None:
    assert thread_count.candidates(cores) == tried


def test_what_is_chosen_was_tried_and_is_in_force() -> None:
    shape = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 1, "vocab_size": 256}
    model = LlamaForCausalLM(LlamaConfig(**shape, num_attention_heads=2))
    model.lm_head.to(torch.bfloat16)  # each layer gets a row of its own dtype
    chosen = thread_count.choose(model, 8)
    assert chosen in {4, 8} and torch.get_num_threads() == chosen
    assert thread_count.choose(model, 2) == torch.get_num_threads() == 2


@pytest.mark.parametrize(
    ("best_s", "chosen"), [({8: 1.0, 4: 0.95, 2: 2.0, 1: 3.0}, 8), ({8: 1.0, 4: 0.8, 2: 0.7, 1: 3.0}, 2)]
)
def test_fewer_threads_must_be_clearly_faster(best_s: dict[int, float], chosen: int) -> None:
    assert thread_count.quickest(best_s) == chosen
