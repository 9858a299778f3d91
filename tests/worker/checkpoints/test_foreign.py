"""Quantized folders as other programs wrote them: made by renaming and rewriting ours, loaded as they are."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.checkpoints import export
from engine.config.profile import Profile
from engine.config.profiles import of_model
from engine.errors import InputError, LoadError
from engine.protocol.loading import Staged
from engine.worker.load import LoadedModel, load
from engine.worker.quantize import ensure
from engine.worker.step.cpu import compile

pytest.importorskip("gptqmodel")

CALIBRATION = "calibration: {samples: 2, length: 64}"
TINY = "{model: {source: 'random:tiny', device: cpu}, quantization: {%s}}"
AUTO_GPTQ = {
    "bits": 4,
    "group_size": 64,
    "damp_percent": 0.01,
    "desc_act": False,
    "static_groups": False,
    "sym": True,
    "true_sequential": True,
    "model_name_or_path": None,
    "model_file_base_name": "gptq_model-4bit-64g",
    "is_marlin_format": False,
}
AUTO_AWQ = {"zero_point": True, "q_group_size": 64, "w_bit": 4, "version": "GEMM"}


def ignore(_: Staged) -> None:
    """Progress that nobody reads."""


@pytest.fixture(scope="module", autouse=True)
def own_home(
    tmp_path_factory: pytest.TempPathFactory, lend_compiled: Callable[[Path], None]
) -> Iterator[Path]:
    """A store of this module's own, shared by its tests."""
    home = tmp_path_factory.mktemp("home")
    lend_compiled(home)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QUANTDUEL_HOME", str(home))
        yield home


@pytest.fixture
def copied(make_profile: Callable[..., Profile], tmp_path: Path) -> Callable[..., Path]:
    """A user's folder with the tiny model quantized by a method, and only the files such programs write."""

    def copy(options: str) -> Path:
        made = ensure.ensure(make_profile("tiny", TINY % options), ignore)
        kept = shutil.ignore_patterns("quantduel.json", "quant*_config.json", "quant_log.csv")
        return Path(shutil.copytree(made.path, tmp_path / "copy", ignore=kept))

    return copy


def change_config(folder: Path, quantization: dict[str, Any] | None) -> None:
    file = folder / "config.json"
    config = json.loads(file.read_text())
    config.pop("quantization_config", None)
    file.write_text(json.dumps(config | ({"quantization_config": quantization} if quantization else {})))


