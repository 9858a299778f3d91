"""What a vote means, and which turns count."""

import pytest

from engine.config import profiles
from engine.votes.votes import (
    Choice,
    Shuffle,
    Verdict,
    exclusion_of,
    names_of,
    reveals,
    verdict_of,
)
from tests.unit.engine.votes.samples import turn


@pytest.mark.parametrize(
    ("choice", "left", "expected"),
    [("left", 0, "a"), ("left", 1, "b"), ("right", 0, "b"), ("right", 1, "a"), ("tie", 1, "tie")],
)
def test_a_choice_is_about_the_side_that_stood_there(choice: Choice, left: int, expected: Verdict) -> None:
    assert verdict_of(choice, left) == expected


def test_a_shuffle_is_fair_and_repeats_with_its_seed() -> None:
    throws = [[shuffle.left() for _ in range(200)] for shuffle in (Shuffle(1), Shuffle(1), Shuffle(2))]
    assert throws[0] == throws[1] != throws[2]
    assert 70 < sum(throws[0]) < 130
    assert [Shuffle().left() for _ in range(64)] != [Shuffle().left() for _ in range(64)]


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ({}, None),
        ({"failure": "the worker was killed"}, "failed"),
        ({"text": " ", "finish_reason": "cancelled"}, "cancelled before any text"),
        ({"text": "some", "finish_reason": "cancelled"}, None),
        ({"text": "I run GPTQ, you know"}, "a name in the text"),
        ({"text": "ungptqed"}, None),
    ],
)
def test_turns_that_do_not_count(case: dict[str, object], expected: str | None) -> None:
    assert exclusion_of(turn("a", "b", "a", **case)) == expected  # type: ignore[arg-type]


def test_names_are_those_of_profile_method_and_model() -> None:
    names = names_of(profiles.find("llama-3.1-8b-gptq4"), "gptq4")
    for text in ("I am Llama.", "GPTQ4!", "with (nf4)", "the llama-3.1-8b-gptq4 profile"):
        assert reveals(text, names), text
    for text in ("llamas", "an instruction", "a tiny one", "I opt for it"):
        assert not reveals(text, names), text
    assert not reveals("it was stored as stored", names_of(profiles.find("random:tiny"), "bf16"))
