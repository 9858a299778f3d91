"""Generation against transformers' own `generate`, and how an answer ends."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from transformers import DynamicCache, OPTConfig, OPTForCausalLM

from engine.config import profile, profiles, runtime
from engine.config.methods import BitsAndBytes, Full, Gguf, Method
from engine.config.profile import Model, Profile
from engine.ending import STOP_STRING
from engine.errors import InputError
from engine.protocol.answers import Message
from engine.worker.checkpoints.random_tokenizer import random_tokenizer
from engine.worker.generate import decode, prompt
from engine.worker.load import LoadedModel, load

DEMO_METHODS: dict[str, tuple[Method, str]] = {
    "bf16": (Full(), "bfloat16"),
    "fp32": (Full(), "float32"),
    "int8": (BitsAndBytes(bits=8), "bfloat16"),
    "nf4": (BitsAndBytes(quant_type="nf4"), "bfloat16"),
    "gguf": (Gguf(), "bfloat16"),
}
QUESTION = (Message("user", "What is the capital of France?"),)


@cache
def loaded_demo(name: str) -> LoadedModel:
    method, dtype = DEMO_METHODS[name]
    wanted = Profile(model=Model(source="demo", dtype=dtype), quantization=method)
    return load(wanted, 1, lambda staged: None)


@cache
def loaded_tiny() -> LoadedModel:
    return load(profiles.of_model("random:tiny"), 1, lambda staged: None)


def loaded_folder(folder: Path) -> LoadedModel:
    return load(profiles.of_model(str(folder)), 1, lambda staged: None)


@pytest.fixture
def opt_folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    config = OPTConfig(
        vocab_size=512,
        hidden_size=64,
        ffn_dim=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        word_embed_proj_dim=64,
        max_position_embeddings=256,
    )
    OPTForCausalLM(config).save_pretrained(tmp_path)
    random_tokenizer(512, 256).save_pretrained(tmp_path)
    return tmp_path


def run(
    loaded: LoadedModel,
    ids: list[int],
    cancelled: Callable[[], bool] = lambda: False,
    kv_cache: DynamicCache | None = None,
    **settings: object,
) -> list[decode.Step]:
    kv_cache = DynamicCache(config=loaded.model.config) if kv_cache is None else kv_cache
    generation = profile.Generation(**settings)
    return list(decode.generate(loaded, ids, generation, cancelled, kv_cache))


def tokens(steps: list[decode.Step]) -> list[int]:
    return [step.id for step in steps if isinstance(step, decode.Token)]


def text(steps: list[decode.Step]) -> str:
    return "".join(step.text for step in steps if isinstance(step, decode.Token | decode.End))


def reason(steps: list[decode.Step]) -> str:
    end = steps[-1]
    assert isinstance(end, decode.End)
    return end.reason


def transformers_tokens(loaded: LoadedModel, ids: list[int], **settings: object) -> list[int]:
    """The reference: what `generate` writes behind the prompt."""
    inputs = torch.tensor([ids])
    output = loaded.model.generate(inputs, attention_mask=torch.ones_like(inputs), pad_token_id=0, **settings)
    return output[0, len(ids) :].tolist()


def question(loaded: LoadedModel) -> list[int]:
    return prompt.render(loaded.tokenizer, loaded.profile.prompt, QUESTION)[1]


@pytest.mark.parametrize(
    ("method", "penalty"), [*((name, 1.0) for name in DEMO_METHODS), ("bf16", 1.3), ("nf4", 1.3)]
)
def test_greedy_tokens_of_every_method_are_those_of_transformers(method: str, penalty: float) -> None:
    loaded = loaded_demo(method)
    ids = question(loaded)
    theirs = transformers_tokens(loaded, ids, do_sample=False, max_new_tokens=6, repetition_penalty=penalty)
    assert tokens(run(loaded, ids, max_new_tokens=6, repetition_penalty=penalty)) == theirs


@pytest.mark.parametrize("penalty", [1.0, 1.3])
def test_greedy_tokens_of_a_tiny_llama(penalty: float) -> None:
    loaded, ids = loaded_tiny(), list(range(70, 90))
    theirs = transformers_tokens(loaded, ids, do_sample=False, max_new_tokens=40, repetition_penalty=penalty)
    assert tokens(run(loaded, ids, max_new_tokens=40, repetition_penalty=penalty)) == theirs


@pytest.mark.parametrize("penalty", [1.0, 1.3])
def test_greedy_tokens_of_a_tiny_opt(opt_folder: Path, penalty: float) -> None:
    loaded, ids = loaded_folder(opt_folder), [2, *range(70, 90)]
    theirs = transformers_tokens(loaded, ids, do_sample=False, max_new_tokens=40, repetition_penalty=penalty)
    assert tokens(run(loaded, ids, max_new_tokens=40, repetition_penalty=penalty)) == theirs


def test_sampled_tokens_are_those_of_transformers_with_the_same_seed() -> None:
    loaded, ids = loaded_tiny(), list(range(70, 90))
    settings = {"temperature": 0.9, "top_k": 100, "top_p": 0.95, "min_p": 0.01, "max_new_tokens": 30}
    torch.manual_seed(7)
    theirs = transformers_tokens(loaded, ids, do_sample=True, **settings)
    ours = tokens(run(loaded, ids, seed=7, **settings))
    assert ours == theirs == tokens(run(loaded, ids, seed=7, **settings))
    assert ours != tokens(run(loaded, ids, seed=8, **settings))


def test_a_prompt_in_many_chunks_gives_the_same_answer(
    opt_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded, ids = loaded_folder(opt_folder), [70 + n % 60 for n in range(100)]
    theirs = transformers_tokens(loaded, ids, do_sample=False, max_new_tokens=20)
    monkeypatch.setattr(runtime, "CPU_CHUNK_FLOP", 2 * loaded.info.parameters * 32)
    steps = run(loaded, ids, max_new_tokens=20)
    prefills = [step for step in steps if isinstance(step, decode.Prefill)]
    assert [step.done for step in prefills] == [0, 32, 64, 96, 100]
    assert {step.total for step in prefills} == {100}
    assert tokens(steps) == theirs


def test_a_real_answer_ends_with_its_end_token() -> None:
    loaded = loaded_demo("bf16")
    steps = run(loaded, question(loaded), max_new_tokens=40)
    assert "Paris" in text(steps)
    assert "<|im_end|>" not in text(steps)
    assert tokens(steps)[-1] == loaded.tokenizer.eos_token_id
    assert reason(steps) == "stop"


def test_steps_come_in_order_with_rising_stamps() -> None:
    steps = run(loaded_tiny(), [70, 71], max_new_tokens=5)
    kinds = [type(step) for step in steps]
    assert kinds == [decode.Prefill] * 2 + [decode.Token] * 5 + [decode.End]
    stamps = [step.ns for step in steps if not isinstance(step, decode.End)]
    assert stamps == sorted(set(stamps))


@pytest.mark.parametrize("ends", [2, [5, 2]])
def test_every_end_token_of_the_generation_config_ends_an_answer(
    parrot: Callable[..., Path], ends: int | list[int]
) -> None:
    loaded = loaded_folder(parrot("a", "b", "c"))  # ids 1, 2, 3
    loaded.model.generation_config.eos_token_id = ends
    steps = run(loaded, [0])
    assert (tokens(steps), text(steps), reason(steps)) == ([1, 2], "a", "stop")


def test_the_tokenizers_end_token_ends_an_answer_too(parrot: Callable[..., Path]) -> None:
    loaded = loaded_folder(parrot("a", "b", "c"))
    loaded.tokenizer.eos_token = "c"
    steps = run(loaded, [0])
    assert (tokens(steps), text(steps), reason(steps)) == ([1, 2, 3], "ab", "stop")


def test_a_stop_string_over_two_tokens_is_not_shown(parrot: Callable[..., Path]) -> None:
    loaded = loaded_folder(parrot("one", " tw", "o t", "hree"))
    steps = run(loaded, [0], stop=("two",))
    assert (tokens(steps), text(steps), reason(steps)) == ([1, 2, 3], "one ", "stop")
    assert steps[-1].notes == (STOP_STRING,)


def test_a_stop_string_may_be_a_special_token(parrot: Callable[..., Path]) -> None:
    loaded = loaded_folder(parrot("one", "<turn>", "two"))
    loaded.tokenizer.add_special_tokens({"additional_special_tokens": ["<turn>"]})
    steps = run(loaded, [0], stop=("<turn>",), max_new_tokens=9)
    assert (tokens(steps), text(steps), reason(steps)) == ([1, 2], "one", "stop")
    steps = run(loaded, [0], stop=("e<turn>t",), max_new_tokens=9)
    assert (tokens(steps), text(steps), reason(steps)) == ([1, 2, 3], "on", "stop")


def test_text_that_might_have_become_a_stop_string_comes_at_the_end(parrot: Callable[..., Path]) -> None:
    loaded = loaded_folder(parrot("one", " tw", "o t", "hree"))
    steps = run(loaded, [0], stop=("two",), max_new_tokens=2)
    assert (text(steps), reason(steps)) == ("one tw", "length")


def test_an_answer_ends_with_the_context_window() -> None:
    loaded = loaded_tiny()
    window = loaded.info.context_length
    steps = run(loaded, [70] * (window - 3), max_new_tokens=50)
    assert len(tokens(steps)) == 3
    assert reason(steps) == "length"


@pytest.mark.parametrize("excess", [0, 5])
def test_a_prompt_without_room_for_an_answer_is_refused(excess: int) -> None:
    loaded = loaded_tiny()
    window = loaded.info.context_length
    with pytest.raises(InputError, match=f"{window + excess} tokens, the context window {window}"):
        run(loaded, [70] * (window + excess))


def test_an_empty_prompt_is_refused() -> None:
    with pytest.raises(InputError, match="no tokens"):
        run(loaded_tiny(), [])


def test_no_limit_where_the_model_states_none() -> None:
    assert decode.tokens_left(0, 1_000_000) > 1_000_000


def cancelled_once(
    loaded: LoadedModel, ids: list[int], is_enough: Callable[[list[decode.Step]], bool]
) -> list[decode.Step]:
    """The steps of an answer that is cancelled as soon as there are enough."""
    seen: list[decode.Step] = []
    held = DynamicCache(config=loaded.model.config)
    for step in decode.generate(loaded, ids, profile.Generation(), lambda: is_enough(seen), held):
        seen.append(step)
    return seen


def test_cancel_takes_effect_before_the_next_token() -> None:
    steps = cancelled_once(loaded_tiny(), [70, 71], lambda seen: len(tokens(seen)) == 3)
    assert (len(tokens(steps)), reason(steps)) == (3, "cancelled")


def test_cancel_takes_effect_before_the_next_chunk(opt_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = loaded_folder(opt_folder)
    monkeypatch.setattr(runtime, "CPU_CHUNK_FLOP", 2 * loaded.info.parameters * 32)
    steps = cancelled_once(loaded, [70] * 100, lambda seen: len(seen) == 2)
    assert [step.done for step in steps if isinstance(step, decode.Prefill)] == [0, 32]
    assert (tokens(steps), reason(steps)) == ([], "cancelled")


def test_the_last_token_costs_no_forward_pass() -> None:
    kv_cache = DynamicCache()
    run(loaded_tiny(), [70, 71, 72], kv_cache=kv_cache, max_new_tokens=4)
    assert kv_cache.get_seq_length() == 3 + 3


@pytest.mark.parametrize(
    ("parameters", "device", "expected"),
    [
        (134_515_008, "cpu", 512),
        (8_030_261_248, "cpu", 32),
        (426_624, "cpu", 2048),
        (0, "cpu", 2048),
        (8_030_261_248, "cuda", 2048),
    ],
)
def test_chunks_are_as_long_as_a_second_of_work_allows(parameters: int, device: str, expected: int) -> None:
    assert runtime.chunk_tokens(parameters, device) == expected
