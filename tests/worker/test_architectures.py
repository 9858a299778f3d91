"""Every kind of model writes the greedy tokens of `generate` in float32, or is refused in one line.

Prompts are read in several chunks, and the second turn goes on behind the first one's cache. The
table of all kinds with all methods: `make architectures`.
"""

import json
import shutil
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from msgspec.structs import replace
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

from engine.config.profile import Generation, Model, Profile
from engine.errors import InputError, LoadError
from engine.protocol.runs import BenchRun, Measure
from engine.protocol.scores import Passage, Score
from engine.worker.generate import decode
from engine.worker.generate.prefix_cache import KeptCache
from engine.worker.host import memory
from engine.worker.load import LoadedModel, load
from engine.worker.measure import bench_run
from engine.worker.measure.score import Scorer
from engine.worker.step import native
from engine.worker.step.kv_cache import growing_cache
from engine.worker.step.stepper import Stepper
from tests.worker.architectures import ANSWERED, ODD, REFUSED, VOCABULARY, generated, verdict, write
from tests.worker.llama_like import model_of

FAMILIES = (
    "llama",
    "qwen3_moe",
    "gemma3_text",
    "gpt2",
    "bloom",
    "jamba",
    "lfm2",
    "qwen3_next",
    "deepseek_v3",
)
QUANTIZERS = ("nf4", "int8")


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Checkpoints, each written once."""
    return cache(lambda kind: write(kind, tmp_path_factory.mktemp("kind")))


@pytest.mark.parametrize("kind", ANSWERED | ODD)
def test_greedy_tokens_are_those_of_generate(kind: str, folder_of: Callable[[str], Path]) -> None:
    if "half of a head" in kind and "gptqmodel" in sys.modules:
        pytest.skip("GPTQModel, once imported, keeps transformers from building this kind")
    assert verdict(kind, "full", folder_of(kind)) == "equal"


@pytest.mark.parametrize("method", QUANTIZERS)
@pytest.mark.parametrize("kind", FAMILIES)
def test_quantized_models_answer_as_generate_does_or_not_at_all(
    kind: str, method: str, folder_of: Callable[[str], Path]
) -> None:
    """Quantizers' kernels cannot have every shape on every processor: that is a refusal at load."""
    said = verdict(kind, method, folder_of(kind))
    assert said == "equal" or said.startswith("refused: ")


def test_a_model_that_multiplies_with_a_weight_itself_calls_the_layer_in_fp8(
    folder_of: Callable[[str], Path],
) -> None:
    """Jamba's dt_proj."""
    assert verdict("jamba", "fp8", folder_of("jamba")) == "equal"


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_read_is_refused_by_its_kind(kind: str, folder_of: Callable[[str], Path]) -> None:
    said = verdict(kind, "full", folder_of(kind))
    assert said.startswith(f"refused: is a model of type {kind}, ")
    assert "\n" not in said


STATES = ("jamba", "bamba", "lfm2", "qwen3_next", "gemma3_text", "llama with long rope")
TOKENS = tuple(range(30, 94))


def loaded_of(folder: Path, dtype: str = "float32") -> LoadedModel:
    return load(Profile(model=Model(source=str(folder), dtype=dtype)), 1, lambda staged: None)


@pytest.mark.parametrize("kind", STATES)
def test_scores_do_not_depend_on_chunks_whatever_a_layer_keeps(
    kind: str, folder_of: Callable[[str], Path]
) -> None:
    loaded, scorer = loaded_of(folder_of(kind)), Scorer()
    whole = Passage(token_ids=TOKENS, first=1)
    for passage in (whole, replace(whole, chunk=8), replace(whole, chunk=40)):
        found = scorer.scored(loaded, Score(request=1, passage=passage), lambda: False)
        with torch.inference_mode():
            plain = loaded.model(torch.tensor([TOKENS])).logits[0, :-1].log_softmax(-1)
        expected = plain.gather(1, torch.tensor(TOKENS[1:])[:, None])[:, 0]
        assert found.log_probs == pytest.approx(expected.tolist(), abs=1e-3)


