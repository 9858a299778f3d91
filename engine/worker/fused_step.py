"""One token through a Llama-like bf16 model on a CPU: a single call of a compiled function, in all threads.

Owns the description of a model to that function (`fused_kernel`), and its memory. The weights are the model's
own, as they were loaded. The arithmetic has transformers' roundings; sums run in another order, so a bf16
result may differ in its last bit. Knows no requests.
"""

import ctypes
import os
import sys
import traceback
from functools import cache as remembered
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from engine import paths
from engine.worker import lean
from engine.worker.growing_cache import GrowingCache

MOST_SEQUENCES = 4
"""Rows of weights are read once and multiplied so often: with more, oneDNN's blocks are faster."""

_steps: WeakKeyDictionary[PreTrainedModel, "FusedStep | None"] = WeakKeyDictionary()


def of(model: PreTrainedModel) -> "FusedStep | None":
    """The model's fused step, made once; None where it does not suit, or cannot be compiled here."""
    if model not in _steps:
        _steps[model] = _made(model) if suits(model) else None
    return _steps[model]


def _made(model: PreTrainedModel) -> "FusedStep | None":
    os.environ.setdefault("NUMBA_CACHE_DIR", str(paths.cache() / "numba"))  # before numba is imported
    try:
        return FusedStep(model)
    except Exception:  # another processor, a full disk: the answer comes all the same, only slower
        traceback.print_exc()  # into the log
        return None


def suits(model: PreTrainedModel) -> bool:
    """Whether the function computes just this: plain bf16 layers, where torch's OpenMP can be called."""
    return (
        lean.suits(model)
        and model.device.type == "cpu"
        and model.config.hidden_act == "silu"
        and all(_is_readable(layer) for layer in model.modules() if hasattr(layer, "in_features"))
        and type(model.get_input_embeddings()) is nn.Embedding
        and model.dtype == torch.bfloat16
        and openmp() is not None
    )


def _is_readable(layer: nn.Module) -> bool:
    """A plain bf16 layer, whose rows are pairs at addresses of whole words."""
    if type(layer) is not nn.Linear or layer.weight.dtype != torch.bfloat16:
        return False
    weight = layer.weight
    return weight.is_contiguous() and weight.shape[1] % 2 == 0 and weight.data_ptr() % 4 == 0


@remembered
def openmp() -> ctypes.CDLL | None:
    """The OpenMP library whose threads torch uses; None where it is not GNU's, or there is no compiler."""
    if sys.platform != "linux" or find_spec("numba") is None:
        return None
    for path in [*Path(torch.__file__).parent.glob("lib/libgomp*"), Path("libgomp.so.1")]:
        try:
            library = ctypes.CDLL(str(path))
        except OSError:
            continue
        library.GOMP_parallel.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
        library.GOMP_parallel.restype = None
        return library
    return None


class FusedStep:
    """A model that `suits`, as a function of the next token."""

    def __init__(self, model: PreTrainedModel) -> None:
        library = openmp()
        if library is None:
            raise ValueError("no compiler, or no OpenMP library to call")
        from engine.worker import fused_kernel as kernel

        kernel.link(library)
        body: Any = model.model
        self._start_team, self._run = library.GOMP_parallel, kernel.run.address
        self._embed, self._rotary = body.embed_tokens, body.rotary_emb
        self._pointed_at: list[Tensor] = []
        self._layers = np.zeros(len(body.layers), kernel.LAYER)
        for row, layer in zip(self._layers, body.layers, strict=True):
            self._describe_layer(row, layer)
        self._table = np.zeros(1, kernel.STEP)
        self._step: Any = self._table[0]
        self._describe(body, model.get_output_embeddings())
        self._workspace: _Workspace | None = None

    def __call__(self, token_ids: Tensor, cache: GrowingCache) -> Tensor:
        """Append `token_ids` [batch, 1] to the cache; logits [batch, 1, vocab] for the next, float32."""
        held, batch, step = cache.get_seq_length(), len(token_ids), self._step
        embedded = self._embed(token_ids)
        x = embedded.float()  # [batch, 1, hidden]
        turn = torch.cat(self._rotary(embedded, torch.tensor([[held]]))).float()  # [2, 1, head size]
        logits = torch.empty((batch, 1, int(step["head"]["rows"])))
        layers: Any = cache.layers
        for row, layer in zip(self._layers, layers, strict=True):
            layer.make_room(held + 1)
            row["keys"], row["values"] = layer.key_room.data_ptr(), layer.value_room.data_ptr()
        room, threads = layers[0].key_room.shape[-2], torch.get_num_threads()
        self._work_in(batch, room, threads)
        step["batch"], step["held"], step["room"] = batch, held, room
        step["x"], step["turn"], step["logits"] = x.data_ptr(), turn.data_ptr(), logits.data_ptr()
        self._start_team(self._run, self._table.ctypes.data, threads, 0)
        for layer in layers:
            layer.hold(held + 1)
        return logits

    def _work_in(self, batch: int, room: int, threads: int) -> None:
        """Have what a step of this size writes to on its way."""
        size = (batch, room, threads)
        if self._workspace is not None and self._workspace.size == size:
            return
        self._workspace = _Workspace(size, self._step)

    def _describe(self, body: Any, head: nn.Module) -> None:
        step, attention = self._step, body.layers[0].self_attn
        step["layers"], step["layer_count"] = self._layers.ctypes.data, len(self._layers)
        step["norm"] = self._address(body.norm.weight)
        self._describe_matrix(step["head"], head)
        step["hidden"], step["head_size"] = body.config.hidden_size, attention.head_dim
        step["inner"] = body.config.intermediate_size
        step["heads"], step["kv_heads"] = body.config.num_attention_heads, body.config.num_key_value_heads
        step["epsilon"], step["scale"] = body.norm.variance_epsilon, attention.scaling

    def _describe_layer(self, row: Any, layer: Any) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        row["attention_norm"] = self._address(layer.input_layernorm.weight)
        row["feed_norm"] = self._address(layer.post_attention_layernorm.weight)
        matrices = {
            "query": attention.q_proj,
            "key": attention.k_proj,
            "value": attention.v_proj,
            "out": attention.o_proj,
            "gate": mlp.gate_proj,
            "up": mlp.up_proj,
            "down": mlp.down_proj,
        }
        for name, matrix in matrices.items():
            self._describe_matrix(row[name], matrix)

    def _describe_matrix(self, row: Any, layer: Any) -> None:
        row["weights"] = self._address(layer.weight)
        row["bias"] = 0 if layer.bias is None else self._address(layer.bias)
        row["rows"], row["columns"] = layer.weight.shape

    def _address(self, tensor: Tensor) -> int:
        self._pointed_at.append(tensor)
        return tensor.data_ptr()


class _Workspace:
    """Memory for what a step computes on its way, told to the table."""

    def __init__(self, size: tuple[int, int, int], step: Any) -> None:
        self.size = batch, room, threads = size
        names = ("hidden", "inner", "heads", "kv_heads", "head_size")
        hidden, inner, heads, kv_heads, head_size = (int(step[name]) for name in names)
        own = max(batch * max(hidden, inner, heads * head_size), 2 * head_size + room)
        floats = {
            "heads_out": batch * (heads + 2 * kv_heads) * head_size,
            "mixed": batch * heads * head_size,
            "gate": batch * inner,
            "up": batch * inner,
            "product": batch * hidden,
            "own": threads * own,
        }
        self._memory = {name: torch.empty(count) for name, count in floats.items()}
        for name, memory in self._memory.items():
            step[name] = memory.data_ptr()
        step["own_size"] = own
