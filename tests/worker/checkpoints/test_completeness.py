"""A checkpoint is read as a whole, or refused with the name of what is missing; the unread is noted."""

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from msgspec.structs import replace
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    BitsAndBytesConfig,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    LlamaModel,
    PreTrainedModel,
)

from engine.checkpoints import views
from engine.config.methods import BitsAndBytes, Full, Gguf, Method, Rtn, Stored
from engine.config.profile import Generation
from engine.config.profiles import of_model
from engine.errors import LoadError
from engine.protocol.loading import Staged
from engine.shape.weight_files import INDEX, WEIGHTS
from engine.worker import failures, methods
from engine.worker.checkpoints import completeness, foreign
from engine.worker.checkpoints.checkpoint import Checkpoint
from engine.worker.checkpoints.fetch import fetch
from engine.worker.checkpoints.placement import Placement
from engine.worker.checkpoints.random_tokenizer import random_tokenizer
from engine.worker.load import load
from tests.worker.gguf_file import write_gguf

BF16 = Placement(torch.device("cpu"), torch.bfloat16, {"device_map": {"": "cpu"}})
READERS = [Full(), Stored(), BitsAndBytes(quant_type="nf4"), BitsAndBytes(bits=8)]
DOWN = "model.layers.1.mlp.down_proj.weight"
Tensors = dict[str, Tensor]


def ignore(_: Staged) -> None:
    """Progress that nobody reads."""


@pytest.fixture
def tiny(tmp_path: Path) -> Callable[..., Path]:
    """Writes a checkpoint of two layers, as a class and with settings of one's choice."""

    def write(kind: type[PreTrainedModel] = LlamaForCausalLM, **settings: Any) -> Path:
        sizes = {"vocab_size": 64, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
        heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
        torch.manual_seed(0)
        folder = tmp_path / "model"
        kind(LlamaConfig(**{**sizes, **heads, **settings})).to(torch.bfloat16).save_pretrained(folder)
        return folder

    return write


def change(folder: Path, *, drop: Iterable[str] = (), **put: Any) -> None:
    """Tensors of the folder dropped, and others put in (in place of dots, names have `__`)."""
    found = load_file(folder / WEIGHTS)
    kept = {name: tensor for name, tensor in found.items() if name not in set(drop)}
    save_file(kept | {name.replace("__", "."): value for name, value in put.items()}, folder / WEIGHTS)


def say(folder: Path, **settings: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))


def shard(folder: Path) -> dict[str, str]:
    """The folder's weights in two files with an index, whose weight_map this is."""
    found = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    weight_map = {}
    for number in range(2):
        file = f"model-{number + 1:05}-of-00002.safetensors"
        part = {name: found[name] for name in sorted(found)[number::2]}
        save_file(part, folder / file)
        weight_map |= dict.fromkeys(part, file)
    write_index(folder, weight_map)
    return weight_map


def write_index(folder: Path, weight_map: dict[str, str]) -> None:
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def read(source: Path, method: Method | None = None) -> PreTrainedModel:
    """What a load does with files, without a tokenizer."""
    method = method or Full()
    with foreign.readable(fetch(of_model(str(source)), ignore)) as checkpoint:
        return methods.loader(method).load(method, checkpoint, BF16)


@pytest.mark.parametrize("method", READERS, ids=lambda method: method.label("bf16"))
def test_a_missing_tensor_is_named_by_every_reader(method: Method, tiny: Callable[..., Path]) -> None:
    folder = tiny()
    change(folder, drop=[DOWN])
    with pytest.raises(LoadError, match=r"lacks 1 of the \d+ tensors of a LlamaForCausalLM: " + DOWN):
        read(folder, method)


@pytest.mark.parametrize("method", READERS, ids=lambda method: method.label("bf16"))
@pytest.mark.parametrize("shape", [(1, 128), (64, 64)])
def test_a_tensor_of_another_shape_is_named_by_every_reader(
    shape: tuple[int, int], method: Method, tiny: Callable[..., Path]
) -> None:
    folder = tiny()
    change(folder, **{DOWN: torch.ones(shape, dtype=torch.bfloat16)})
    with pytest.raises(
        LoadError, match=rf"shape does not match .*down_proj\.weight \({shape[0]}×{shape[1]}, not"
    ):
        read(folder, method)


@pytest.mark.parametrize("kind", [LlamaModel, LlamaForSequenceClassification])
def test_a_model_without_an_output_head_is_refused_unless_it_is_tied(
    kind: type[PreTrainedModel], tiny: Callable[..., Path]
) -> None:
    with pytest.raises(LoadError, match=r"lm_head\.weight.*no output head"):
        read(tiny(kind))
    model = read(tiny(kind, tie_word_embeddings=True))
    assert torch.equal(model.lm_head.weight, model.model.embed_tokens.weight)
    is_read = kind is LlamaModel
    assert completeness.notes(model) == (
        () if is_read else ("tensors of the checkpoint that the model does not use: score.weight",)
    )


