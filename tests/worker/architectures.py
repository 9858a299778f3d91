"""Kinds of models, tiny and of random weights, and whether the engine writes what `generate` does.

Whatever a kind's config calls its sizes, they are these; what else a kind needs is next to its name.
"""

from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from transformers import (
    CONFIG_MAPPING,
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING,
    MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING,
    AutoModelForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
)

from engine.config import runtime
from engine.config.methods import AutoRound, BitsAndBytes, Fp8, Full, Method, Rtn
from engine.config.profile import Generation, Model, Profile
from engine.config.texts import Calibration
from engine.errors import QuantDuelError
from engine.worker.checkpoints.random_tokenizer import random_tokenizer
from engine.worker.generate import decode
from engine.worker.generate.prefix_cache import KeptCache
from engine.worker.load import LoadedModel, load

METHODS: dict[str, Method] = {
    "full": Full(),
    "nf4": BitsAndBytes(),
    "int8": BitsAndBytes(bits=8),
    "fp8": Fp8(),
    "rtn4": Rtn(group_size=32),
    "w4a16": Rtn(group_size=32, format="compressed-tensors"),
    "autoround4": AutoRound(group_size=32, iters=1, calibration=Calibration(samples=2, length=16)),
}
VOCABULARY, STEPS, WINDOW, CHUNK = 320, 12, 24, 32
WHOLE = ("int8",)
"""Methods for which each pass sorts its activations: how much is read at once is part of the arithmetic."""
SIZES: dict[int, str] = {
    2: "num_hidden_layers n_layer n_layers num_layers decoder_layers encoder_layers num_decoder_layers "
    "num_key_value_heads num_experts_per_tok",
    4: "num_attention_heads n_head n_heads num_heads attention_heads decoder_attention_heads "
    "encoder_attention_heads num_experts n_routed_experts num_local_experts",
    8: "rotary_dim",
    16: "head_dim",
    WINDOW: "sliding_window",
    64: "hidden_size d_model n_embd moe_intermediate_size shared_expert_intermediate_size",
    128: "intermediate_size ffn_dim d_ff n_inner decoder_ffn_dim encoder_ffn_dim",
    512: "max_position_embeddings n_positions max_seq_len",
    VOCABULARY: "vocab_size",
}
OPTIONAL = ("sliding_window", "head_dim")
"""Sizes that a kind may leave out: then they stay out."""
NO_TOKENS = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"))

LATENT = {
    "head_dim": 8,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 16,
    "v_head_dim": 16,
    "q_lora_rank": 32,
    "kv_lora_rank": 32,
    "first_k_dense_replace": 1,
    "n_group": 2,
    "topk_group": 1,
    "num_key_value_heads": 4,
}
MAMBA = {"mamba_d_state": 16, "mamba_n_heads": 8, "mamba_d_head": 16, "mamba_n_groups": 1}
LINEAR = {
    "layer_types": ["linear_attention", "full_attention"],
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
}
CONV = {"layer_types": ["conv", "full_attention"]}
MIXED = {"layer_types": ["sliding_attention", "full_attention"]}
ENCODER = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}

