"""Where two answers diverge: the token, what is said there, and where in each text."""

import pytest

from engine.duel.divergence import Divergence, Tokens, divergence, first_divergence


@pytest.mark.parametrize(
    ("a", "b", "index"),
    [([1, 2, 3], [1, 2, 3], None), ([1, 2, 3], [1, 9, 3], 1), ([1, 2], [1, 2, 3], 2), ([], [], None)],
)
def test_first_divergence(a: list[int], b: list[int], index: int | None) -> None:
    assert first_divergence(a, b) == index


def test_a_character_of_several_tokens_is_what_was_said() -> None:
    a = Tokens([1, 2, 3, 4], ["Hi", "", "é", "!"])
    b = Tokens([1, 5], ["Hi", " you"])
    assert divergence(a, b) == Divergence(token=1, texts=("é", " you"), offsets=(2, 2))


def test_where_one_ends_it_says_nothing() -> None:
    a, b = Tokens([1], ["Hi"]), Tokens([1, 5], ["Hi", " you"])
    assert divergence(a, b) == Divergence(token=1, texts=("", " you"), offsets=(2, 2))
    assert divergence(a, a) is None
