"""Models for tests: the demo, tiny ones of random weights, and one that says what it is told to."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from engine.worker.checkpoints import demo

torch.set_num_threads(1)  # these models are too small for more, and cores may be shared


@pytest.fixture(scope="session")
def demo_folder(home: Path) -> Path:
    """The demo model in bf16, fetched and converted once."""
    return demo.folder(lambda staged: None)


@pytest.fixture(scope="session")
def demo_tokenizer(demo_folder: Path) -> PreTrainedTokenizerBase:
    """Byte-level BPE with a chat template."""
    return AutoTokenizer.from_pretrained(demo_folder)


@pytest.fixture
def parrot(tmp_path: Path) -> Callable[..., Path]:
    """Writes a checkpoint that answers the prompt `go` with the given pieces, a token each, over and over."""

    def write(*pieces: str) -> Path:
        folder = tmp_path / "parrot"
        _parrot_tokenizer(pieces).save_pretrained(folder)
        _parrot_model(len(pieces) + 1).save_pretrained(folder)
        return folder

    return write


def _parrot_tokenizer(pieces: Sequence[str]) -> PreTrainedTokenizerFast:
    words = ["go", *pieces]
    assert len(set(words)) == len(words), "every piece names its successor: none may come twice"
    tokenizer = Tokenizer(models.WordLevel({word: id for id, word in enumerate(words)}, "go"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=False)


def _parrot_model(words: int) -> LlamaForCausalLM:
    """One layer that adds nothing: embeddings are axes, and the head turns a token's to its successor's."""
    size = -(-words // 16) * 16
    config = LlamaConfig(
        vocab_size=size,
        hidden_size=size,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=128,
        bos_token_id=None,
        eos_token_id=None,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        model.model.layers[0].self_attn.o_proj.weight.zero_()
        model.model.layers[0].mlp.down_proj.weight.zero_()
        model.model.embed_tokens.weight.copy_(torch.eye(size))
        model.lm_head.weight.zero_()
        for word in range(words):
            model.lm_head.weight[1 if word == words - 1 else word + 1, word] = 1
    return model
