"""Settings of transformers 5 in the words of 4: nothing is lost in silence."""

import pytest

from engine.errors import LoadError
from engine.worker.older.settings import older_config, older_tokenizer


def test_rope_and_dtype_are_said_as_4_reads_them() -> None:
    newer = {
        "dtype": "bfloat16",
        "quantization_config": None,
        "rope_parameters": {"rope_theta": 1e5, "rope_type": "default"},
        "hidden_size": 64,
    }
    assert older_config(newer) == {"torch_dtype": "bfloat16", "rope_theta": 1e5, "hidden_size": 64}


def test_scaled_rope_stays_scaled() -> None:
    scaling = {"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 8192}
    found = older_config({"text_config": {"rope_parameters": {"rope_theta": 5e5, **scaling}}})
    assert found == {"text_config": {"rope_theta": 5e5, "rope_scaling": scaling}}


def test_what_4_wrote_stays_as_it_is() -> None:
    older = {
        "torch_dtype": "float16",
        "rope_theta": 1e4,
        "rope_scaling": None,
        "quantization_config": {"bits": 4},
    }
    assert older_config(older) == older


def test_rope_of_each_type_of_layer_is_refused() -> None:
    with pytest.raises(LoadError, match="RoPE differs between types of layers"):
        older_config({"rope_parameters": {"full_attention": {"rope_theta": 1e6}}})


def test_a_tokenizer_of_5_has_a_class_that_4_knows() -> None:
    newer = {"tokenizer_class": "TokenizersBackend", "extra_special_tokens": ["<a>"], "eos_token": "</s>"}
    assert older_tokenizer(newer) == {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "additional_special_tokens": ["<a>"],
        "eos_token": "</s>",
    }
    older = {"tokenizer_class": "LlamaTokenizer", "extra_special_tokens": {"image": "<i>"}}
    assert older_tokenizer(older) == older
