"""Shapes are the real models', weights depend on names alone, the tokenizer covers every id."""

import pytest
import torch
from transformers import AutoConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

from engine.config.sources import SHAPES, shapes
from engine.worker.checkpoints import random_model
from engine.worker.checkpoints.random_tokenizer import random_tokenizer

CPU = torch.device("cpu")
PUBLISHED_PARAMETERS = {
    "llama-3.1-8b": 8_030_261_248,
    "llama-3.1-70b": 70_553_706_496,
    "llama-2-7b": 6_738_415_616,
    "qwen2.5-7b": 7_615_616_512,
    "mistral-7b": 7_248_023_552,
    "opt-125m": 125_239_296,
    "gemma-3-1b": 999_885_952,
    "gemma-3-4b": 3_880_263_168,  # without what reads images, as all of Gemma 3 here
    "gemma-3-12b": 11_766_034_176,
    "gemma-3-27b": 27_009_346_304,
    "gpt-oss-20b": 20_914_757_184,
    "mistral-small-24b": 23_572_403_200,
    "phi-4-14b": 14_659_507_200,
    "qwen3-0.6b": 596_049_920,
    "qwen3-1.7b": 1_720_574_976,
    "qwen3-4b": 4_022_468_096,
    "qwen3-8b": 8_190_735_360,
    "qwen3-14b": 14_768_307_200,
    "qwen3-32b": 32_762_123_264,
    "qwen3-30b-a3b": 30_532_122_624,
    "smollm2-135m": 134_515_008,
}


def test_every_shape_is_checked() -> None:
    assert set(PUBLISHED_PARAMETERS) == set(shapes()) - {"tiny"}


@pytest.mark.parametrize("shape", PUBLISHED_PARAMETERS)
def test_shape_has_the_published_number_of_parameters(shape: str) -> None:
    tensors = random_model.tensors(AutoConfig.from_pretrained(SHAPES / f"{shape}.json"), CPU)
    assert sum(tensor.shape.numel() for tensor in tensors.values()) == PUBLISHED_PARAMETERS[shape]


@pytest.mark.parametrize("shape", sorted(PUBLISHED_PARAMETERS))
def test_shape_has_no_key_that_its_config_class_does_not_know(shape: str) -> None:
    config = AutoConfig.from_pretrained(SHAPES / f"{shape}.json")
    known = set(type(config)(architectures=[], bos_token_id=1).to_dict())
    assert set(config.to_dict()) <= known | {
        "rope_parameters",
        "transformers_version",
        "_name_or_path",
        "dtype",
        "head_dim",  # Qwen3's mixtures read it, their config class does not name it
    }


def test_tensors_are_made_again_and_equal() -> None:
    config = AutoConfig.from_pretrained(SHAPES / "tiny.json")
    first, second = (random_model.tensors(config, CPU) for _ in range(2))
    names = ["model.layers.0.mlp.up_proj.weight", "model.layers.1.mlp.up_proj.weight"]
    assert torch.equal(first[names[0]][...], second[names[0]][...])
    assert not torch.equal(first[names[0]][...], first[names[1]][...])
    assert first[names[0]][...].float().std() == pytest.approx(random_model.STANDARD_DEVIATION, rel=0.02)
    assert torch.equal(first["model.norm.weight"][...], torch.ones(128, dtype=torch.bfloat16))


def test_biases_are_zero() -> None:
    tensors = random_model.tensors(AutoConfig.from_pretrained(SHAPES / "opt-125m.json"), CPU)
    assert not tensors["model.decoder.layers.0.self_attn.q_proj.bias"][...].any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_weights_are_the_same_in_every_dtype(dtype: torch.dtype) -> None:
    config = AutoConfig.from_pretrained(SHAPES / "tiny.json")
    reference = random_model.model({"config": config, "dtype": torch.bfloat16}, CPU)
    other = random_model.model({"config": config, "dtype": dtype}, CPU)
    for ours, theirs in zip(reference.parameters(), other.parameters(), strict=True):
        assert theirs.dtype == dtype
        torch.testing.assert_close(ours.float(), theirs.float(), rtol=0, atol=1e-7)  # fp16 underflow


def test_tied_weights_stay_tied() -> None:
    config = AutoConfig.from_pretrained(SHAPES / "tiny.json", tie_word_embeddings=True)
    model = random_model.model({"config": config, "dtype": torch.bfloat16}, CPU)
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert model.lm_head.weight.float().std() > 0


def test_answers_have_no_end_token() -> None:
    config = AutoConfig.from_pretrained(SHAPES / "tiny.json")
    model = random_model.model({"config": config, "dtype": torch.bfloat16}, CPU)
    assert model.generation_config.eos_token_id is None
    assert MODEL_FOR_CAUSAL_LM_MAPPING[type(config)] is type(model)


@pytest.mark.parametrize("text", ["Hello, world", "tab\tand\nline", "Grüße, 世界 🙂", "\x00\x7f"])
def test_tokenizer_keeps_every_byte(text: str) -> None:
    tokenizer = random_tokenizer(512, 2048)
    token_ids = tokenizer(text).input_ids
    assert token_ids == list(text.encode())
    assert tokenizer.decode(token_ids) == text


def test_tokenizer_shows_ids_beyond_bytes() -> None:
    tokenizer = random_tokenizer(512, 2048)
    assert tokenizer.decode([72, 256, 511]) == "H ⟨256⟩ ⟨511⟩"
    assert len(tokenizer) == 512
    assert tokenizer.chat_template is None
    assert tokenizer.all_special_ids == []
