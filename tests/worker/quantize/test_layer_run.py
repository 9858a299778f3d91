"""A source that does not fit on the device is measured on the CPU, where it is wholly back."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from engine.worker.quantize import layer_run

META = torch.device("meta")  # in a GPU's place


class Short(LlamaForCausalLM):
    """Memory runs out on the way to the device."""

    def to(self, device: torch.device | str) -> "Short":  # type: ignore[override]
        if torch.device(device) == META:
            self.lm_head.to(META)
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")
        self.moved_back = True
        self.lm_head = torch.nn.Linear(64, 256, bias=False)
        return self


def source(kind: type[LlamaForCausalLM] = LlamaForCausalLM) -> LlamaForCausalLM:
    return kind(LlamaConfig(vocab_size=256, hidden_size=64, intermediate_size=96, num_hidden_layers=1))


def devices(model: PreTrainedModel) -> set[str]:
    return {parameter.device.type for parameter in model.parameters()}


def test_out_of_memory_half_way_ends_on_the_cpu_with_all_of_the_model() -> None:
    asked: list[tuple[str, set[str]]] = []

    def perplexity(model: PreTrainedModel, device: torch.device, which: str) -> float:
        asked.append((device.type, devices(model)))
        return 7.0

    assert layer_run._where_it_fits(source(Short), META, perplexity) == 7.0
    assert asked == [("cpu", {"cpu"})]


def test_out_of_memory_while_it_is_measured_ends_on_the_cpu_too(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, emptied = list[str](), list[str]()

    def perplexity(model: PreTrainedModel, device: torch.device, which: str) -> float:
        asked.append(device.type)
        if device == META:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return 7.0

    model = source()
    monkeypatch.setattr(model, "to", lambda device: model)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append(asked[-1]))
    assert layer_run._where_it_fits(model, META, perplexity) == 7.0
    assert asked == ["meta", "cpu"]
    assert emptied == ["meta"]


def test_other_errors_are_not_hidden() -> None:
    def perplexity(model: PreTrainedModel, device: torch.device, which: str) -> float:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        layer_run._where_it_fits(source(), torch.device("cpu"), perplexity)
