"""A layer that does something else than its source's is found, with the source's input to every layer."""

from copy import deepcopy

import pytest
import torch

from engine.config.methods import Fp8, Rtn
from engine.errors import LoadError
from engine.worker.quantize.layers_alike import passed, require_alike
from tests.worker.llama_like import model_of

IDS = list(range(3, 40))
CPU = torch.device("cpu")


def test_one_layer_with_exchanged_columns_is_named() -> None:
    source = model_of("llama")
    made, own = deepcopy(source), passed(source, IDS, CPU)
    require_alike(own, passed(made, IDS, CPU, own), Fp8(), "fp8")
    layer = made.model.layers[1]
    for matrix in (layer.self_attn.o_proj, layer.mlp.down_proj):
        matrix.weight.data = matrix.weight.data.roll(1, dims=0)
    found = passed(made, IDS, CPU, own)
    assert torch.equal(found[0][1], own[0][1]) and torch.equal(found[1][0], own[1][0])
    with pytest.raises(LoadError, match="the result of rtn4 is broken: layer 1 does something else"):
        require_alike(own, found, Rtn(), "rtn4")
    require_alike(own, found, Rtn(bits=2), "rtn2")
