"""Small models of the kinds that have a step of the engine's own, of random weights, and their logits."""

from typing import Any

import torch
from torch import Tensor
from transformers import (
    DynamicCache,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from engine.worker.step import native
from engine.worker.step.kv_cache import growing_cache

SHAPE = {
    "vocab_size": 512,
    "hidden_size": 96,
    "intermediate_size": 160,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}
KINDS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "llama": (
        LlamaForCausalLM,
        LlamaConfig,
        {"rope_parameters": {"rope_type": "default", "rope_theta": 5e4}},
    ),
    "llama, scaled": (
        LlamaForCausalLM,
        LlamaConfig,
        {
            "rope_parameters": {
                "rope_type": "llama3",
                "rope_theta": 5e5,
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 64,
            }
        },
    ),
    "llama, biases, untied": (LlamaForCausalLM, LlamaConfig, {"attention_bias": True, "mlp_bias": True}),
    "mistral": (MistralForCausalLM, MistralConfig, {"sliding_window": None, "head_dim": 32}),
    "qwen2": (Qwen2ForCausalLM, Qwen2Config, {"tie_word_embeddings": True}),
}


def model_of(kind: str, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    torch.manual_seed(0)
    model_class, config_class, options = KINDS[kind]
    return model_class(config_class(**SHAPE, **options)).to(dtype).eval()


def prompt(batch: int, length: int = 20) -> Tensor:
    return torch.randint(512, (batch, length), generator=torch.Generator().manual_seed(1))


@torch.inference_mode()
def logits_of(model: PreTrainedModel, batch: int, steps: int, *, is_native: bool) -> Tensor:
    """Of `steps` given tokens behind a prompt [batch, steps, vocab]."""
    cache = growing_cache(model.config) if is_native else DynamicCache(config=model.config)
    model(prompt(batch), past_key_values=cache)
    step = native.NativeStep(model)
    tokens = prompt(batch, steps).split(1, dim=1)
    if is_native:
        return torch.cat([step(token, cache) for token in tokens], dim=1)
    return torch.cat([model(token, past_key_values=cache).logits for token in tokens], dim=1)
