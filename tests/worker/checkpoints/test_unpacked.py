"""A GGUF file as a source for every method: unpacked once, kept, and said."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from msgspec.structs import replace

from engine.checkpoints import store
from engine.config.methods import BitsAndBytes, Full, Gguf, Method, Rtn
from engine.config.profile import Profile
from engine.config.profiles import of_model
from engine.errors import LoadError, ShapeError
from engine.machine import hardware
from engine.plan.planning import plan
from engine.protocol.loading import Staged
from engine.shape import find
from engine.worker.checkpoints import unpacked
from engine.worker.checkpoints.checkpoint import Checkpoint
from engine.worker.load import LoadedModel, load
from tests.worker.gguf_file import write_gguf


@pytest.fixture(autouse=True, scope="module")
def own_home(tmp_path_factory: pytest.TempPathFactory, lend_compiled: Callable[[Path], None]) -> Path:
    home = tmp_path_factory.mktemp("home")
    lend_compiled(home)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QUANTDUEL_HOME", str(home))
        yield home


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf", rounded=True)


def profile(file: Path, method: Method) -> Profile:
    return replace(of_model(str(file)), quantization=method)


def loaded(file: Path, method: Method, staged: list[Staged] | None = None) -> LoadedModel:
    events = [] if staged is None else staged
    return load(profile(file, method), 1, events.append)


def test_unpacked_weights_are_the_files_own(file: Path) -> None:
    ours, theirs = loaded(file, Full()), loaded(file, Gguf())
    found, expected = ours.model.state_dict(), theirs.model.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert ours.info.tokenizer_sha256 == theirs.info.tokenizer_sha256
    assert ours.info.label == "bf16" and theirs.info.label == "gguf"


def test_it_is_unpacked_once_and_every_side_says_what_it_was(file: Path) -> None:
    loaded(file, Full())
    for method in (BitsAndBytes(), BitsAndBytes(bits=8), Full()):
        staged: list[Staged] = []
        side = loaded(file, method, staged)
        assert side.info.label == method.label("bfloat16")
        assert side.info.notes[0] == (
            "unpacked to bfloat16 from a GGUF file of 8.5 bits a weight: losses are counted from there"
        )
        assert "unpack GGUF" not in {event.step for event in staged}
    assert [entry.record.recipe.method for entry in store.entries()] == [Gguf()]


def test_a_changed_file_is_another_source(tmp_path: Path) -> None:
    file = tmp_path / "tiny.gguf"
    first = unpacked.folder(write_gguf(file, rounded=True), print)
    second = unpacked.folder(write_gguf(file, rounded=True, **{"llama.context_length": 99}), print)
    assert first.path != second.path and second.config.max_position_embeddings == 99
    weights = second.path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-64] + bytes(64))
    with pytest.raises(LoadError, match="is damaged") as damaged:
        unpacked.folder(file, print)
    assert f"store prune {second.path.name}" in damaged.value.hint


def test_a_quantizer_starts_from_it_and_finds_its_checkpoint_again(file: Path) -> None:
    pytest.importorskip("gptqmodel")
    wish = Rtn(group_size=32)
    first = loaded(file, wish)
    assert first.info.label == "rtn4-g32" and "8.5 bits a weight" in first.info.notes[0]
    assert store.made_of(profile(file, wish)) is not None
    staged: list[Staged] = []
    loaded(file, wish, staged)
    assert "quantize" not in {event.stage for event in staged}


def test_a_plan_counts_what_the_method_holds(file: Path) -> None:
    shape = find.of(profile(file, BitsAndBytes()))
    assert shape.packing is None and shape.file_bytes == 2 * shape.parameters
    found = plan(profile(file, BitsAndBytes()), shape, hardware.detect())
    assert "quantized linear layers" in {term.name for term in found.weights}
    assert found.weights_bytes == loaded(file, BitsAndBytes()).info.weights.total_bytes


def test_more_layers_than_any_model_has_are_refused_before_they_are_made(tmp_path: Path) -> None:
    many = write_gguf(tmp_path / "many.gguf", **{"llama.block_count": 2**15})
    (tmp_path / "config.json").write_text('{"model_type": "qwen2", "num_hidden_layers": 2147483648}')
    for place in (Checkpoint("x", many, "gguf"), Checkpoint("x", tmp_path, "folder")):
        with pytest.raises(ShapeError, match="num_hidden_layers: expected a number from 0 to 10000"):
            _ = place.config
