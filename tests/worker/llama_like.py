"""Small models of the kinds that have a step of the engine's own, of random weights, and their logits."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    DynamicCache,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    SmolLM3Config,
    SmolLM3ForCausalLM,
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
    "qwen3": (Qwen3ForCausalLM, Qwen3Config, {"head_dim": 32, "tie_word_embeddings": True}),
    "phi3": (
        Phi3ForCausalLM,
        Phi3Config,
        {
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.75},
            "pad_token_id": None,
        },
    ),
    "smollm3": (SmolLM3ForCausalLM, SmolLM3Config, {"no_rope_layers": [1, 0], "pad_token_id": None}),
    "granite": (
        GraniteForCausalLM,
        GraniteConfig,
        {
            "embedding_multiplier": 3.0,
            "residual_multiplier": 0.7,
            "attention_multiplier": 0.1,
            "logits_scaling": 2.5,
        },
    ),
}


def model_of(kind: str, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    torch.manual_seed(0)
    model_class, config_class, options = KINDS[kind]
    model: PreTrainedModel = model_class(config_class(**SHAPE, **options))
    for name, weight in model.named_parameters():
        if name.endswith("norm.weight"):  # all ones, otherwise
            nn.init.normal_(weight, 1, 0.2)
    return model.to(dtype).eval()


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
