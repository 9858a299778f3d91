"""What of a profile is checked with its files, or needs more than one key."""

import os
from pathlib import Path

import pytest

from engine.config import profiles
from engine.config.profile import MOST_TEMPLATE_BYTES
from engine.config.sources import Folder
from engine.errors import ProfileError

DEMO = "model: {source: demo}\n"


def test_paths_are_relative_to_the_file(here: Path) -> None:
    folder = here / "deep"
    (folder / "weights").mkdir(parents=True)
    (folder / "t.jinja").write_text("x")
    (folder / "p.yaml").write_text("model: {source: ./weights}\nprompt: {template: t.jinja}\n")
    read = profiles.read(Path("deep/p.yaml"))
    assert read.source == Folder(folder / "weights")
    assert read.prompt.template == str(folder / "t.jinja")


def test_text_that_is_no_utf8_is_refused(tmp_path: Path) -> None:
    """A lone surrogate in YAML, and a folder whose name is other bytes."""
    file = tmp_path / "lone.yaml"
    file.write_text('model: {source: "random:tiny"}\nprompt:\n  system: "a \\ud800 b"\n')
    with pytest.raises(ProfileError, match=r"lone.yaml:2: prompt: has text in it that is not UTF-8"):
        profiles.read(file)
    (folder := tmp_path / os.fsdecode(b"caf\xe9")).mkdir()
    with pytest.raises(ProfileError, match="model: has text"):
        profiles.find(str(folder))


def test_a_template_that_is_no_text_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jinja")
    (tmp_path / "latin.jinja").write_bytes(b"caf\xe9")
    (tmp_path / "large.jinja").write_bytes(b" " * (MOST_TEMPLATE_BYTES + 1))
    (file := tmp_path / "own.yaml").write_text(DEMO)
    for name, said in {"pipe": "is a pipe", "latin": "is not UTF-8", "large": "is larger than 1 MiB"}.items():
        file.write_text(DEMO + f"prompt: {{template: {name}.jinja}}\n")
        with pytest.raises(ProfileError, match=rf":2: prompt\.template: {said}.*{name}\.jinja"):
            profiles.read(file)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("model: {source: demo}\ncache: {dtype: fp4}\n", "cache.dtype"),
        ("model: {source: demo}\ncache: {dtype: fp8}\nquantization: {method: llama_cpp}\n", "no FP8 cache"),
        (
            "model: {source: 'http://h:1/v1'}\ncache: {dtype: fp8}\nremote: {engine: vllm}\n",
            "--kv-cache-dtype fp8",
        ),
        ("model: {source: 'http://h:1/v1'}\ncache: {dtype: int8}\n", "-ctk q8_0 -ctv q8_0"),
    ],
)
def test_a_cache_that_a_side_cannot_have_is_refused_in_a_line(text: str, told: str, tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(text)
    with pytest.raises(ProfileError) as refused:
        profiles.read(file)
    assert told in f"{refused.value} {refused.value.hint}" and refused.value.line == 2
