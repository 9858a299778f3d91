"""Quantizing tiny models for real: every method, its options, what is kept, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from engine.checkpoints import store
from engine.config.profile import Profile
from engine.config.record import Check, Record
from engine.errors import LoadError
from engine.protocol.loading import Staged
from engine.worker import describe, methods
from engine.worker.checkpoints import identity, placement
from engine.worker.checkpoints.checkpoint import Checkpoint
from engine.worker.checkpoints.placement import Placement
from engine.worker.load import load
from engine.worker.methods import gptqmodel_api, kernels
from engine.worker.quantize import ensure, group_size, heldout
from engine.worker.step.cpu import compile
from engine.worker.texts import sets

pytest.importorskip("gptqmodel")

CPU = torch.device("cpu")
CALIBRATION = "calibration: {samples: 4, length: 64}"
METHODS = {
    "rtn4": "method: rtn, group_size: 64",
    "rtn8": "method: rtn, group_size: 64, bits: 8",
    "rtn3": "method: rtn, group_size: 32, bits: 3, sym: false",
    "rtn4-row": "method: rtn, group_size: -1",
    "gptq4": f"method: gptq, group_size: 64, {CALIBRATION}",
    "gptq4-row": f"method: gptq, group_size: -1, {CALIBRATION}",
    "gptq2-act": f"method: gptq, group_size: 64, bits: 2, desc_act: true, {CALIBRATION}",
    "awq4": f"method: awq, group_size: 64, {CALIBRATION}",
}
KERNELS = {
    "rtn4": "TorchAtenLinear",
    "rtn8": "TorchInt8Linear",
    "rtn3": "TorchLinear",
    "rtn4-row": "TorchFusedLinear",
    "gptq4": "TorchAtenLinear",
    "gptq4-row": "TorchFusedLinear",
    "gptq2-act": "TorchInt8Linear",
    "awq4": "TorchAtenAwqLinear",
}
KERNEL_NOTES = {
    "TorchLinear": "every weight is unpacked for every matmul",
    "TorchInt8Linear": "rounded once more, to 8 bits and one scale a row",
}


@pytest.fixture(autouse=True, scope="module")
def own_home(tmp_path_factory: pytest.TempPathFactory, lend_compiled: Callable[[Path], None]) -> Path:
    """A store of this module's own, shared by its tests."""
    home = tmp_path_factory.mktemp("home")
    lend_compiled(home)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QUANTDUEL_HOME", str(home))
        yield home


@pytest.fixture
def tiny(make_profile: Callable[..., Profile]) -> Callable[[str], Profile]:
    """The tiny model of random weights with a method."""

    def make(options: str) -> Profile:
        text = f"{{model: {{source: 'random:tiny', device: cpu}}, quantization: {{{options}}}}}"
        return make_profile("tiny", text)

    return make


def ignore(_: Staged) -> None:
    """Progress that nobody reads."""


def greedy(model: PreTrainedModel) -> list[int]:
    ids = torch.arange(40, 60)[None]
    out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False)
    return out[0].tolist()


@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_made_once_checked_and_loaded_with_its_kernel(
    name: str, tiny: Callable[[str], Profile]
) -> None:
    profile = tiny(METHODS[name])
    made = ensure.ensure(profile, ignore)
    assert not made.cached and ensure.ensure(profile, ignore).cached
    check = made.record.check
    assert check is not None and 0.9 < check.ratio < 1.3
    assert len(made.record.errors) >= 12 and all(error.loss >= 0 for error in made.record.errors)
    assert made.record.calibration_tokens == (0 if name.startswith("rtn") else 256)

    checkpoint, where = ensure.ready(profile, ignore)
    model = methods.loader(profile.quantization).load(profile.quantization, checkpoint, where)
    assert describe.kernel(model) == KERNELS[name]
    if note := KERNEL_NOTES.get(KERNELS[name]):
        assert note in gptqmodel_api.notes(model)[0]
    assert "not quantized, in bfloat16: model.embed_tokens, lm_head" in checkpoint.notes


def test_the_folder_loads_in_plain_transformers_and_in_gptqmodel_with_the_same_greedy_text(
    tiny: Callable[[str], Profile],
) -> None:
    for name in ("rtn4", "gptq4", "awq4"):
        path = ensure.ensure(tiny(METHODS[name]), ignore).path
        ours = gptqmodel_api.load_quantized(Checkpoint("demo", path, "folder"), BF16)
        theirs = AutoModelForCausalLM.from_pretrained(path, dtype=torch.bfloat16, device_map={"": "cpu"})
        automatic = gptqmodel_api.package().GPTQModel.load(str(path), device="cpu", dtype=torch.bfloat16)
        assert greedy(ours) == greedy(theirs) == greedy(automatic.model)