def test_tied_weights_may_be_stored_under_either_name_or_both(tiny: Callable[..., Path]) -> None:
    folder = tiny()
    say(folder, tie_word_embeddings=True)
    stored = load_file(folder / WEIGHTS)
    assert torch.equal(read(folder).lm_head.weight, stored["lm_head.weight"]), "stored, and different"
    change(folder, drop=["model.embed_tokens.weight"])
    assert torch.equal(read(folder).model.embed_tokens.weight, stored["lm_head.weight"])
    change(folder, drop=["lm_head.weight"])
    with pytest.raises(LoadError, match=r"lacks 2 of the .*lm_head\.weight, model\.embed_tokens\.weight"):
        read(folder)


def test_tensors_that_nobody_reads_are_noted_and_known_leftovers_are_not(tiny: Callable[..., Path]) -> None:
    folder = tiny()
    change(folder, model__layers__0__self_attn__rotary_emb__inv_freq=torch.ones(8))
    assert not completeness.notes(read(folder))
    change(folder, mystery__weight=torch.ones(3))
    say(folder, num_hidden_layers=1)
    (note,) = completeness.notes(read(folder))
    assert "the model does not use: model.layers.1.input_layernorm.weight" in note and note.endswith("7 more")


def test_more_layers_than_are_stored_are_refused(tiny: Callable[..., Path]) -> None:
    folder = tiny()
    say(folder, num_hidden_layers=3)
    with pytest.raises(LoadError, match=r"lacks 9 of the 30 .*model\.layers\.2\."):
        read(folder)


def test_an_index_that_its_files_do_not_bear_out_is_refused(tiny: Callable[..., Path]) -> None:
    folder = tiny()
    weight_map = shard(folder)
    read(folder)
    write_index(folder, weight_map | {"model.nowhere": "model-00001-of-00002.safetensors"})
    with pytest.raises(LoadError, match=r"do not agree on model\.nowhere in model-00001"):
        read(folder)
    write_index(folder, weight_map)
    second = folder / "model-00002-of-00002.safetensors"
    save_file(load_file(second) | {"lm_head.weight": torch.zeros(64, 64)}, second)
    with pytest.raises(LoadError, match=r"do not agree on lm_head\.weight in model-00001"):
        read(folder)


def test_an_index_without_metadata_is_read(tiny: Callable[..., Path]) -> None:
    folder = tiny()
    (folder / INDEX).write_text(json.dumps({"weight_map": shard(folder)}))
    assert read(folder).num_parameters()


def test_weights_under_another_name_are_read_and_a_config_cannot_lead_elsewhere(
    tiny: Callable[..., Path],
) -> None:
    folder = tiny()
    (folder / WEIGHTS).rename(folder / "anything.safetensors")
    (folder / "sub").mkdir()
    (folder / "sub" / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": {"a": "evil.bin"}}))
    say(folder, transformers_weights=f"sub/{INDEX}")
    model = read(folder)
    stored = load_file(folder / "anything.safetensors")
    assert torch.equal(model.lm_head.weight, stored["lm_head.weight"])


def test_an_adapter_is_not_a_model_and_next_to_one_it_is_ignored(tiny: Callable[..., Path]) -> None:
    folder = tiny()
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "org/other"}))
    with foreign.readable(fetch(of_model(str(folder)), ignore)) as checkpoint:
        assert not (checkpoint.path / "adapter_config.json").exists()
        assert checkpoint.notes == (foreign.UNUSED,)
    (folder / WEIGHTS).rename(folder / "adapter_model.safetensors")
    with pytest.raises(LoadError, match=r"no safetensors weights.*merge it"):
        read(folder)
    (folder / "pytorch_model.bin").touch()
    with pytest.raises(LoadError, match=r"no safetensors weights.*pickles"):
        read(folder)


@pytest.mark.parametrize(
    "spoil", [lambda c: c[:-9], lambda c: c + b"x", lambda c: b"", lambda c: b"\xff" * 99], ids=range(4)
)
def test_a_broken_file_is_named(spoil: Callable[[bytes], bytes], tiny: Callable[..., Path]) -> None:
    file = tiny() / WEIGHTS
    file.write_bytes(spoil(file.read_bytes()))
    with pytest.raises(LoadError, match=f"{file} is not a complete safetensors file"):
        read(file.parent)


