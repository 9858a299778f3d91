"""A checkpoint on this machine: reads its config, tokenizer and weights through transformers.

Owns every call of `from_pretrained`. Knows nothing of where a checkpoint came from, nor of quantization
methods. Imports torch and transformers late, so that fetching needs neither.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from engine.errors import LoadError
from engine.shape import architecture, gguf_header, gguf_metadata
from engine.shape.boundary import explained, json_object
from engine.shape.weight_files import weight_files
from engine.worker.checkpoints.settings_files import settings

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

    from engine.worker.checkpoints.placement import Placement

FIRST_TENSOR_DTYPES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}  # safetensors' names: torch's
GGUF_TOKENIZER_HINT = "`quantization: {method: llama_cpp}` runs the file with llama.cpp's own tokenizer"
TOKENIZER_HINT = "a checkpoint needs tokenizer.json next to its weights: copy it from the original model"


@dataclass(frozen=True)
class Checkpoint:
    """Weights, config and tokenizer on this disk; for a named shape the config alone."""

    name: str
    """What the user calls it, for messages."""
    path: Path
    """A folder, a `.gguf` file, or a shape's config.json."""
    kind: Literal["folder", "gguf", "random"]
    trust_remote_code: bool = False
    notes: tuple[str, ...] = ()
    """What the user should know about these weights."""

    @cached_property
    def config(self) -> PreTrainedConfig:
        """The model's config, its `quantization_config` included."""
        from transformers import AutoConfig

        self._require_layers()
        try:
            return AutoConfig.from_pretrained(self._location, **self._options)
        except ValueError as error:
            if self.kind != "gguf":
                raise
            raise LoadError(f"{self.name} cannot be read by transformers: {error}") from error

    def _require_layers(self) -> None:
        """ShapeError where there are too many to count."""
        file = self.path / "config.json" if self.kind == "folder" else self.path
        with explained(file):
            is_gguf = self.kind == "gguf"
            read = gguf_header.config(gguf_header.read(file).metadata) if is_gguf else json_object(file)
            architecture.require_layers(read)

    @property
    def stored_quantization(self) -> dict[str, Any]:
        """The checkpoint's own quantization_config; empty for full precision."""
        stored = getattr(self.config, "quantization_config", None) or {}
        return dict(stored if isinstance(stored, dict) else stored.to_dict())

    @property
    def dtype(self) -> torch.dtype:
        """What the weights are stored in; bf16 for a GGUF file, whose blocks are dequantized."""
        import torch

        if self.kind == "gguf":
            return torch.bfloat16
        stated = self.config.dtype or getattr(torch, self._first_tensor_dtype())
        return stated if isinstance(stated, torch.dtype) else getattr(torch, str(stated))

    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The checkpoint's tokenizer; a byte-level one for a named shape. LoadError where there is none."""
        from transformers import AutoTokenizer

        from engine.worker.checkpoints.random_tokenizer import random_tokenizer

        config = self.config  # first: an unknown architecture is not a missing tokenizer
        if self.kind == "random":
            return random_tokenizer(config.vocab_size, config.max_position_embeddings)
        if self.kind == "gguf":
            with explained(self.name):
                gguf_metadata.require_tokenizer(gguf_header.read(self.path).metadata)
        try:
            return AutoTokenizer.from_pretrained(self._location, **self._options)
        except (OSError, ValueError) as error:
            if "custom code" in str(error):
                raise
            self._require_sound_tokenizer()
            hint = GGUF_TOKENIZER_HINT if self.kind == "gguf" else TOKENIZER_HINT
            raise LoadError(f"{self.name} has no readable tokenizer", hint) from error

    def model(self, placement: Placement, quantization: object = None) -> PreTrainedModel:
        """The model with its weights; `quantization`, a config of transformers, is applied as they are read.

        LoadError where its files leave a part of it empty.
        """
        from transformers import AutoModelForCausalLM

        options: dict[str, Any] = {"config": self.config, "dtype": placement.dtype, **placement.where}
        if quantization is not None:
            options["quantization_config"] = quantization
        if self.kind == "random":
            from engine.worker.checkpoints import random_model

            return random_model.model(options, placement.device)
        from engine.worker.checkpoints import completeness, gguf_reading

        use_safetensors = None if self.kind == "gguf" else True
        with completeness.required(self.name), gguf_reading.unplaced() as unplaced:
            model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
                self._location, use_safetensors=use_safetensors, **self._options, **options
            )
        completeness.remember(model, unplaced)
        return model

    def require_full_precision(self) -> None:
        """LoadError unless the weights are unquantized: for methods that start from those."""
        if self.kind == "gguf":
            raise LoadError(f"{self.name} is a GGUF file", "load it with `quantization: {method: gguf}`")
        if stored := self.stored_quantization:
            how = stored.get("quant_method", "an unnamed method")
            hint = "load it with `quantization: {method: stored}`"
            raise LoadError(f"{self.name} is already quantized, with {how}", hint)

    @property
    def _location(self) -> Path:
        return self.path.parent if self.kind == "gguf" else self.path

    @property
    def _options(self) -> dict[str, Any]:
        """False is explicit: without it transformers asks on the terminal."""
        trust: dict[str, Any] = {"trust_remote_code": self.trust_remote_code}
        return trust | ({"gguf_file": self.path.name} if self.kind == "gguf" else {})

    def _require_sound_tokenizer(self) -> None:
        """LoadError where there is a tokenizer and it is broken."""
        file = self.path / "tokenizer.json"
        if self.kind == "folder" and file.is_file():
            settings(file)

    def _first_tensor_dtype(self) -> str:
        from safetensors import safe_open

        for file in weight_files(self.path):
            with safe_open(file, framework="pt") as tensors:
                names = [tensors.get_slice(name).get_dtype() for name in tensors.keys()]  # noqa: SIM118
            if floats := [FIRST_TENSOR_DTYPES[name] for name in names if name in FIRST_TENSOR_DTYPES]:
                return floats[0]
        return "float32"