BF16 = Placement(CPU, torch.bfloat16, {"device_map": {"": "cpu"}})


def test_what_lies_in_the_store_is_a_standard_checkpoint(tiny: Callable[[str], Profile]) -> None:
    path = ensure.ensure(tiny(METHODS["gptq4"]), ignore).path
    names = {file.name for file in path.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "generation_config.json"} <= names
    assert not {"progress.json", "source", "logs"} & names
    assert "do_sample" not in json.loads((path / "generation_config.json").read_text())
    stored = json.loads((path / "config.json").read_text())["quantization_config"]
    assert (stored["quant_method"], stored["bits"], stored["group_size"]) == ("gptq", 4, 64)


def test_int4_layers_packed_as_one_answer_as_gptqmodels_own(tiny: Callable[[str], Profile]) -> None:
    wanted, ids = tiny(METHODS["rtn4"]), torch.arange(1, 9)[None]
    plain, packed = (load(wanted, 1, ignore, native_step=packs) for packs in (False, True))
    assert plain.info.kernel == KERNELS["rtn4"]
    assert packed.info.kernel == ("Int4Linear" if compile.has_vectors() else KERNELS["rtn4"])
    assert not any(type(module).__name__ == KERNELS["rtn4"] for module in packed.model.modules())
    assert packed.info.parameters == plain.info.parameters
    assert packed.info.weights.linear_bytes < plain.info.weights.linear_bytes  # nothing is held twice
    with torch.inference_mode():
        ours, theirs = packed.model(ids).logits, plain.model(ids).logits
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0.02)


def test_rtn_and_gptq_are_stored_alike(tiny: Callable[[str], Profile]) -> None:
    sizes = [
        (ensure.ensure(tiny(METHODS[name]), ignore).path / "model.safetensors").stat().st_size
        for name in ("rtn4", "gptq4")
    ]
    assert abs(sizes[0] - sizes[1]) < 1000  # headers


