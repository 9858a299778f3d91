"""Tiny checkpoints on disk, and the real command in a process of its own."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

SIZES: dict[str, Any] = {
    "vocab_size": 320,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "bos_token_id": None,
    "eos_token_id": 256,
    "pad_token_id": 258,
}
SPECIAL = ["<|end|>", "<|start|>", "<|pad|>"]
TEMPLATE = (
    "{% for m in messages %}<|start|>{{ m.role }}: {{ m.content }}<|end|>{% endfor %}<|start|>assistant:"
)


@dataclass(frozen=True, slots=True)
class Done:
    """A command that ended."""

    code: int
    out: str
    err: str

    @property
    def is_clear(self) -> bool:
        """Whether what went wrong is said in a line and a hint for each side, not in Python's words."""
        return "Traceback" not in self.err and len(self.err.strip().splitlines()) <= 4


Command = Callable[..., Done]
Saver = Callable[..., Path]


@pytest.fixture
def quantduel() -> Command:
    """`quantduel` with these arguments."""

    def run(*arguments: str | Path, stdin: str | bytes = b"") -> Done:
        given = stdin.encode() if isinstance(stdin, str) else stdin
        command = [sys.executable, "-c", "from tui.__main__ import main; main()", *map(str, arguments)]
        ended = subprocess.run(command, input=given, capture_output=True, timeout=240, check=False)
        return Done(ended.returncode, ended.stdout.decode(), ended.stderr.decode())

    return run


@pytest.fixture
def save(tmp_path: Path) -> Saver:
    """Writes a model and a tokenizer; weights are spread out so that the greedy choice is clear."""

    def write(name: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast | None = None) -> Path:
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() > 1:
                    parameter.mul_(3)
        folder = tmp_path / name
        model.save_pretrained(folder)
        (tokenizer or byte_tokenizer()).save_pretrained(folder)
        return folder

    return write


@pytest.fixture
def llama(save: Saver) -> Saver:
    """Writes a tiny Llama."""

    def write(name: str, tokenizer: PreTrainedTokenizerFast | None = None, **changes: Any) -> Path:
        torch.manual_seed(0)
        return save(name, LlamaForCausalLM(LlamaConfig(**{**SIZES, **changes})).float(), tokenizer)

    return write


def byte_tokenizer(extra: tuple[str, ...] = (), template: str = TEMPLATE) -> PreTrainedTokenizerFast:
    """Byte-level, 320 ids; 256 is <|end|>, the end of an answer."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    names = letters + SPECIAL + [f"w{i}" for i in range(61)]
    core = Tokenizer(models.BPE(vocab={name: i for i, name in enumerate(names)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(SPECIAL)
    made = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<|end|>", pad_token="<|pad|>")
    if extra:
        made.add_special_tokens({"additional_special_tokens": list(extra)})
    made.chat_template = template
    return made


os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