PLAIN = """
    llama mistral qwen2 qwen3 arcee seed_oss smollm3 granite olmo olmo2 olmoe stablelm starcoder2 nemotron
    persimmon gemma cohere phi phi3 phimoe helium ernie4_5 glm glm4 qwen2_moe qwen3_moe mixtral granitemoe
    llama4_text gpt_oss gpt2 gptj gpt_neox gpt_bigcode codegen opt xglm biogpt bloom mpt falcon ctrl diffllama
    apertus ernie4_5_moe
"""
OTHER_STATES = ("mamba", "falcon_mamba", "rwkv", "xlstm", "openai-gpt", "xlnet", "minimax")
TWO_PARTS = ("bart", "pegasus", "t5", "whisper")
ANSWERED: dict[str, dict[str, Any]] = {
    **{kind: {} for kind in PLAIN.split()},
    **dict.fromkeys(("gemma2", "gemma3_text", "cohere2", "exaone4", "olmo3"), MIXED),
    **{kind: {"head_dim": 16} for kind in ("hunyuan_v1_dense", "hunyuan_v1_moe", "ministral")},
    **dict.fromkeys(("deepseek_v2", "deepseek_v3", "minicpm3"), LATENT),
    **dict.fromkeys(("qwen3_next", "qwen3_5_text", "olmo_hybrid"), LINEAR),
    **dict.fromkeys(("lfm2", "lfm2_moe"), CONV),
    "gpt_neo": {"attention_types": [[["global", "local"], 1]], "window_size": WINDOW},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2, "mamba_d_state": 8},
    "bamba": {"attn_layer_indices": [1], **MAMBA},
    "falcon_h1": {"mamba_d_ssm": 128, **MAMBA},
    "granitemoehybrid": {"layer_types": ["mamba", "attention"], "shared_intermediate_size": 64, **MAMBA},
    "zamba2": {
        "layers_block_type": ["hybrid", "mamba"],
        "hybrid_layer_ids": [0],
        "mamba_d_state": 16,
        "n_mamba_heads": 8,
        "mamba_headdim": 16,
        "num_mem_blocks": 1,
    },
    "recurrent_gemma": {"num_hidden_layers": 3, "lru_width": 64, "attention_window_size": WINDOW},
    "bert as a decoder": {"is_decoder": True, "pad_token_id": 0},
    "roberta as a decoder": {"is_decoder": True, **ENCODER},
}


def _rope(kind: str, **options: object) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 1e4, **options}}


ODD: dict[str, dict[str, Any]] = {
    "llama with biases": {"attention_bias": True, "mlp_bias": True},
    "llama with gelu, tied": {"hidden_act": "gelu_pytorch_tanh", "tie_word_embeddings": True},
    "llama with wide heads": {"head_dim": 32},
    "llama with linear rope": _rope("linear", factor=4.0),
    "llama with dynamic rope": {**_rope("dynamic", factor=4.0), "max_position_embeddings": 160},
    "llama with yarn": _rope("yarn", factor=4.0, original_max_position_embeddings=64),
    "llama with llama3 rope": _rope(
        "llama3",
        factor=8.0,
        low_freq_factor=1.0,
        high_freq_factor=4.0,
        original_max_position_embeddings=32,
    ),
    "llama with long rope": _rope(
        "longrope",
        short_factor=[1.0] * 8,
        long_factor=[1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 9.0],
        factor=8.0,
        original_max_position_embeddings=48,
    ),
    "llama with rope on half of a head": _rope("default", partial_rotary_factor=0.5),
    "mistral without a window": {"sliding_window": None},
    "phi3 with a window as long as its texts": {"sliding_window": 512},
    "qwen2 with windows": {**MIXED, "use_sliding_window": True, "sliding_window": WINDOW},
    "qwen2 tied": {"tie_word_embeddings": True},
    "gemma2 with low caps": {**MIXED, "final_logit_softcapping": 2.0, "attn_logit_softcapping": 1.0},
    "granite with scaling": {"logits_scaling": 4.0, "residual_multiplier": 0.5, "attention_multiplier": 0.1},
}
REFUSED: dict[str, dict[str, Any]] = {
    **{kind: {} for kind in OTHER_STATES + TWO_PARTS},
    **dict.fromkeys(("bert", "roberta", "electra"), ENCODER),
    "mamba2": {"num_heads": 8, "head_dim": 16, "state_size": 16, "n_groups": 1},
}
KINDS = ANSWERED | ODD | REFUSED


