"""One token through a Llama-like model on a CPU: a single call of a compiled function, in all threads.

Owns the tables that describe a model to that function (`decoder`), and its memory. The weights are the
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
from engine.worker.step.cpu.int4 import FEW_ROWS
from engine.worker.step.kv_cache import GrowingCache

MOST_SEQUENCES = {True: FEW_ROWS, False: 4}
"""With AVX512_BF16 and without."""

GIVEN = ("x", "cos_sin", "logits")
"""Arrays that belong to a call; all others are kept from call to call."""

_steps: WeakKeyDictionary[PreTrainedModel, "CompiledStep | None"] = WeakKeyDictionary()


def step_for(model: PreTrainedModel) -> "CompiledStep | None":
    """The model's compiled step, built once; None where it is not supported, or cannot be compiled here."""
    if model not in _steps:
        _steps[model] = CompiledStep(model) if supports(model) and compile.kernels() is not None else None
    return _steps[model]


def supports(model: PreTrainedModel) -> bool:
    """Whether the function computes just what this model does, and reads its layers as they are now."""
    if not supports_arithmetic(model):
        return False
    layers = (module for module in model.modules() if hasattr(module, "in_features"))
    parts = (rows for layer in llama.layers_of(model) for rows in layer.linear.values())
    return all(map(model_table.supports, layers)) and all(
        model_table.has_rows_from(rows.module, rows.first) for rows in parts
    )


def supports_arithmetic(model: PreTrainedModel) -> bool:
    """The same but for how weights are stored: in bf16, where torch's OpenMP can be called."""
    return (
        runtime.allows("compiled")
        and native.supports(model)
        and model.device.type == "cpu"
        and model.config.hidden_act == runtime.COMPILED_ACTIVATION
        and type(model.get_input_embeddings()) is nn.Embedding
        and model.dtype == getattr(torch, runtime.COMPILED_DTYPE)
        and compile.openmp() is not None
    )


class CompiledStep:
    """A supported model, as a function of the next token."""

    def __init__(self, model: PreTrainedModel) -> None:
        kernel: Any = compile.kernels()
        layers = llama.layers_of(model)
        self._kernel, self._run = kernel, kernel.run.address
        self.most_sequences = MOST_SEQUENCES[kernel.HAS_VECTORS]
        self._embed, self._rotary = model.get_input_embeddings(), llama.rotary_of(model)
        self._embedding_scale = llama.sizes_of(model).embedding_scale
        self._kept_alive: list[Tensor] = []
        self._layers = np.zeros(len(layers), kernel.LAYER)
        for row, layer in zip(self._layers, layers, strict=True):
            self._describe_layer(row, layer)
        self._table = np.zeros(1, kernel.STEP)
        self._step: Any = self._table[0]
        self._describe(model)
        self._workspace: _Workspace | None = None
        self._key_buffer: ref[Tensor] | None = None  # the cache's first one, when addresses were last written

    def __call__(self, token_ids: Tensor, cache: GrowingCache) -> Tensor:
        """Append `token_ids` [batch, 1] to the cache; logits [batch, 1, vocab] for the next, float32."""
        held, batch, step = cache.get_seq_length(), len(token_ids), self._step
        embedded = self._embed(token_ids)
        x = native.scaled(embedded, self._embedding_scale).float()  # [batch, 1, hidden]
        cos_sin = torch.cat(self._rotary(embedded, torch.tensor([[held]]))).float()  # [2, 1, rotary]
        logits = torch.empty((batch, 1, int(step["vocabulary"])))
        layers: Any = cache.layers
        capacity, threads = self._reserve(layers, held + 1), torch.get_num_threads()
        self._set_workspace(batch, capacity, threads)
        step["held"] = held
        for name, given in zip(GIVEN, (x, cos_sin, logits), strict=True):
            step[name] = given.data_ptr()
        compile.run(self._run, self._table.ctypes.data, threads)
        for layer in layers:
            layer.set_length(held + 1)
        return logits

    def _reserve(self, layers: Any, tokens: int) -> int:
        """Reserve `tokens` positions in the cache and put its addresses in the table; the capacity."""
        buffer: Tensor = layers[0].key_buffer
        is_known = self._key_buffer is not None and self._key_buffer() is buffer
        if not is_known or buffer.shape[-2] < tokens:
            for row, layer in zip(self._layers, layers, strict=True):
                layer.reserve(tokens)
                row["keys"], row["values"] = layer.key_buffer.data_ptr(), layer.value_buffer.data_ptr()
            buffer = layers[0].key_buffer
            self._key_buffer = ref(buffer)
        return int(buffer.shape[-2])

    def _set_workspace(self, batch: int, capacity: int, threads: int) -> None:
        """Allocate what a step of this size writes its intermediate values to."""
        size = (batch, capacity, threads)
        if self._workspace is not None and self._workspace.size == size:
            return
        self._workspace = _Workspace(size, self._kernel, self._step)

    def _describe(self, model: PreTrainedModel) -> None:
        step, norm = self._step, llama.last_norm(model)
        step["layers"], step["layer_count"] = self._layers.ctypes.data, len(self._layers)
        step["norm"], step["epsilon"] = self._address(norm.weight), norm.epsilon
        head = model.get_output_embeddings()
        self._kept_alive.extend(model_table.describe(head, step["head"], 0, head.out_features))
        sizes = llama.sizes_of(model)
        for name, value in asdict(sizes).items():
            if name in step.dtype.names:
                step[name] = value
        step["vocabulary"] = step["head"]["rows"]
        step["queries"] = sizes.heads * sizes.head_size
        step["projected"] = (sizes.heads + 2 * sizes.kv_heads) * sizes.head_size

    def _describe_layer(self, row: Any, layer: llama.Layer) -> None:
        row["attention_norm"] = self._address(layer.attention_norm.weight)
        row["feed_norm"] = self._address(layer.feed_norm.weight)
        row["rotary"] = layer.sizes.rotary
        if layer.head_norms is not None:
            row["query_norm"], row["key_norm"] = (self._address(norm.weight) for norm in layer.head_norms)
        for name, rows in layer.linear.items():
            self._kept_alive.extend(model_table.describe(rows.module, row[name], rows.first, rows.count))

    def _address(self, tensor: Tensor) -> int:
        self._kept_alive.append(tensor)
        return tensor.data_ptr()


class _Workspace:
    """Memory for a step's intermediate values, with its addresses in the table."""

    def __init__(self, size: tuple[int, int, int], kernel: Any, step: Any) -> None:
        self.size = size
        self._set_counts(kernel.MATMUL_SCRATCH, step)
        self._memory = {
            name: torch.empty(kernel.shape(name, step)) for name in kernel.ARRAYS if name not in GIVEN
        }
        for name, memory in self._memory.items():
            step[name] = memory.data_ptr()

    def _set_counts(self, matmul_scratch: int, step: Any) -> None:
        """Offsets in a thread's scratch; a matmul takes `matmul_scratch` floats per column and sequence."""
        step["batch"], step["capacity"], step["threads"] = self.size
        batch, hidden = int(step["batch"]), int(step["hidden"])
        widest = max(hidden, int(step["inner"]), int(step["queries"]))
        step["x_offset"], step["matmul_offset"] = batch * hidden, batch * (hidden + widest)
        for_matmuls = batch * (hidden + (1 + matmul_scratch) * widest)
        step["scratch_size"] = max(for_matmuls, 2 * int(step["head_size"]) + int(step["capacity"]))
