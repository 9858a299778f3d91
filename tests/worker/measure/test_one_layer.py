"""One layer of a candidate in the reference's model, through the real command and two real folders."""

import json
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from engine import cli

HURT = 1


@pytest.fixture
def folders(tmp_path: Path, demo_tokenizer: PreTrainedTokenizerBase) -> tuple[Path, Path]:
    """A model, and the same with one layer hurt."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(demo_tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=3,
        num_attention_heads=2,
        tie_word_embeddings=True,
    )
    model, whole, hurt = LlamaForCausalLM(config), tmp_path / "whole", tmp_path / "hurt"
    for folder in (whole, hurt):
        model.save_pretrained(folder)
        demo_tokenizer.save_pretrained(folder)
        with torch.no_grad():
            model.model.layers[HURT].mlp.down_proj.weight.mul_(-3)
    return whole, hurt


def evaluated(tmp_path: Path, *names: str) -> tuple[int, dict]:
    """Exit code and JSON of an eval by layer."""
    out, text = tmp_path / "found.json", tmp_path / "text.txt"
    text.write_text("One two three, and a few more words that a model may read. " * 40)
    args = ["eval", *names, "--text", str(text), "--window", "64", "--tokens", "256", "--no-speed"]
    code = cli.run([*args, "--by-layer", "--out", str(out), "--format", "md"])
    return code, json.loads(out.read_text())


def test_a_single_hurt_layer_is_all_of_the_damage(
    tmp_path: Path, folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    code, document = evaluated(tmp_path, *map(str, folders), "--set", "model.dtype=float32")
    assert code == 0
    (row,) = document["candidates"]
    klds = [layer["kld"]["mean"] for layer in row["layers"]]
    assert [layer["index"] for layer in row["layers"]] == [0, 1, 2]
    assert klds[HURT] == pytest.approx(row["kld"]["mean"], rel=1e-6) and klds[HURT] > 0
    assert klds[0] == klds[2] == 0
    assert row["layers"][HURT]["same_top"] == pytest.approx(row["same_top"])
    shown = capsys.readouterr().out
    assert "one layer alone, the first 8 windows: hurt" in shown and "█" * 24 in shown


@pytest.mark.thorough
def test_what_cannot_stand_in_the_reference_is_a_note_and_the_figures_stay(
    tmp_path: Path, folders: tuple[Path, Path]
) -> None:
    whole, hurt = folders
    other = tmp_path / "other.yaml"
    other.write_text(f"model: {{source: {hurt}, dtype: bfloat16}}")
    code, document = evaluated(tmp_path, str(whole), str(other))
    (row,) = document["candidates"]
    assert code == 0 and row["complete"] and row["kld"]["mean"] > 0 and row["layers"] == []
    assert "layers in bfloat16 cannot stand in a model in float32" in row["notes"][-1]
