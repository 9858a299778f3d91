"""Whether weights are here, to be fetched, or behind a licence."""

from pathlib import Path

import pytest

from engine.config.sources import Demo, Folder, Hub, Random
from engine.shape import availability


def test_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    llama = Hub("meta-llama/Llama-3.1-8B-Instruct")
    assert availability.of(llama, "main") == "gated"
    assert availability.of(Hub("Qwen/Qwen2.5-7B-Instruct"), "main") == "to fetch"
    monkeypatch.setenv("HF_TOKEN", "mine")
    assert availability.of(llama, "main") == "to fetch"
    folder = tmp_path / "models--meta-llama--Llama-3.1-8B-Instruct" / "snapshots" / "main"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    assert availability.of(llama, "main") == "to fetch"
    (folder / "model.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    assert availability.of(llama, "main") == "here"
    assert availability.of(Folder(folder), "main") == "here"
    assert availability.of(Folder(tmp_path / "none"), "main") == "missing"
    assert availability.of(Demo(), "main") == availability.of(Random("tiny"), "main") == "here"
