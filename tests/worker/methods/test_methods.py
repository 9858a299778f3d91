"""Each method loads what it says: same random weights, right classes, finite answers, clear refusals."""

import json
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from engine.config.methods import METHODS, BitsAndBytes, Full, Gguf, LlamaCpp, Method, Stored, tag
from engine.config.sources import SHAPES
from engine.errors import LoadError
from engine.worker import methods
from engine.worker.checkpoints.checkpoint import Checkpoint
from engine.worker.checkpoints.placement import Placement
from engine.worker.describe import kernel, logical_parameters
from engine.worker.methods.bitsandbytes import compute_dtype

CPU = torch.device("cpu")
TINY = Checkpoint("random:tiny", SHAPES / "tiny.json", "random")
TINY_PARAMETERS = 2 * 512 * 128 + 2 * (2 * 128 * 128 + 2 * 128 * 64 + 3 * 128 * 256) + 5 * 128
PLACEMENTS = {
    dtype: Placement(CPU, dtype, {"device_map": {"": "cpu"}})
    for dtype in (torch.bfloat16, torch.float16, torch.float32)
}
BF16 = PLACEMENTS[torch.bfloat16]
QUANTIZED = [
    BitsAndBytes(bits=8),
    BitsAndBytes(quant_type="nf4"),
    BitsAndBytes(quant_type="fp4"),
    BitsAndBytes(quant_type="nf4", double_quant=True),
]


def load(method: Method, checkpoint: Checkpoint = TINY, placement: Placement = BF16) -> PreTrainedModel:
    return methods.loader(method).load(method, checkpoint, placement)


def logits(model: PreTrainedModel) -> torch.Tensor:
    with torch.inference_mode():
        return model(torch.arange(8)[None]).logits.float()


def test_every_method_has_a_module_and_every_module_a_method() -> None:
    tags = {method.__struct_config__.tag for method in METHODS} - {tag(LlamaCpp())}  # needs no torch
    shared = {"__init__", "kernels", "precision"}
    files = {file.stem for file in Path(methods.__file__).parent.glob("*.py")} - shared
    assert tags == set(methods.MODULES)
    modules = {*methods.MODULES.values(), *methods.ORIGINALS.values()}
    assert files == {name.rpartition(".")[2] for name in modules}


@pytest.mark.parametrize("method", [method() for method in METHODS if method is not LlamaCpp], ids=tag)
def test_every_module_offers_what_a_loader_is(method: Method) -> None:
    loader = methods.loader(method)
    assert loader.STAGE in {"read", "quantize"}
    assert callable(loader.load)


@pytest.mark.parametrize("dtype", PLACEMENTS)
def test_full_precision_has_the_dtype_it_was_asked_for(dtype: torch.dtype) -> None:
    model = load(Full(), placement=PLACEMENTS[dtype])
    assert {parameter.dtype for parameter in model.parameters()} == {dtype}
    assert logits(model).isfinite().all()
    assert (kernel(model), logical_parameters(model)) == ("Linear", TINY_PARAMETERS)


@pytest.mark.parametrize("method", QUANTIZED, ids=lambda method: method.label(""))
def test_bitsandbytes_quantizes_the_same_weights(method: BitsAndBytes) -> None:
    reference, model = load(Full()), load(method)
    assert kernel(model) == ("Linear8bitLt" if method.bits == 8 else "Linear4bit")
    assert logical_parameters(model) == TINY_PARAMETERS
    assert torch.equal(model.lm_head.weight, reference.lm_head.weight)
    similarity = torch.cosine_similarity(logits(reference), logits(model), dim=-1).mean()
    assert 0.9 < similarity < 1


def test_parameters_are_counted_right_after_the_cpu_repacked_them() -> None:
    model = load(BitsAndBytes())
    logits(model)
    assert logical_parameters(model) == TINY_PARAMETERS


def test_options_reach_bitsandbytes() -> None:
    weight = load(BitsAndBytes(quant_type="fp4", double_quant=True)).model.layers[0].mlp.up_proj.weight
    assert (weight.quant_type, weight.quant_state.nested) == ("fp4", True)
    assert load(BitsAndBytes(bits=8, threshold=0.0)).model.layers[0].mlp.up_proj.state.threshold == 0
    assert load(BitsAndBytes(bits=8)).model.layers[0].mlp.up_proj.state.threshold == 6
    assert load(BitsAndBytes()).model.layers[0].mlp.up_proj.compute_dtype == torch.bfloat16


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_four_bits_are_computed_in_the_models_own_dtype(dtype: torch.dtype) -> None:
    assert compute_dtype(Placement(CPU, dtype)) == dtype
    assert compute_dtype(Placement(CPU, torch.float32)) == torch.bfloat16


@pytest.fixture(scope="module", params=QUANTIZED, ids=lambda method: method.label(""))
def quantized(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Method, Path]:
    """A folder that bitsandbytes wrote."""
    folder = tmp_path_factory.mktemp("quantized")
    load(request.param).save_pretrained(folder)  # before any forward pass, which may repack the weights
    return request.param, folder


def test_a_folder_that_bitsandbytes_wrote_loads_as_stored(quantized: tuple[Method, Path]) -> None:
    method, folder = quantized
    stored = load(Stored(), Checkpoint("folder", folder, "folder"))
    original = load(method)
    assert kernel(stored) == kernel(original)
    torch.testing.assert_close(logits(stored), logits(original), rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("method", [Full(), BitsAndBytes()], ids=tag)
def test_a_quantized_folder_is_refused(method: Method, quantized: tuple[Method, Path]) -> None:
    with pytest.raises(LoadError, match="already quantized, with bitsandbytes") as caught:
        load(method, Checkpoint("folder", quantized[1], "folder"))
    assert "method: stored" in caught.value.hint


@pytest.mark.parametrize("method", [Full(), BitsAndBytes()], ids=tag)
def test_a_gguf_file_is_refused_by_other_methods(method: Method, tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="is a GGUF file") as caught:
        load(method, Checkpoint("x.gguf", tmp_path / "x.gguf", "gguf"))
    assert "method: gguf" in caught.value.hint


def test_gguf_refuses_what_is_no_gguf_file() -> None:
    with pytest.raises(LoadError, match="random:tiny is not a GGUF file"):
        load(Gguf())


def test_stored_full_precision_is_as_stored(tmp_path: Path) -> None:
    model = load(Full())
    model.save_pretrained(tmp_path)
    stored = load(Stored(), Checkpoint("folder", tmp_path, "folder"))
    assert torch.equal(logits(stored), logits(model))


def test_an_unknown_quantization_is_one_clear_line(tmp_path: Path) -> None:
    config = json.loads((SHAPES / "tiny.json").read_text()) | {
        "quantization_config": {"quant_method": "squeeze"}
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(LoadError, match="quantized with squeeze, which transformers cannot read"):
        load(Stored(), Checkpoint("folder", tmp_path, "folder"))
