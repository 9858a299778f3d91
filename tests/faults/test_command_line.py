"""What used to go wrong without a word, asked of the real command as its user would: `make faults`.

Each has a smaller twin in the suite, next to the code that it is about.
"""

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    FalconConfig,
    FalconForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    MptConfig,
    MptForCausalLM,
)

from .conftest import SIZES, Command, Done, Saver, byte_tokenizer

pytestmark = pytest.mark.faults


def asked(quantduel: Command, folder: Path, *options: str, prompt: str = "Hello", tokens: int = 8) -> Done:
    """The same folder on both sides."""
    return quantduel(
        "duel", folder, folder, "-p", prompt, "--json", "--max-new-tokens", str(tokens), *options
    )


def first_side(done: Done) -> dict[str, Any]:
    side: dict[str, Any] = json.loads(done.out)["sides"][0]
    return side


def without_tensor(folder: Path, name: str) -> Path:
    file = folder / "model.safetensors"
    save_file({n: t for n, t in load_file(file).items() if n != name}, file, metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize("name", ["model.layers.1.mlp.down_proj.weight", "lm_head.weight"])
def test_a_missing_tensor_is_never_made_up(llama: Saver, quantduel: Command, name: str) -> None:
    done = asked(quantduel, without_tensor(llama("lacks"), name))
    assert done.code == 3 and done.is_clear and name.split(".")[-2] in done.err


def test_an_adapter_next_to_pickles_is_no_model(llama: Saver, quantduel: Command) -> None:
    folder = llama("pickled")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    save_file({"base_model.model.lora_A.weight": torch.zeros(1)}, folder / "adapter_model.safetensors")
    done = asked(quantduel, folder)
    assert done.code == 3 and done.is_clear


def test_a_state_space_model_answers_or_is_refused_at_load(save: Saver, quantduel: Command) -> None:
    torch.manual_seed(0)
    sizes = {key: SIZES[key] for key in ("vocab_size", "hidden_size", "num_hidden_layers", "eos_token_id")}
    folder = save("mamba", MambaForCausalLM(MambaConfig(**sizes, bos_token_id=None, pad_token_id=258)))
    done = quantduel("chat", folder, "--max-new-tokens", "4", stdin="Hello")
    assert done.code == 0 or (done.code == 3 and done.is_clear and "get_seq_length" not in done.err)


def test_an_encoder_decoder_is_refused(save: Saver, quantduel: Command) -> None:
    config = BartConfig(
        vocab_size=320,
        d_model=32,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        max_position_embeddings=128,
    )
    done = quantduel("chat", save("bart", BartForConditionalGeneration(config)), stdin="The tower")
    assert done.code == 3 and done.is_clear and "encoder" in done.err


def test_bytes_that_are_no_utf8_are_one_line(llama: Saver, quantduel: Command) -> None:
    folder = llama("plain")
    for done in (
        quantduel("chat", folder, "--max-new-tokens", "2", stdin=b"caf\xe9 au lait"),
        quantduel("prompt", folder, "-p", "-", stdin=b"caf\xe9"),
        asked(quantduel, folder, prompt=os.fsdecode(b"caf\xe9")),
    ):
        assert done.code == 2 and done.is_clear


@pytest.mark.parametrize(
    ("name", "content", "prompts"),
    [
        ("bom.txt", b"\xef\xbb\xbfHello\r\nWorld\r\n", ["Hello", "World"]),
        ("bom.jsonl", b'\xef\xbb\xbf{"prompt": "Hello"}\r\n', ["Hello"]),
        ("bom-json.txt", b'\xef\xbb\xbf{"prompt": "Hello"}\n', ["Hello"]),
        ("separator.jsonl", '{"prompt": "one\u2028two"}\n'.encode(), ["one\u2028two"]),
    ],
)
def test_a_prompt_file_is_read_as_it_is_meant(
    quantduel: Command, tmp_path: Path, name: str, content: bytes, prompts: list[str]
) -> None:
    (tmp_path / name).write_bytes(content)
    tiny = ["random:tiny", "random:tiny", "--json", "--max-new-tokens", "1"]
    done = quantduel("duel", *tiny, "--prompt-file", tmp_path / name)
    assert [turn["prompt"] for turn in json.loads(done.out)] == prompts


def _config(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        file = folder / "config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))

    return change


def _header(text: bytes) -> Callable[[Path], None]:
    content = len(text).to_bytes(8, "little") + text + bytes(8)
    return lambda folder: (folder / "model.safetensors").write_bytes(content) and None


def _file(name: str, text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(text) and None


def test_damaged_headers_are_one_line_each(llama: Saver, quantduel: Command, tmp_path: Path) -> None:
    good = llama("good")
    gptq = {"quant_method": "gptq", "bits": 4.0, "group_size": 128}
    for number, damage in enumerate(
        (
            _file("model.safetensors.index.json", '{"metadata": {}, "weight_map": {'),
            _file("model.safetensors.index.json", '{"metadata": {}}'),
            _file("config.json", "[]"),
            _config(num_attention_heads=0),
            _header(b"[]"),
            _header(b'{"a":{"dtype":"F32","shape":[1]}}'),
            _config(quantization_config=gptq),
            _config(model_type="mistral", sliding_window=16, max_window_layers=None),
        )
    ):
        folder = tmp_path / str(number)
        shutil.copytree(good, folder)
        damage(folder)
        done = quantduel("plan", folder)
        assert done.is_clear and done.code in {0, 3}, (number, done)


def test_two_copies_of_the_weights_are_planned_once(llama: Saver, quantduel: Command) -> None:
    folder = llama("plain")
    once = quantduel("plan", folder).out
    shutil.copy(folder / "model.safetensors", folder / "consolidated.safetensors")
    assert re.findall(r"^Weights.*", quantduel("plan", folder).out, re.M) == re.findall(
        r"^Weights.*", once, re.M
    )


def test_float64_answers_or_is_refused_at_load(save: Saver, quantduel: Command) -> None:
    torch.manual_seed(0)
    folder = save("double", LlamaForCausalLM(LlamaConfig(**SIZES)).double())
    done = quantduel("chat", folder, "--max-new-tokens", "4", stdin="Hello")
    assert done.code in {0, 3} and done.is_clear


def test_a_template_over_content_parts_is_given_the_prompt(llama: Saver, quantduel: Command) -> None:
    template = (
        "{% for m in messages %}<|start|>{{ m.role }}:{% for p in m.content %}{% if p.type == 'text' %}"
        "{{ p.text }}{% endif %}{% endfor %}<|end|>{% endfor %}<|start|>assistant:"
    )
    done = asked(
        quantduel,
        llama("parts", byte_tokenizer(template=template)),
        "--show-prompt",
        prompt="Where is the tower?",
    )
    assert "Where is the tower?" in first_side(done)["rendered_prompt"]


def test_the_window_of_a_scaled_rotation_is_the_scaled_one(llama: Saver, quantduel: Command) -> None:
    folder = llama("long", max_position_embeddings=64)
    file = folder / "config.json"
    config = json.loads(file.read_text())
    config.pop("rope_parameters", None)
    scaling = {"type": "linear", "factor": 4.0}
    file.write_text(
        json.dumps({**config, "rope_theta": 1e4, "rope_scaling": scaling, "max_sequence_length": 256})
    )
    assert quantduel("chat", folder, "--max-new-tokens", "2", stdin="word " * 20).code == 0


def test_a_window_under_another_name_is_seen(save: Saver, quantduel: Command) -> None:
    torch.manual_seed(0)
    config = MptConfig(vocab_size=320, d_model=64, n_layers=2, n_heads=4, max_seq_len=64, eos_token_id=256)
    folder = save("mpt", MptForCausalLM(config).float())
    done = quantduel("chat", folder, "--max-new-tokens", "2", stdin="word " * 40)
    assert "none are left" in done.err and quantduel("plan", folder).code == 0


def test_the_cache_of_a_multi_query_model_is_planned_as_it_is(save: Saver, quantduel: Command) -> None:
    torch.manual_seed(0)
    names = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "eos_token_id")
    sizes = {key: SIZES[key] for key in (*names, "max_position_embeddings", "bos_token_id")}
    folder = save("falcon", FalconForCausalLM(FalconConfig(**sizes, multi_query=True)).float())
    done = quantduel("plan", folder, "--check", "--context", "128")
    assert done.code == 0 and "exact" in done.out and "+300.0 %" not in done.out


def test_content_parts_are_scored_as_their_text(quantduel: Command, tmp_path: Path) -> None:
    text = "A line about rivers and stones. " * 40
    parts = {"messages": [{"role": "user", "content": [{"type": "text", "text": text}]}]}
    perplexities = []
    for number, line in enumerate((parts, {"text": text})):
        file = tmp_path / f"{number}.jsonl"
        file.write_text(json.dumps(line))
        short = ["--window", "32", "--tokens", "96", "--format", "json"]
        done = quantduel("eval", "random:tiny", "random:tiny", "--text", file, *short)
        perplexities.append(re.findall(r'"perplexity": ([0-9.]+)', done.out))
    assert perplexities[0] and perplexities[0] == perplexities[1]


def test_a_temperature_near_zero_is_greedy(llama: Saver, quantduel: Command) -> None:
    folder = llama("plain")
    greedy, tiny = (
        first_side(asked(quantduel, folder, "--set", f"temperature={heat}"))["token_ids"]
        for heat in ("0", "1e-45")
    )
    assert greedy == tiny


def test_a_token_without_an_embedding_is_named(llama: Saver, quantduel: Command) -> None:
    folder = llama("added", byte_tokenizer(extra=("<|tool|>",)))
    done = quantduel("chat", folder, "--max-new-tokens", "2", stdin="use <|tool|> now")
    assert done.code != 0 and done.is_clear and "IndexError" not in done.err and "<|tool|>" in done.err


def gguf_file(file: Path, architecture: str, *, with_tensor: bool) -> Path:
    writer = gguf.GGUFWriter(str(file), architecture)
    writer.add_block_count(1)
    writer.add_context_length(256)
    writer.add_embedding_length(64)
    writer.add_feed_forward_length(128)
    writer.add_head_count(4)
    writer.add_vocab_size(320)
    if with_tensor:
        writer.add_tensor("token_embd.weight", np.zeros((320, 64), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def test_gguf_files_that_are_no_models_are_called_what_they_are(quantduel: Command, tmp_path: Path) -> None:
    unknown = gguf_file(tmp_path / "MODEL.GGUF", "foobar", with_tensor=True)
    done = quantduel("chat", unknown, stdin="hi")
    assert done.code == 3 and done.is_clear and "foobar" in done.err and "tokenizer" not in done.err
    empty = gguf_file(tmp_path / "vocab.gguf", "llama", with_tensor=False)
    for done in (quantduel("plan", empty), quantduel("chat", empty, stdin="hi")):
        assert done.code == 3 and done.is_clear


def test_a_method_in_capitals_is_known(llama: Saver, quantduel: Command) -> None:
    folder = llama("capitals")
    _config(quantization_config={"quant_method": "GPTQ", "bits": 4, "group_size": 32})(folder)
    done = quantduel("chat", folder, stdin="hi")
    assert done.is_clear and "transformers cannot read" not in done.err


def test_numbers_are_no_text(quantduel: Command, tmp_path: Path) -> None:
    file = tmp_path / "numbers.parquet"
    pq.write_table(pa.table({"text": [1, 2, 3]}), file)
    done = quantduel("eval", "random:tiny", "random:tiny", "--text", file, "--window", "32")
    assert done.code == 2 and done.is_clear and "AttributeError" not in done.err