def content(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def loaded(folder: Path) -> LoadedModel:
    before = content(folder)
    found = load(of_model(str(folder)), 2, ignore)
    assert content(folder) == before  # nothing is written into the user's folder
    return found


def prediction(found: LoadedModel) -> torch.Tensor:
    with torch.inference_mode():
        return found.model(torch.arange(40, 60)[None]).logits[0, -1].float()


def expected(make_profile: Callable[..., Profile], options: str) -> torch.Tensor:
    return prediction(load(make_profile("tiny", TINY % options), 2, ignore))


def in_use(kernel: str) -> str:
    """The kernel that 4-bit layers come to which are loaded with this one."""
    return "Int4Linear" if compile.has_vectors() else kernel


GPTQ = f"method: gptq, group_size: 64, {CALIBRATION}"
AWQ = f"method: awq, group_size: 64, {CALIBRATION}"


@pytest.mark.parametrize("is_in_config", [True, False], ids=["0.5 and later", "before"])
def test_a_folder_of_autogptq(
    copied: Callable[..., Path], make_profile: Callable[..., Profile], is_in_config: bool
) -> None:
    folder = copied(GPTQ)
    change_config(folder, AUTO_GPTQ | {"quant_method": "gptq"} if is_in_config else None)
    (folder / "quantize_config.json").write_text(json.dumps(AUTO_GPTQ))
    (folder / "model.safetensors").rename(folder / "gptq_model-4bit-64g.safetensors")
    found = loaded(folder)
    assert (found.info.label, found.info.kernel) == ("gptq4-g64", in_use("TorchAtenLinear"))
    assert torch.equal(prediction(found), expected(make_profile, GPTQ))


@pytest.mark.parametrize("is_in_config", [True, False], ids=["with", "without transformers' own config"])
def test_a_folder_of_autoawq(
    copied: Callable[..., Path], make_profile: Callable[..., Profile], is_in_config: bool
) -> None:
    folder = copied(AWQ)
    own = {"quant_method": "awq", "bits": 4, "group_size": 64, "zero_point": True, "version": "gemm"}
    change_config(folder, own | {"modules_to_not_convert": None} if is_in_config else None)
    (folder / "quant_config.json").write_text(json.dumps(AUTO_AWQ))
    found = loaded(folder)
    assert (found.info.label, found.info.kernel) == ("awq4-g64", in_use("TorchAtenAwqLinear"))
    assert torch.equal(prediction(found), expected(make_profile, AWQ))


def test_weights_packed_for_marlin_alone_are_refused(copied: Callable[..., Path]) -> None:
    folder = copied(GPTQ)
    change_config(folder, AUTO_GPTQ | {"quant_method": "gptq", "is_marlin_format": True})
    with pytest.raises(LoadError, match="packed for the Marlin kernel only"):
        loaded(folder)


def test_our_own_folder_is_loaded_by_its_path_and_keeps_its_name(
    make_profile: Callable[..., Profile], tmp_path: Path
) -> None:
    made = ensure.ensure(make_profile("tiny", TINY % "method: rtn, group_size: 64"), ignore)
    found = loaded(export.export(made.path, tmp_path / "mine"))
    assert (found.info.label, found.info.kernel) == ("rtn4-g64", in_use("TorchAtenLinear"))


@pytest.mark.parametrize("options", ["bits: 4", "bits: 4, quant_type: fp4, double_quant: true", "bits: 8"])
def test_bitsandbytes_is_saved_and_loads_as_it_was(
    make_profile: Callable[..., Profile], options: str
) -> None:
    profile = make_profile("tiny", TINY % f"method: bitsandbytes, {options}")
    made = ensure.ensure(profile, ignore)
    assert ensure.ensure(profile, ignore).cached
    assert made.record.check is not None and 0.9 < made.record.check.ratio < 1.3
    assert any("uint8" in str(t.dtype) or "int8" in str(t.dtype) for t in weights(made.path))
    found = loaded(made.path)
    assert found.info.label == profile.label
    assert torch.equal(prediction(found), prediction(load(profile, 2, ignore)))


def weights(folder: Path) -> list[torch.Tensor]:
    return list(load_file(folder / "model.safetensors").values())


def test_a_method_without_a_checkpoint_is_bad_input(make_profile: Callable[..., Profile]) -> None:
    with pytest.raises(InputError, match="full makes no checkpoint"):
        ensure.ensure(make_profile("tiny", TINY % "method: full"), ignore)


@pytest.mark.parametrize(
    ("lacking", "said"),
    [
        ("model.embed_tokens.weight", r"lacks 1 of the .*: model\.embed_tokens\.weight"),
        ("lm_head.weight", r"lm_head\.weight .it has no output head"),
        ("model.layers.1.mlp.up_proj.qzeros", r"lacks parts of its packed weights: .*up_proj\.qzeros"),
        ("model.layers.1.mlp.up_proj.g_idx", r"lacks parts of its packed weights: .*up_proj\.g_idx"),
    ],
)
def test_a_packed_folder_is_read_as_a_whole(copied: Callable[..., Path], lacking: str, said: str) -> None:
    folder = copied(GPTQ)
    tensors = load_file(folder / "model.safetensors")
    del tensors[lacking]
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(LoadError, match=said):
        loaded(folder)


def test_settings_in_capitals_and_as_text_mean_the_same(
    copied: Callable[..., Path], make_profile: Callable[..., Profile]
) -> None:
    folder = copied(GPTQ)
    change_config(folder, {"quant_method": "GPTQ", "bits": "4", "group_size": "64", "desc_act": "False"})
    found = loaded(folder)
    assert found.info.label == "gptq4-g64"
    assert torch.equal(prediction(found), expected(make_profile, GPTQ))