@pytest.mark.parametrize("kind", STATES)
def test_a_passage_goes_on_behind_a_state_as_decoding_does(
    kind: str, folder_of: Callable[[str], Path]
) -> None:
    loaded, scorer = loaded_of(folder_of(kind)), Scorer()
    begun = Passage(token_ids=TOKENS[:-6], first=40)
    scorer.scored(loaded, Score(request=1, passage=begun), lambda: False)
    rest = Passage(token_ids=TOKENS, first=len(TOKENS) - 6, continues=True)
    found = scorer.scored(loaded, Score(request=2, passage=rest), lambda: False)
    stepper = Stepper(loaded.model, growing_cache(loaded.model.config))
    stepper.read(torch.tensor([TOKENS[:-6]]))
    for token, log_prob in zip(TOKENS[-6:], found.log_probs, strict=True):
        assert log_prob == pytest.approx(float(stepper.logits.log_softmax(-1)[0, token]), abs=1e-3)
        stepper.read(torch.tensor([[token]]))


@pytest.mark.parametrize("kind", STATES)
def test_a_benchmark_counts_what_a_state_holds(kind: str, folder_of: Callable[[str], Path]) -> None:
    run = BenchRun(context=16, batch=2, steps=4, depth=8)
    found = bench_run.measured(
        loaded_of(folder_of(kind)), Measure(request=1, run=run), lambda: False, KeptCache()
    )
    assert (found.cached_tokens, len(found.token_ns)) == (27, 4)
    assert found.kv_cache_bytes > 0


def test_states_are_part_of_the_memory(folder_of: Callable[[str], Path]) -> None:
    loaded = loaded_of(folder_of("qwen3_next"))
    cache = growing_cache(loaded.model.config)
    Stepper(loaded.model, cache).read(torch.tensor([TOKENS]))
    linear, attention = cache.layers
    states = linear.conv_states[0].nbytes + linear.recurrent_states[0].nbytes
    assert memory.cache_bytes(cache) == states + attention.key_buffer.nbytes + attention.value_buffer.nbytes


def test_float64_answers_as_generate_does(folder_of: Callable[[str], Path]) -> None:
    loaded = load_double(folder_of("llama"))
    assert loaded.model.dtype == torch.float64 and loaded.info.step == "forward"
    ids = list(TOKENS)
    generation = Generation(max_new_tokens=12)
    steps = decode.generate(loaded, ids, generation, lambda: False, growing_cache(loaded.model.config))
    assert [step.id for step in steps if isinstance(step, decode.Token)] == generated(loaded.model, ids)


def load_double(folder: Path) -> LoadedModel:
    """The same weights, stored in float64."""
    double = folder / "double"
    AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64).save_pretrained(double)
    AutoTokenizer.from_pretrained(folder).save_pretrained(double)
    return loaded_of(double, "auto")


@pytest.mark.parametrize("stored", ["float8_e4m3fn", "int8", "bool"])
def test_numbers_that_nothing_computes_in_are_refused(
    stored: str, folder_of: Callable[[str], Path], tmp_path: Path
) -> None:
    view = shutil.copytree(folder_of("llama"), tmp_path / "odd")
    config = json.loads((view / "config.json").read_text()) | {"dtype": stored}
    (view / "config.json").write_text(json.dumps(config))
    with pytest.raises(LoadError, match=stored):
        loaded_of(view, "auto")


@pytest.mark.parametrize("unknown", [VOCABULARY, 10**9, -1])
def test_a_token_without_a_row_is_named_before_anything_is_read(
    unknown: int, folder_of: Callable[[str], Path]
) -> None:
    loaded = loaded_of(folder_of("llama"))
    ids, cache = [5, unknown, 6], growing_cache(loaded.model.config)
    with pytest.raises(InputError, match=f"{unknown}.* last id is {VOCABULARY - 1}"):
        list(decode.generate(loaded, ids, Generation(), lambda: False, cache))
    passage = Passage(token_ids=tuple(ids), first=1)
    with pytest.raises(InputError, match=f"{unknown}.* last id is {VOCABULARY - 1}"):
        Scorer().scored(loaded, Score(request=1, passage=passage), lambda: False)


def test_a_class_that_only_has_a_known_name_keeps_its_own_step() -> None:
    same_name = type("LlamaForCausalLM", (LlamaForCausalLM,), {})
    assert native.supports(model_of("llama"))
    assert not native.supports(same_name(model_of("llama").config).eval())
