"""Which files are a folder's weights: what an index may name, and what else is in the folder."""

import json
from pathlib import Path

import pytest

from engine.errors import ShapeError
from engine.shape.weight_files import INDEX, WEIGHTS, is_whole, weight_files

FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


def folder_of(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).write_bytes(b"weights")
    return folder


def write_index(folder: Path, weight_map: object) -> None:
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def names(folder: Path) -> list[str]:
    return [file.name for file in weight_files(folder)]


def test_copies_and_adapters_next_to_the_weights_do_not_count(tmp_path: Path) -> None:
    assert names(tmp_path) == []
    folder_of(tmp_path, "adapter_model.safetensors")
    assert names(tmp_path) == []
    folder_of(tmp_path, WEIGHTS, "consolidated.safetensors", FIRST)
    assert names(tmp_path) == [WEIGHTS]


def test_an_index_says_which_files_belong_together(tmp_path: Path) -> None:
    folder_of(tmp_path, FIRST, SECOND, "consolidated.safetensors")
    write_index(tmp_path, {"b": SECOND, "a": FIRST, "c": FIRST})
    assert names(tmp_path) == [FIRST, SECOND]
    folder_of(tmp_path, WEIGHTS)
    assert names(tmp_path) == [WEIGHTS], "transformers prefers the one file"


def test_files_under_a_quantizer_s_name_are_weights(tmp_path: Path) -> None:
    folder_of(tmp_path, "gptq_model-4bit-128g.safetensors")
    assert names(tmp_path) == ["gptq_model-4bit-128g.safetensors"]


def test_links_as_the_hub_s_cache_has_them_are_followed(tmp_path: Path) -> None:
    blob = tmp_path / "blobs" / "0123"
    blob.parent.mkdir()
    blob.write_bytes(b"weights")
    snapshot = tmp_path / "snapshot"
    snapshot.mkdir()
    (snapshot / WEIGHTS).symlink_to(blob)
    assert names(snapshot) == [WEIGHTS]
    blob.unlink()
    with pytest.raises(ShapeError, match=r"lacks 1 of its 1 weight files: model\.safetensors"):
        weight_files(snapshot)


@pytest.mark.parametrize(
    "value",
    [
        "pytorch_model.bin",
        "../model.safetensors",
        "/dev/zero",
        "/tmp/model.safetensors",
        "sub/model.safetensors",
        "..\\model.safetensors",
        "model\0.safetensors",
        "",
        7,
        None,
        ["model.safetensors"],
    ],
)
def test_an_index_leads_nowhere_else(value: object, tmp_path: Path) -> None:
    folder_of(tmp_path, FIRST, "pytorch_model.bin")
    write_index(tmp_path, {"a": FIRST, "b": value})
    with pytest.raises(ShapeError, match=r"not a \*\.safetensors file in its folder"):
        weight_files(tmp_path)
    assert not is_whole(tmp_path)


def test_a_link_to_a_device_is_no_weight_file(tmp_path: Path) -> None:
    (tmp_path / FIRST).symlink_to("/dev/zero")
    write_index(tmp_path, {"a": FIRST})
    with pytest.raises(ShapeError, match="lacks 1 of its 1 weight files"):
        weight_files(tmp_path)


@pytest.mark.parametrize(
    "text", ["", "[]", "7", "{}", '{"weight_map": []}', '{"weight_map": {}}', "[" * 10**5]
)
def test_an_index_that_is_none_is_said_so(text: str, tmp_path: Path) -> None:
    (tmp_path / INDEX).write_text(text)
    with pytest.raises(ShapeError, match=f"{INDEX} is not an index of weights"):
        weight_files(tmp_path)


def test_shards_that_are_missing_are_named(tmp_path: Path) -> None:
    folder_of(tmp_path, FIRST)
    write_index(tmp_path, {"a": FIRST, "b": SECOND})
    with pytest.raises(ShapeError, match=f"lacks 1 of its 2 weight files: {SECOND}"):
        weight_files(tmp_path)


def test_shards_without_an_index_are_no_model(tmp_path: Path) -> None:
    folder_of(tmp_path, FIRST, SECOND)
    with pytest.raises(ShapeError, match=f"and no {INDEX}"):
        weight_files(tmp_path)
