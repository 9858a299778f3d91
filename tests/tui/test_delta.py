"""The line below a turn: where its answers part, in words."""

from engine.duel.comparison import Comparison
from tui.widgets.delta import parting_text


def parted(at: int | None, tokens: tuple[int, int]) -> str:
    nothing = dict.fromkeys(("decode", "ttft", "weights", "peak", "input"))
    comparison = Comparison(
        labels=("bf16", "nf4"),
        contended=False,
        input_difference="",
        same_tokenizer=True,
        parted_at=at,
        tokens=tokens,
        **nothing,
    )
    return parting_text(comparison, ("a", "b"))


def test_one_token_is_one() -> None:
    assert parted(1, (9, 9)) == "parted after 1 token: “a” | “b”"
    assert parted(1, (1, 9)) == "the same for 1 token, where one ends"
    assert parted(None, (2, 2)) == "same answer: all 2 tokens"
