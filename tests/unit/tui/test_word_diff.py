"""Words that differ, and blocks of code."""

import pytest

from tui.markdown.word_diff import code_blocks, common, differing


@pytest.mark.parametrize(
    ("a", "b", "of_a", "of_b"),
    [
        ("Paris is the capital.", "Paris is a capital.", ["the"], ["a"]),
        ("same", "same", [], []),
        ("", "all new", [], ["all new"]),
        ("one two", "one", [" two"], []),
        ("naïve café", "naïve cafe", ["café"], ["cafe"]),
    ],
)
def test_only_what_differs_is_marked(a: str, b: str, of_a: list[str], of_b: list[str]) -> None:
    spans = differing(a, b)
    assert [a[start:end] for start, end in spans[0]] == of_a
    assert [b[start:end] for start, end in spans[1]] == of_b


def test_answers_that_go_round_in_circles_are_compared_as_soon_as_others() -> None:
    a, b = ("the cat sat. " * 1000).split(" "), ("the cat lay. " * 1000).split(" ")
    pairs = common(a, b)[::-1]
    assert pairs == [(place, place) for place in range(len(a)) if a[place] != "sat."]


def test_the_common_words_are_as_many_as_can_be_and_in_order() -> None:
    pairs = common("abcbdab", "bdcaba")[::-1]
    assert len(pairs) == 4 and all("abcbdab"[i] == "bdcaba"[j] for i, j in pairs)
    assert pairs == sorted(pairs) and len({i for i, _ in pairs}) == len({j for _, j in pairs}) == 4


def test_code_blocks_of_an_answer() -> None:
    text = "Do:\n\n```python\nprint(1)\n```\n\n- in a list:\n\n  ```\n  two\n  ```\n\n`no`\n\n```sh\nopen"
    assert code_blocks(text) == ["print(1)\n", "two\n", "open"]
    assert code_blocks("nothing `here`") == []