@pytest.mark.parametrize("text", ["", "[]", "7", "{", "[" * 10**5, "\xff"])
def test_a_config_that_is_none_is_named(text: str, tiny: Callable[..., Path]) -> None:
    file = tiny() / "config.json"
    file.write_text(text, encoding="latin-1")
    with pytest.raises(LoadError, match=str(file)):
        read(file.parent)


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"load_in_8bit": True}, "SCB"),
        ({"load_in_4bit": True}, "weight.absmax"),
        ({"load_in_4bit": True, "bnb_4bit_use_double_quant": True}, "weight.nested_absmax"),
    ],
)
def test_packed_weights_without_their_scales_are_refused(
    options: dict[str, Any], part: str, tiny: Callable[..., Path], tmp_path: Path
) -> None:
    source = Checkpoint("source", tiny(), "folder")
    stored = tmp_path / "stored"
    source.model(BF16, BitsAndBytesConfig(**options)).save_pretrained(stored)
    read(stored, Stored())
    lacking = DOWN.replace("weight", part)
    change(stored, drop=[lacking])
    with pytest.raises(LoadError, match=f"lacks parts of its packed weights: {lacking}"):
        read(stored, Stored())


@pytest.mark.parametrize("method", ["bitsandbytes", "GPTQ", "awq"])
def test_plain_weights_are_not_what_their_config_says(method: str, tiny: Callable[..., Path]) -> None:
    folder = tiny()
    say(folder, quantization_config={"quant_method": method, "load_in_4bit": True, "bits": 4})
    with pytest.raises(LoadError, match=f"quantized with {method.lower()}, but its weights are not"):
        read(folder, Stored())


def test_a_quantizer_s_source_is_read_as_a_whole(tiny: Callable[..., Path]) -> None:
    gptqmodel_run = pytest.importorskip("engine.worker.quantize.gptqmodel_run")
    pytest.importorskip("gptqmodel")
    folder = tiny(vocab_size=512)
    random_tokenizer(512, 256).save_pretrained(folder)
    change(folder, drop=[DOWN])
    with pytest.raises(LoadError, match=f"source lacks 1 of the 21 .*{DOWN}"):
        gptqmodel_run.source(Checkpoint("source", folder, "folder"), Rtn(), BF16)


def test_the_note_reaches_the_user(parrot: Callable[..., Path]) -> None:
    folder = parrot("a", "b")
    change(folder, mystery__weight=torch.ones(3))
    profile = of_model(str(folder))
    found = load(profile, 1, ignore)
    assert found.info.notes == ("tensors of the checkpoint that the model does not use: mystery.weight",)


def test_integers_are_no_weights_unless_the_config_says_how(tiny: Callable[..., Path]) -> None:
    folder = tiny()
    change(folder, **{DOWN: torch.ones(64, 128, dtype=torch.int8)})
    with pytest.raises(LoadError, match=r"integer weights .*down_proj\.weight \(I8\)"):
        read(folder)


@pytest.mark.parametrize(
    "file", ["generation_config.json", "tokenizer_config.json", "added_tokens.json", "tokenizer.json"]
)
def test_a_broken_file_next_to_the_weights_is_named(file: str, tiny: Callable[..., Path]) -> None:
    folder = tiny()
    random_tokenizer(64, 256).save_pretrained(folder)
    (folder / file).write_text("{broken")
    with pytest.raises(LoadError, match=rf"{file} cannot be read as JSON"):
        load(of_model(str(folder)), 1, ignore)


def test_what_generate_would_heed_and_the_engine_does_not_is_noted(parrot: Callable[..., Path]) -> None:
    folder = parrot("a", "b")
    asked = {"suppress_tokens": [5], "repetition_penalty": 1.25, "no_repeat_ngram_size": 0, "top_k": 20}
    (folder / "generation_config.json").write_text(json.dumps(asked))
    profile = of_model(str(folder))
    said = "settings of generation_config.json that are ignored: "
    assert load(profile, 1, ignore).info.notes == (f"{said}repetition_penalty 1.25, suppress_tokens [5]",)
    penalized = replace(profile, generation=Generation(repetition_penalty=1.25))
    assert load(penalized, 1, ignore).info.notes == (f"{said}suppress_tokens [5]",)


def test_an_end_that_is_no_token_id_is_refused(parrot: Callable[..., Path]) -> None:
    folder = parrot("a", "b")
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": ["</s>"]}))
    with pytest.raises(LoadError, match="eos_token_id that is not a number: </s>"):
        load(of_model(str(folder)), 1, ignore)


def test_a_weight_that_is_no_number_is_said(parrot: Callable[..., Path]) -> None:
    folder = parrot("a", "b")
    found = load_file(folder / WEIGHTS)
    name = next(name for name in found if name.endswith("norm.weight"))
    found[name][0] = torch.nan
    save_file(found, folder / WEIGHTS)
    with pytest.raises(LoadError, match="computes infinite or NaN logits"):
        load(of_model(str(folder)), 1, ignore)
    found[name][0] = 1
    embedding = next(name for name in found if "embed_tokens" in name)
    found[embedding][-2:] = torch.inf
    save_file(found, folder / WEIGHTS)
    notes = load(of_model(str(folder)), 1, ignore).info.notes
    assert any(note.startswith(f"{embedding} holds infinite or NaN numbers for 2 tokens") for note in notes)


