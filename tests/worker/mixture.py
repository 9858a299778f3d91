"""A tiny mixture of experts with a shared one, of random weights."""

from pathlib import Path

import torch
from transformers import Qwen2MoeConfig, Qwen2MoeForCausalLM

from engine.worker.checkpoints.random_tokenizer import random_tokenizer


def write_mixture(folder: Path) -> Path:
    """One layer in bfloat16, two of whose four experts read a token."""
    config = Qwen2MoeConfig(
        vocab_size=512,
        hidden_size=64,
        intermediate_size=64,
        moe_intermediate_size=32,
        shared_expert_intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_experts=4,
        num_experts_per_tok=2,
        eos_token_id=0,
        pad_token_id=0,
        dtype="bfloat16",
    )
    Qwen2MoeForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    random_tokenizer(512, 512).save_pretrained(folder)
    return folder