def write(kind: str, folder: Path) -> Path:
    """A checkpoint of this kind, in float32, whose answers depend on all that was read."""
    name = kind.partition(" ")[0]
    config_class = CONFIG_MAPPING[name]
    config = config_class(**_sizes(config_class) | NO_TOKENS | KINDS[kind])
    torch.manual_seed(0)
    model = _model_class(config)._from_config(config)
    _spread(model)
    model.float().save_pretrained(folder)
    tokenizer = random_tokenizer(VOCABULARY, 512)
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(0)
    tokenizer.save_pretrained(folder)
    return folder


def _model_class(config: PreTrainedConfig) -> Any:
    """The whole model, where it is more than a decoder."""
    classes = (MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING, MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING)
    whole = (
        [found[type(config)] for found in classes if type(config) in found]
        if config.is_encoder_decoder
        else []
    )
    return whole[0] if whole else MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]


def _sizes(config_class: Any) -> dict[str, Any]:
    """Those of SIZES that this kind has; its layer types, shortened to one of each."""
    usual = config_class()
    known = {*vars(usual), *config_class.attribute_map}
    sizes = {name: size for size, names in SIZES.items() for name in names.split() if name in known}
    return {name: size for name, size in sizes.items() if name not in OPTIONAL or getattr(usual, name, None)}


def _spread(model: PreTrainedModel) -> None:
    rng = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if weights.dim() > 1:
                weights.normal_(0, 0.15, generator=rng)
            elif name.endswith("bias"):
                weights.normal_(0, 0.1, generator=rng)


def verdict(kind: str, method: str, folder: Path) -> str:
    """`equal`, the line of a refusal, or which tokens of which turn are others than those of `generate`."""
    wanted = Profile(model=Model(source=str(folder), dtype="float32"), quantization=METHODS[method])
    try:
        loaded = load(wanted, 1, lambda staged: None)
    except QuantDuelError as error:
        return f"refused: {error.message.removeprefix(f'{folder} ')}"
    reference = AutoModelForCausalLM.from_pretrained(folder) if method == "full" else loaded.model
    for turn, (ours, theirs) in enumerate(_turns(loaded, reference.eval(), method in WHOLE), start=1):
        if ours != theirs:
            return f"turn {turn}: {ours} instead of {theirs}"
    return "equal"


def _turns(
    loaded: LoadedModel, reference: PreTrainedModel, is_whole: bool
) -> list[tuple[list[int], list[int]]]:
    """Two turns of a conversation; of each the engine's tokens and `generate`'s.

    Unless it `is_whole`, a prompt is read in chunks, the second behind the first one's cache.
    """
    rng = torch.Generator().manual_seed(5)
    ids, kept, answers = torch.randint(10, 250, (70,), generator=rng).tolist(), KeptCache(), []
    for _ in range(2):
        ours = _engine_tokens(loaded, ids, KeptCache() if is_whole else kept, 512 if is_whole else CHUNK)
        answers.append((ours, generated(reference, ids)))
        ids = [*ids, *ours[: STEPS - 3], *torch.randint(10, 250, (50,), generator=rng).tolist()]
    return answers


def _engine_tokens(loaded: LoadedModel, ids: list[int], kept: KeptCache, chunk: int) -> list[int]:
    cache = kept.take(ids, loaded.model.config)
    with patch.object(runtime, "chunk_tokens", lambda parameters, device: chunk):
        steps = list(decode.generate(loaded, ids, Generation(max_new_tokens=STEPS), lambda: False, cache))
    tokens = [step.id for step in steps if isinstance(step, decode.Token)]
    kept.keep(cache, [*ids, *tokens])
    return tokens


def generated(model: PreTrainedModel, ids: list[int]) -> list[int]:
    """What `generate` of transformers writes behind a prompt, greedily."""
    prompt = torch.tensor([ids])
    wanted = {"do_sample": False, "max_new_tokens": STEPS, "eos_token_id": None, "pad_token_id": 0}
    written = model.generate(prompt, attention_mask=torch.ones_like(prompt), **wanted)
    return written[0, len(ids) :].tolist()
