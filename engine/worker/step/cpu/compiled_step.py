"""One token through a Llama-like model on a CPU: a single call of a compiled function, in all threads.

Owns the description of a model to that function (`decoder`), and its memory. The weights are the
layers' own (`model_table`). The arithmetic has transformers' roundings; sums run in another order, so a
bf16 result may differ in its last bit. Knows no requests.
"""

from dataclasses import asdict
from typing import Any
from weakref import WeakKeyDictionary, ref

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from engine.config import runtime
from engine.worker.step import llama, native
from engine.worker.step.cpu import compile, model_table
from engine.worker.step.kv_cache import GrowingCache

MOST_SEQUENCES = {True: 32, False: 4}
"""With vector products and without. Each row of weights is read once and multiplied so often: with more,
oneDNN's blocks are faster."""

GIVEN = ("x", "cos_sin", "logits")
"""Arrays that a call brings along; all others stay from call to call."""

_steps: WeakKeyDictionary[PreTrainedModel, "CompiledStep | None"] = WeakKeyDictionary()


def of(model: PreTrainedModel) -> "CompiledStep | None":
    """The model's compiled step, made once; None where it does not suit, or cannot be compiled here."""
    if model not in _steps:
        _steps[model] = CompiledStep(model) if is_possible(model) else None
    return _steps[model]


def is_possible(model: PreTrainedModel) -> bool:
    """Whether there can be one, as the model's layers are now."""
    return suits(model) and compile.kernels() is not None


def suits(model: PreTrainedModel) -> bool:
    """Whether the function computes just this, and reads all layers."""
    layers = (module for module in model.modules() if hasattr(module, "in_features"))
    return computes(model) and all(model_table.is_readable(layer) for layer in layers)


def computes(model: PreTrainedModel) -> bool:
    """Whether the function computes just this, in bf16, where torch's OpenMP can be called."""
    return (
        runtime.allows("compiled")
        and native.suits(model)
        and model.device.type == "cpu"
        and model.config.hidden_act == runtime.COMPILED_ACTIVATION
        and type(model.get_input_embeddings()) is nn.Embedding
        and model.dtype == getattr(torch, runtime.COMPILED_DTYPE)
        and compile.openmp() is not None
    )


class CompiledStep:
    """A model that `suits`, as a function of the next token."""

    def __init__(self, model: PreTrainedModel) -> None:
        kernel: Any = compile.kernels()
        layers = llama.layers_of(model)
        self._kernel, self._run = kernel, kernel.run.address
        self.most_sequences = MOST_SEQUENCES[kernel.HAS_VECTORS]
        self._embed, self._rotary = model.get_input_embeddings(), llama.rotary_of(model)
        self._pointed_at: list[Tensor] = []
        self._layers = np.zeros(len(layers), kernel.LAYER)
        for row, layer in zip(self._layers, layers, strict=True):
            self._describe_layer(row, layer)
        self._table = np.zeros(1, kernel.STEP)
        self._step: Any = self._table[0]
        self._describe(model)
        self._workspace: _Workspace | None = None
        self._room: ref[Tensor] | None = None  # the cache's first one, when rooms were last looked at

    def __call__(self, token_ids: Tensor, cache: GrowingCache) -> Tensor:
        """Append `token_ids` [batch, 1] to the cache; logits [batch, 1, vocab] for the next, float32."""
        held, batch, step = cache.get_seq_length(), len(token_ids), self._step
        embedded = self._embed(token_ids)
        x = embedded.float()  # [batch, 1, hidden]
        cos_sin = torch.cat(self._rotary(embedded, torch.tensor([[held]]))).float()  # [2, 1, head size]
        logits = torch.empty((batch, 1, int(step["vocabulary"])))
        layers: Any = cache.layers
        capacity, threads = self._write_to(layers, held + 1), torch.get_num_threads()
        self._work_in(batch, capacity, threads)
        step["held"] = held
        for name, given in zip(GIVEN, (x, cos_sin, logits), strict=True):
            step[name] = given.data_ptr()
        compile.run(self._run, self._table.ctypes.data, threads)
        for layer in layers:
            layer.hold(held + 1)
        return logits

    def _write_to(self, layers: Any, tokens: int) -> int:
        """Have a place for so many tokens in the cache's rooms, and know those; how many each has."""
        room: Tensor = layers[0].key_room
        is_known = self._room is not None and self._room() is room
        if not is_known or room.shape[-2] < tokens:
            for row, layer in zip(self._layers, layers, strict=True):
                layer.make_room(tokens)
                row["keys"], row["values"] = layer.key_room.data_ptr(), layer.value_room.data_ptr()
            room = layers[0].key_room
            self._room = ref(room)
        return int(room.shape[-2])

    def _work_in(self, batch: int, capacity: int, threads: int) -> None:
        """Have what a step of this size writes to on its way."""
        size = (batch, capacity, threads)
        if self._workspace is not None and self._workspace.size == size:
            return
        self._workspace = _Workspace(size, self._kernel, self._step)

    def _describe(self, model: PreTrainedModel) -> None:
        step, norm = self._step, llama.last_norm(model)
        step["layers"], step["layer_count"] = self._layers.ctypes.data, len(self._layers)
        step["norm"], step["epsilon"] = self._address(norm.weight), norm.epsilon
        self._describe_matrix(step["head"], model.get_output_embeddings())
        sizes = llama.sizes_of(model)
        for name, value in asdict(sizes).items():
            step[name] = value
        step["vocabulary"] = step["head"]["rows"]
        step["queries"] = sizes.heads * sizes.head_size
        step["projected"] = (sizes.heads + 2 * sizes.kv_heads) * sizes.head_size

    def _describe_layer(self, row: Any, layer: llama.Layer) -> None:
        row["attention_norm"] = self._address(layer.attention_norm.weight)
        row["feed_norm"] = self._address(layer.feed_norm.weight)
        for name, matrix in layer.linear.items():
            self._describe_matrix(row[name], matrix)

    def _describe_matrix(self, row: Any, layer: nn.Module) -> None:
        self._pointed_at.extend(model_table.describe(layer, row))

    def _address(self, tensor: Tensor) -> int:
        self._pointed_at.append(tensor)
        return tensor.data_ptr()


class _Workspace:
    """Memory for what a step computes on its way, told to the table."""

    def __init__(self, size: tuple[int, int, int], kernel: Any, step: Any) -> None:
        self.size = size
        self._set_counts(kernel.SPARE, step)
        self._memory = {
            name: torch.empty(kernel.shape(name, step)) for name in kernel.ARRAYS if name not in GIVEN
        }
        for name, memory in self._memory.items():
            step[name] = memory.data_ptr()

    def _set_counts(self, matmul_scratch: int, step: Any) -> None:
        """Where things are in a thread's scratch; a matmul takes so many floats a column and sequence."""
        step["batch"], step["capacity"], step["threads"] = self.size
        batch, hidden = int(step["batch"]), int(step["hidden"])
        widest = max(hidden, int(step["inner"]), int(step["queries"]))
        step["x_at"], step["matmul_at"] = batch * hidden, batch * (hidden + widest)
        for_matmuls = batch * (hidden + (1 + matmul_scratch) * widest)
        step["scratch_size"] = max(for_matmuls, 2 * int(step["head_size"]) + int(step["capacity"]))
