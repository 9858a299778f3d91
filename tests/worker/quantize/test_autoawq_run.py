"""The mend of AutoAWQ's search for scales: what it saves on a CPU is a copy."""

import torch

from engine.worker.quantize.autoawq_run import _copied_state


def test_what_the_search_saves_is_what_it_restores() -> None:
    layer = torch.nn.Linear(4, 4)
    before = layer.weight.detach().clone()
    with _copied_state(layer):
        saved = {name: tensor.cpu() for name, tensor in layer.state_dict().items()}  # as AutoAWQ does
        with torch.no_grad():
            layer.weight.mul_(3)
        layer.load_state_dict(saved)
    assert torch.equal(layer.weight, before)
    assert layer.state_dict()["weight"].data_ptr() == layer.weight.data_ptr()
