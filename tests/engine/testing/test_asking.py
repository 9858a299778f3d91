"""One question to a real worker: what follows a prompt against a plain forward pass, and greedy answers."""

import hashlib
import struct
from collections.abc import Awaitable, Callable

import pytest
import torch

from engine.config import profiles
from engine.config.profile import Profile
from engine.session.client import Session
from engine.testing.asking import asked
from engine.testing.questions import Question, Response
from engine.worker.load import load as load_here

FLOAT32 = profiles.changed(profiles.of_model("random:tiny"), {"model.dtype": "float32"})


async def test_choices_have_the_log_likelihoods_of_a_plain_forward_pass(
    load: Callable[[Profile], Awaitable[Session]],
) -> None:
    """As lm-eval takes them: the prompt's own tokens, then what the whole has beyond them."""
    prompt, choices = "The sky is ", ("blue", "a green cheese", "b")
    question = Question(id="1", kind="choices", prompt=prompt, template="raw", continuations=choices)
    found = await asked(await load(FLOAT32), question, 8)
    assert isinstance(found, Response)
    loaded = load_here(FLOAT32, 1, lambda staged: None)
    read: list[int] = []
    expected = []
    before = loaded.tokenizer(prompt.rstrip())["input_ids"]
    for choice in choices:
        following = loaded.tokenizer(prompt + choice)["input_ids"][len(before) :]
        ids = before + following
        with torch.inference_mode():
            log_probs = loaded.model(torch.tensor([ids])).logits[0, :-1].double().log_softmax(-1)
        own = log_probs[len(before) - 1 :].gather(1, torch.tensor(following)[:, None])
        expected.append(own.sum().item())
        read += following
    assert found.log_likelihoods == pytest.approx(expected, abs=1e-3)
    assert found.text == choices[max(range(3), key=expected.__getitem__)]
    ids = before + read
    assert found.prompt_sha256 == hashlib.sha256(struct.pack(f"<{len(ids)}i", *ids)).hexdigest()


async def test_answers_are_greedy_and_cold_whatever_the_profile_samples(
    load: Callable[[Profile], Awaitable[Session]],
) -> None:
    warm = profiles.changed(FLOAT32, {"generation.temperature": 2.0, "generation.seed": 7})
    question = Question(id="1", kind="exact", prompt="Hello", max_new_tokens=6)
    answers = [await asked(await load(each), question, 8) for each in (FLOAT32, warm, warm)]
    assert len({answer.text for answer in answers if isinstance(answer, Response)}) == 1
    assert all(isinstance(answer, Response) and answer.tokens == 6 for answer in answers)