def test_nothing_is_written_where_the_user_is(
    tiny: Callable[[str], Profile], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    ensure.ensure(tiny("method: rtn, group_size: 32"), ignore)
    assert not list(here.iterdir())


@pytest.mark.parametrize(
    ("damaged", "said"),
    [(lambda all: all[:-64] + bytes(64), "is damaged"), (lambda all: all[:-64], "complete")],
)
def test_a_checkpoint_that_is_not_as_it_was_made_is_not_loaded(
    damaged: Callable[[bytes], bytes], said: str, tiny: Callable[[str], Profile]
) -> None:
    profile = tiny("method: rtn, group_size: 32")
    weights = ensure.ensure(profile, ignore).path / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(damaged(whole))
    with pytest.raises(LoadError, match=said) as caught:
        ensure.ready(profile, ignore)
    assert "--force` makes it again" in caught.value.hint
    weights.write_bytes(whole)
    ensure.ready(profile, ignore)


def test_progress_counts_layers_and_ends_with_the_last(tiny: Callable[[str], Profile]) -> None:
    told: list[Staged] = []
    ensure.ensure(tiny(METHODS["gptq4"]), told.append, force=True)
    layers = [staged for staged in told if staged.unit == "layers"]
    assert [staged.done for staged in layers] == sorted(staged.done for staged in layers)
    assert layers[0].done == 0 and layers[-1].done == layers[-1].total == 2
    assert layers[-1].peak_bytes and layers[-1].step == "quantize layers"


def test_a_group_size_that_does_not_divide_is_told_before_anything_is_fetched(
    make_profile: Callable[..., Profile], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ensure, "fetch", lambda *_: pytest.fail("it was fetched"))
    profile = make_profile("p", "{model: {source: demo}, quantization: {method: rtn, group_size: 128}}")
    with pytest.raises(
        LoadError, match="128 does not divide the layers of demo, which have 576 inputs"
    ) as caught:
        ensure.ensure(profile, ignore)
    assert caught.value.hint == "these do: 64, 32, 16, -1 (-1 is one group per row)"


def test_what_is_in_the_store_needs_no_source(
    make_profile: Callable[..., Profile], monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = make_profile("p", "{model: {source: demo}, quantization: {method: rtn, group_size: 64}}")
    recipe = ensure._Wanted(profile, ignore).recipe(identity.identity(profile, NOWHERE, ignore))
    check = Check(text="", tokens=1, source_perplexity=1.0, perplexity=1.0)
    record = Record(
        recipe=recipe, profile="p", created="", seconds=0, total_seconds=0, peak_bytes=0, check=check
    )
    with store.building(recipe, lambda _: None) as build:
        assert build is not None
        path = build.publish(record)
    monkeypatch.setattr(ensure, "fetch", lambda *_: pytest.fail("the source was fetched"))
    made = ensure.ensure(profile, ignore)
    assert made.cached and made.path == path
    checkpoint, _ = ensure.ready(profile, ignore)
    assert (checkpoint.name, checkpoint.path) == ("demo", path)


@pytest.mark.parametrize(
    "options", ["method: rtn, bits: 8, group_size: 32", "method: gptq, bits: 8, group_size: 32"]
)
def test_a_load_that_quantizes_finds_each_fact_once(
    options: str, tiny: Callable[[str], Profile], monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[str] = []

    def counted(module: object, name: str) -> None:
        real = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *given: (found.append(name), real(*given))[1])

    counted(placement, "_device")
    counted(group_size, "linear_widths")
    counted(sets, "sha256")
    counted(ensure, "fetch")
    load(tiny(options), 1, ignore)
    assert sorted(set(found)) == sorted(found)
    assert {"_device", "linear_widths", "fetch"} <= set(found)


NOWHERE = Checkpoint("demo", Path("/nowhere"), "folder")


def test_a_broken_result_is_refused_with_its_figures_and_not_kept(
    tiny: Callable[[str], Profile], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heldout, "BROKEN_RATIO", 0.5)  # twice as good as the source would be needed
    before = store.entries()
    with pytest.raises(LoadError, match=r"the result of .* is broken: perplexity \d+.*the source's is \d+"):
        ensure.ensure(tiny("method: rtn, group_size: 16"), ignore)
    assert store.entries() == before and not list(store.folder().glob("*.building"))


def test_one_short_sentence_calibrates_with_a_warning(tiny: Callable[[str], Profile]) -> None:
    options = "method: gptq, group_size: 64, calibration: {dataset: [Hello.]}"
    record = ensure.ensure(tiny(options), ignore).record
    assert 0 < record.calibration_tokens < 11  # fewer than GPTQModel would take by itself
    assert any("the result may fit this text and do worse on others" in note for note in record.notes)


@pytest.mark.parametrize(
    ("layout", "dtype", "backend"),
    [
        (kernels.Layout("gptq", 4, 64), torch.bfloat16, "gptq_torch_aten"),
        (kernels.Layout("gptq", 4, 64), torch.float32, "gptq_torch_fused"),
        (kernels.Layout("gptq", 8, 64), torch.bfloat16, "gptq_torch_int8"),
        (
            kernels.Layout("gptq", 4, 16),
            torch.bfloat16,
            "gptq_torch_int8",
        ),  # ATen's product refuses groups of 16
        (kernels.Layout("awq", 4, 64), torch.float16, "awq_torch_aten"),
        (kernels.Layout("awq", 4, -1), torch.bfloat16, "awq_torch_fused"),
    ],
)
def test_the_kernel_is_chosen_by_layout_and_dtype(
    layout: kernels.Layout, dtype: torch.dtype, backend: str
) -> None:
    chosen = kernels.choose(layout, CPU, dtype)
    assert chosen.backend == backend
    is_rounded = any("rounded once more" in note for note in chosen.notes)
    assert is_rounded == backend.endswith("int8")


@pytest.mark.parametrize("options", ["bits: 4", "bits: 4, quant_type: fp4, double_quant: true", "bits: 8"])
def test_what_bitsandbytes_made_is_read_from_the_store_and_says_the_same(
    options: str, tiny: Callable[[str], Profile]
) -> None:
    wanted = tiny(f"method: bitsandbytes, {options}")
    fresh = load(wanted, 2, ignore, native_step=False)
    assert ensure.kept(wanted, ignore) is None
    made = ensure.ensure(wanted, ignore)
    stored = load(wanted, 2, ignore, native_step=False)
    notes = set(made.record.notes)
    assert notes <= set(stored.info.notes) and not notes <= set(fresh.info.notes)
    assert (stored.info.label, stored.info.kernel) == (fresh.info.label, fresh.info.kernel)
    assert stored.info.weights == fresh.info.weights
    assert greedy(stored.model) == greedy(fresh.model)
    assert load(wanted, 2, ignore).info.step == "compiled" or not compile.has_vectors()
