"""The plan of many kinds of models, from their files alone, against what a load of these files holds."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedModel

from engine.config.methods import Full
from engine.plan import running
from engine.plan import weights as holding
from engine.plan.target import Target
from engine.plan.terms import total
from engine.shape import context_window, find
from engine.shape.families import FILE
from engine.shape.weight_files import WEIGHTS
from engine.worker import describe
from engine.worker.host import memory
from engine.worker.step.kv_cache import growing_cache

ROOT = Path(__file__).parents[3]
TOKENS = 70  # more than the windows below, and more than a cache's first capacity
USUAL = {
    "vocab_size": 320,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 4}
GPT = {"vocab_size": 320, "n_embd": 64, "n_layer": 3, "n_head": 4, "n_positions": 256}
LATENT = {
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 8,
    "v_head_dim": 24,
}
FEW_EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
LLAMA3 = {"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0}
LONG = {"type": "longrope", "short_factor": [1.0] * 8, "long_factor": [4.0] * 8}


def _yarn(factor: float, original: int) -> dict[str, Any]:
    return {"rope_type": "yarn", "factor": factor, "original_max_position_embeddings": original}


KINDS: dict[str, dict[str, Any]] = {
    "llama": USUAL,
    "mistral": USUAL | {"sliding_window": 32},
    "mixtral": USUAL | FEW_EXPERTS | {"sliding_window": None},
    "qwen2": USUAL | {"use_sliding_window": True, "sliding_window": 32, "max_window_layers": 1},
    "qwen3": USUAL | {"head_dim": 32},
    "qwen3_moe": USUAL
    | {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "head_dim": 16},
    "gemma": USUAL | {"head_dim": 32},
    "gemma2": USUAL | {"sliding_window": 32, "head_dim": 32},
    "gemma3_text": USUAL | {"sliding_window": 32, "num_hidden_layers": 8, "head_dim": 32},
    "cohere": USUAL,
    "cohere2": USUAL | {"sliding_window": 32},
    "phi": USUAL,
    "phi3": USUAL | {"sliding_window": 32, "pad_token_id": 0},
    "smollm3": USUAL | {"pad_token_id": 0},
    "olmo2": USUAL,
    "olmo3": USUAL | {"sliding_window": 32},
    "granite": USUAL,
    "stablelm": USUAL,
    "starcoder2": USUAL | {"sliding_window": 32},
    "gpt_neox": USUAL,
    "gpt_oss": USUAL | FEW_EXPERTS | {"sliding_window": 32, "head_dim": 16},
    "exaone4": USUAL | {"sliding_window": 32},
    "falcon": USUAL | {"multi_query": True},
    "falcon, many heads": USUAL | {"multi_query": False, "bias": True},
    "falcon, new": USUAL | {"new_decoder_architecture": True, "num_kv_heads": 2},
    "gpt2": GPT,
    "gpt_bigcode": GPT | {"multi_query": True},
    "gpt_bigcode, many heads": GPT | {"multi_query": False},
    "gptj": GPT | {"n_embd": 256},
    "codegen": GPT | {"n_embd": 256},
    "gpt_neo": {
        "vocab_size": 320,
        "hidden_size": 64,
        "num_layers": 2,
        "num_heads": 4,
        "max_position_embeddings": 256,
        "attention_types": [[["global", "local"], 1]],
        "window_size": 32,
    },
    "opt": USUAL | {"ffn_dim": 96, "word_embed_proj_dim": 64},
    "bloom": {"vocab_size": 320, "hidden_size": 64, "n_layer": 3, "n_head": 4},
    "mpt": {"vocab_size": 320, "d_model": 64, "n_layers": 3, "n_heads": 4, "max_seq_len": 256},
    "xglm": {
        "vocab_size": 320,
        "d_model": 64,
        "num_layers": 3,
        "attention_heads": 4,
        "ffn_dim": 96,
        "max_position_embeddings": 256,
    },
    "deepseek_v2": USUAL
    | HEADS
    | LATENT
    | {
        "n_routed_experts": 4,
        "n_shared_experts": 1,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 32,
        "first_k_dense_replace": 1,
        "n_group": 1,
        "topk_group": 1,
    },
    "deepseek_v3": USUAL
    | HEADS
    | LATENT
    | {
        "n_routed_experts": 4,
        "n_shared_experts": 1,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 32,
        "first_k_dense_replace": 1,
        "n_group": 1,
        "topk_group": 1,
    },
    "nemotron": USUAL,
    "glm4": USUAL | {"head_dim": 16, "pad_token_id": 0},
    "llama4_text": USUAL
    | FEW_EXPERTS
    | {"attention_chunk_size": 32, "intermediate_size_mlp": 96, "head_dim": 16},
    "gemma3n_text": USUAL
    | {
        "num_hidden_layers": 10,
        "sliding_window": 32,
        "num_kv_shared_layers": 5,
        "vocab_size_per_layer_input": 320,
        "hidden_size_per_layer_input": 8,
        "head_dim": 16,
        "laurel_rank": 8,
        "activation_sparsity_pattern": [0.0] * 10,
        "intermediate_size": [96] * 10,
    },
    "lfm2": USUAL
    | {"full_attn_idxs": [1, 3], "layer_types": ["conv", "full_attention", "conv", "full_attention"]},
    "persimmon": USUAL,
    "biogpt": USUAL,
    "ministral": USUAL | {"sliding_window": 32, "head_dim": 16},
    "helium": USUAL | {"head_dim": 16},
    "jetmoe": USUAL | {"kv_channels": 16, "num_local_experts": 4},
    "minimax_m2": USUAL | FEW_EXPERTS | {"head_dim": 16},
    "ctrl": GPT | {"dff": 96},
    "arcee": USUAL,
    "seed_oss": USUAL | {"head_dim": 16},
    "hunyuan_v1_dense": USUAL | {"head_dim": 16, "pad_token_id": 0},
    "ernie4_5": USUAL,
    "apertus": USUAL,
    "glm": USUAL | {"head_dim": 16, "pad_token_id": 0},
    "granitemoe": USUAL | FEW_EXPERTS,
    "olmoe": USUAL | {"num_experts": 4, "num_experts_per_tok": 2},
    "phimoe": USUAL | FEW_EXPERTS | {"sliding_window": None},
}


def made(kind: str, folder: Path) -> PreTrainedModel:
    """A model of this kind, saved as it would be published: its config says what is asked for alone."""
    model_type = kind.partition(",")[0]
    config = AutoConfig.for_model(model_type, **KINDS[kind])
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(folder)
    said = {"model_type": model_type, "dtype": "bfloat16", **KINDS[kind]}
    (folder / "config.json").write_text(json.dumps(said))
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval()


@pytest.mark.parametrize("kind", KINDS)
def test_the_plan_holds_what_the_load_holds(kind: str, tmp_path: Path) -> None:
    model = made(kind, tmp_path)
    cache = growing_cache(model.config)
    with torch.inference_mode():
        model(torch.zeros((1, TOKENS - 1), dtype=torch.long), past_key_values=cache, use_cache=True)
        model(torch.zeros((1, 1), dtype=torch.long), past_key_values=cache, use_cache=True)
    shape, target = find.of_folder(tmp_path, kind), Target("cpu", "bfloat16")
    cache.layers = [layer for layer in cache.layers if hasattr(layer, "keys")]  # states are not planned
    held, kept = memory.weights(model).total_bytes, memory.cache_bytes(cache)
    planned, planned_cache = (
        total(holding.terms(shape, Full(), target)),
        total(running.kv_cache(shape.architecture, TOKENS, 1, target)),
    )
    assert planned == pytest.approx(held, rel=0.001)
    assert kept == planned_cache
    assert describe.context_length(model.config) == shape.architecture.context_length


@pytest.mark.parametrize("change", ["the tied head alone", "fewer layers"])
def test_the_plan_holds_what_the_load_holds_of_a_changed_folder(change: str, tmp_path: Path) -> None:
    sizes = {"vocab_size": 256, "hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4}
    config = LlamaConfig(**sizes, num_hidden_layers=2, tie_word_embeddings=True, dtype=torch.bfloat16)
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(tmp_path)
    stored = load_file(tmp_path / WEIGHTS)
    if change == "fewer layers":
        config.num_hidden_layers = 1
        config.save_pretrained(tmp_path)
    else:
        stored["lm_head.weight"] = stored.pop("model.embed_tokens.weight")
        save_file(stored, tmp_path / WEIGHTS)
    model = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.bfloat16)
    planned = total(holding.terms(find.of_folder(tmp_path, change), Full(), Target("cpu", "bfloat16")))
    assert planned == memory.weights(model).total_bytes


SCALINGS: dict[str, tuple[str, dict[str, Any], int]] = {
    "linear": ("llama", {"rope_scaling": {"type": "linear", "factor": 4.0}}, 1024),
    "dynamic": ("llama", {"rope_scaling": {"rope_type": "dynamic", "factor": 2}}, 512),
    "a factor below 1": ("llama", {"rope_scaling": {"type": "linear", "factor": 0.5}}, 256),
    "none": ("llama", {"rope_scaling": None}, 256),
    "yarn, to be stretched": ("qwen2", {"rope_scaling": _yarn(4.0, 256)}, 1024),
    "yarn, stretched already": ("qwen2", {"rope_scaling": _yarn(4.0, 64)}, 256),
    "yarn without an original": ("qwen2", {"rope_scaling": {"type": "yarn", "factor": 4.0}}, 1024),
    "llama3": ("llama", {"rope_scaling": _yarn(8.0, 32) | LLAMA3}, 256),
    "longrope": ("phi3", {"rope_scaling": LONG, "original_max_position_embeddings": 64}, 256),
    "of some layers": ("gemma3_text", {"rope_scaling": {"rope_type": "linear", "factor": 8.0}}, 256),
    "GPT-2's name": ("gpt2", {"n_positions": 64}, 64),
    "MPT's name": ("mpt", {"max_seq_len": 64}, 64),
    "a name that BLOOM does not know": ("bloom", {"seq_length": 64}, 0),
    "nothing said": ("gpt2", {}, 1024),
}


@pytest.mark.parametrize("kind", SCALINGS)
def test_plan_and_worker_say_the_same_window(kind: str, tmp_path: Path) -> None:
    model_type, said, window = SCALINGS[kind]
    sizes = {"num_attention_heads": 4, "hidden_size": 64} if "rope_scaling" in said else {}
    usual = {"max_position_embeddings": 256, **sizes} if sizes else {}
    config = {"model_type": model_type, **usual, **said}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert context_window.of(config) == window
    assert describe.context_length(AutoConfig.from_pretrained(tmp_path)) == window


def test_a_model_with_more_than_text_has_its_text_parts_window(tmp_path: Path) -> None:
    config = {"model_type": "gemma3", "text_config": {"max_position_embeddings": 512, "hidden_size": 64}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert context_window.of(config) == 512
    assert describe.context_length(AutoConfig.from_pretrained(tmp_path)) == 512


def test_the_families_are_those_of_the_installed_transformers() -> None:
    command = [sys.executable, "docs/write_families.py", "--print"]
    page = subprocess.run(command, check=True, cwd=ROOT, capture_output=True, text=True)
    assert page.stdout == FILE.read_text(), "run docs/write_families.py"