# GGUF


def test_a_gguf_file_is_read_as_a_whole(tmp_path: Path) -> None:
    assert not completeness.notes(read(write_gguf(tmp_path / "MODEL.GGUF"), Gguf()))
    biased = read(write_gguf(tmp_path / "biased.gguf", add="blk.0.attn_q.bias"), Gguf())
    assert completeness.notes(biased) == (
        "tensors of the checkpoint that the model does not use: blk.0.attn_q.bias",
    )
    with pytest.raises(LoadError, match=r"lacks 1 of the 12 .*model\.layers\.0\.mlp\.down_proj\.weight"):
        read(write_gguf(tmp_path / "lacks.gguf", drop="blk.0.ffn_down.weight"), Gguf())
    with pytest.raises(LoadError, match=r"lacks 9 of the 21 .*model\.layers\.1\."):
        read(write_gguf(tmp_path / "short.gguf", said_layers=2), Gguf())


def test_settings_of_a_gguf_file_that_are_not_read_are_noted(tmp_path: Path) -> None:
    said = {
        "rope.freq_base": 10000,
        "attention.head_count_kv": 4,
        "rope.dimension_count": 16,
        "logit_scale": 0,
    }
    plain = write_gguf(tmp_path / "plain.gguf", **{f"llama.{name}": value for name, value in said.items()})
    assert len(load(of_model(str(plain)), 1, ignore).info.notes) == 1  # that it was unpacked
    scaled = {"llama.attention.sliding_window": 8, "llama.rope.scaling.factor": 4}
    file = write_gguf(tmp_path / "scaled.gguf", **scaled, **{"tokenizer.ggml.eot_token_id": 5})
    assert load(of_model(str(file)), 1, ignore).info.notes[1:] == (
        "settings of the file that are ignored: llama.attention.sliding_window 8, "
        "llama.rope.scaling.factor 4, tokenizer.ggml.eot_token_id 5",
    )


def test_a_gguf_file_is_read_alone_whatever_is_next_to_it(tmp_path: Path) -> None:
    random_tokenizer(320, 256).save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text("{broken")
    found = load(of_model(str(write_gguf(tmp_path / "model.gguf"))), 1, ignore)
    assert len(found.tokenizer) == 64


def test_a_part_of_a_gguf_model_is_refused(tmp_path: Path) -> None:
    part = write_gguf(tmp_path / "m-00002-of-00003.gguf", **{"split.no": 1, "split.count": 3})
    with pytest.raises(LoadError, match="is part 2 of a model in 3 GGUF files"):
        read(part, Gguf())


def test_a_gguf_file_of_an_unknown_architecture_lacks_no_tokenizer(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(str(tmp_path / "model.gguf"), "foobar")
    writer.add_tensor("token_embd.weight", np.ones((8, 8), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(LoadError, match="architecture foobar is not supported"):
        Checkpoint("model.gguf", tmp_path / "model.gguf", "gguf").tokenizer()


def test_damaged_metadata_of_a_gguf_file_is_told_with_the_file_and_the_key(tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "model.gguf", **{"tokenizer.ggml.bos_token_id": 64})
    with pytest.raises(LoadError, match=re.escape(f"{file}: tokenizer.ggml.bos_token_id: expected")):
        load(of_model(str(file)), 1, ignore)
    unforeseen = failures.explained(KeyError("llama.x"), of_model(str(file)))
    assert "KeyError: 'llama.x'" in unforeseen.message and "download the file again" in unforeseen.hint


@pytest.mark.parametrize("error", [LoadError, ValueError, FileNotFoundError])
def test_an_error_while_a_view_is_read_names_the_user_s_file(error: type[Exception], tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "model.gguf")
    with (
        pytest.raises(error, match=re.escape(str(tmp_path))) as caught,
        foreign.readable(Checkpoint("model.gguf", file, "gguf")) as view,
    ):
        assert view.path != file
        if error is FileNotFoundError:
            view.path.with_name("gone").read_bytes()
        raise error(f"{view.path} is odd")
    assert views.PREFIX not in str(caught.value)


def test_a_loader_that_tells_nothing_of_what_it_read_is_refused(tmp_path: Path) -> None:
    """So compressed-tensors' experts came as they were made: through a way that nothing watched."""
    with (
        pytest.raises(LoadError, match="nothing tells which tensors of x its loader has read"),
        completeness.required_of_accelerate("x", tmp_path),
    ):
        pass
