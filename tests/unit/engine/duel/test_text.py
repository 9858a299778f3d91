"""B against A in words, for the screen and the command line."""

from msgspec.structs import replace

from engine.duel.comparison import Comparison
from engine.duel.divergence import Divergence
from engine.duel.duel import Input
from engine.duel.sides import listed
from engine.duel.text import Ratio, divergence_text, input_text, ratios, slowed_text, too_short_text

FOUND = Comparison(
    labels=("bf16", "nf4"),
    decode=1.306,
    ttft=0.4,
    weights=1.5,
    peak=None,
    contended=False,
    input=Input(identical=True, tokens=50, sha256="a3ceb4c8ff"),
    input_difference="",
    same_tokenizer=True,
    divergence=None,
    tokens=(1, 9),
)


def diverging(token: int) -> Comparison:
    return replace(FOUND, divergence=Divergence(token=token, texts=("a\x1b", "b\n"), offsets=(1, 1)))


def test_ratios_are_multiples_and_say_whom_they_favour() -> None:
    assert ratios(FOUND) == (
        Ratio("decode", "×1.31", True),
        Ratio("TTFT", "×0.40", True),
        Ratio("weights", "×1.50", False),
        Ratio("peak", "–", None),
    )


def test_speeds_that_others_slowed_favour_nobody_and_it_is_said() -> None:
    slowed = replace(FOUND, slowed=(0,))
    assert [ratio.is_better for ratio in ratios(slowed)] == [None, None, False, None]
    assert slowed_text(slowed) == "A slowed" and slowed_text(FOUND) == ""
    assert slowed_text(replace(FOUND, slowed=(0, 2))) == "both slowed"


def test_sides_are_listed() -> None:
    assert [listed(range(sides)) for sides in range(4)] == ["", "A", "A and B", "A, B and C"]


def test_a_decoding_that_was_too_short_favours_nobody_and_it_is_said() -> None:
    short = replace(FOUND, too_short=(0, 1))
    decode, ttft, *_ = ratios(short)
    assert (decode.is_better, decode.words, ttft.is_better) == (None, "×1.31 (too short)", True)
    assert not ratios(replace(short, decode=None))[0].remark
    assert too_short_text([1, 0, 1]).endswith("A and B decoded for less than 0.5 s or 8 tokens")
    assert too_short_text([]) == ""


def test_where_answers_diverge_tokens_count_from_one() -> None:
    assert divergence_text(diverging(0)) == "diverge at token 1: “a␛” | “b␊”"
    assert divergence_text(diverging(1)) == "diverge at token 2, where one ends"
    assert divergence_text(FOUND) == "same answer: all 1 token"
    assert "do not compare" in divergence_text(replace(diverging(0), same_tokenizer=False))


def test_the_input_is_proved_or_said_to_differ_and_why() -> None:
    assert input_text(FOUND) == "same input: 50 tokens, sha a3ceb4c8"
    other = replace(FOUND, input=None, input_difference="the templates differ")
    assert input_text(other) == "speeds do not compare: the templates differ"


def test_thoughts_that_diverge_are_told_apart_from_answers_that_do() -> None:
    found = replace(diverging(0), is_in_thoughts=True, tokens=(9, 9))
    assert divergence_text(found) == "diverge at token 1 in the thoughts: “a␛” | “b␊”"
    equal = replace(found, has_said=True)
    assert divergence_text(equal) == "diverge at token 1 in the thoughts, answers equal: “a␛” | “b␊”"
    later = replace(equal, said=Divergence(token=2, texts=("x", "y"), offsets=(3, 3)))
    assert "in the thoughts, answers at their token 3: " in divergence_text(later)
