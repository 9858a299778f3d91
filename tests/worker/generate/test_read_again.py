"""A text that outgrows the short RoPE factors of Phi-3 while an answer is written."""

from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import Phi3Config, Phi3ForCausalLM

from engine.config.profile import Generation, Model, Profile
from engine.worker.checkpoints.random_tokenizer import random_tokenizer
from engine.worker.generate import decode
from engine.worker.generate.prefix_cache import KeptCache
from engine.worker.load import LoadedModel, load

FACTORS = {"short_factor": [1.0] * 8, "long_factor": [1.0 + 1.5 * number for number in range(8)]}
SHORT = 48


@pytest.fixture(scope="module", params=[None, 4096], ids=["all kept", "windows"])
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    folder: Path = tmp_path_factory.mktemp("phi3")
    config = Phi3Config(
        **dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id")),
        vocab_size=320,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        original_max_position_embeddings=SHORT,
        rope_parameters={"rope_type": "longrope", "rope_theta": 1e4, **FACTORS},
        sliding_window=request.param,
    )
    torch.manual_seed(3)
    model = Phi3ForCausalLM(config)
    for weights in model.parameters():
        if weights.dim() > 1:
            nn.init.normal_(weights, 0, 0.3)
    model.save_pretrained(folder)
    random_tokenizer(320, 512).save_pretrained(folder)
    wanted = Profile(model=Model(source=str(folder), dtype="float32"))
    return load(wanted, 1, lambda staged: None)


@pytest.mark.parametrize("length", [40, SHORT, SHORT + 1])
def test_it_is_read_once_more_as_generate_does(loaded: LoadedModel, length: int) -> None:
    prompt = torch.randint(10, 250, (1, length), generator=torch.Generator().manual_seed(length))
    wanted = {"do_sample": False, "max_new_tokens": 20, "eos_token_id": None, "pad_token_id": 0}
    written = loaded.model.generate(prompt, attention_mask=torch.ones_like(prompt), **wanted)
    cache = KeptCache().empty(loaded.model.config, 1, 80)
    generation = Generation(max_new_tokens=20)
    steps = list(decode.generate(loaded, prompt[0].tolist(), generation, lambda: False, cache))
    assert [step.id for step in steps if isinstance(step, decode.Token)] == written[0, length:].tolist()
    assert cache.get_seq_length() == length + 19
    end = steps[-1]
    assert isinstance(end, decode.End)
    assert any("read once more" in note for note in end.notes) == (length <= SHORT)


def test_it_can_be_cancelled_meanwhile(loaded: LoadedModel) -> None:
    cache, tokens = KeptCache().empty(loaded.model.config, 1, 80), 0

    def cancelled() -> bool:  # once the cache was dropped
        return tokens > 0 and cache.get_seq_length() == 0

    for step in decode.generate(
        loaded, list(range(20, 20 + SHORT)), Generation(max_new_tokens=9), cancelled, cache
    ):
        tokens += isinstance(step, decode.Token)
    assert isinstance(step, decode.End) and (step.reason, tokens) == ("cancelled", 1)
    assert cache.get_seq_length() == 0
