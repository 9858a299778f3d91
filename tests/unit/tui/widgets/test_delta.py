"""More than two sides compared: what is said where speeds do not compare."""

from msgspec.structs import replace

from engine.duel.comparison import Comparison
from engine.duel.duel import Input
from tui.widgets.delta import overview, ratios, table

FAIR = Comparison(
    labels=("A bf16", "B nf4"),
    decode=1.5,
    ttft=0.5,
    weights=0.4,
    peak=0.8,
    contended=False,
    input=Input(identical=True, tokens=50, sha256="a3ceb4c8ff"),
    input_difference="",
    same_tokenizer=True,
    divergence=None,
    tokens=(9, 9),
)
WHY = "each side reads its own earlier answers"
UNFAIR = replace(FAIR, input=Input(identical=False, tokens=50, sha256=""), input_difference=WHY)


def of(*found: Comparison) -> list[Comparison]:
    return [replace(one, side=side) for side, one in enumerate(found, 1)]


def test_two_figures_of_all_or_one_and_why_speeds_do_not_compare() -> None:
    assert overview(of(FAIR, FAIR, FAIR), 76).plain.split("\n")[1].startswith("peak against A   B ×0.80")
    above, below = overview(of(UNFAIR, UNFAIR, UNFAIR), 90).plain.split("\n")
    assert above.startswith("decode against A   B ×1.50")
    assert below == f"speeds do not compare: {WHY}   F10: the same history"
    assert overview(of(FAIR, UNFAIR), 76).plain.split("\n")[1] == f"C: speeds do not compare: {WHY}"


def test_that_a_side_was_slowed_has_room_where_the_last_ratio_has_none() -> None:
    slowed = replace(FAIR, slowed=(0, 1), labels=("smollm2-bf16", "smollm2-nf4"))
    assert "decode ×1.50   both slowed   TTFT" in ratios(slowed, 76).plain
    assert overview(of(*[slowed] * 5), 76).plain.split("\n")[0].endswith("F ×1.50   slowed")


def test_a_decoding_that_was_too_short_is_marked_where_its_ratio_stands() -> None:
    short = replace(FAIR, too_short=(0,), labels=("smollm2-bf16", "smollm2-nf4"))
    assert "decode ×1.50 (too short)   TTFT ×0.50" in ratios(short, 76).plain
    above, below = overview(of(*[short] * 4), 76).plain.split("\n")
    assert above.endswith("E ×1.50   too short") and "too short" not in below


def test_a_line_a_side_says_so_before_the_ratios_that_may_have_no_room() -> None:
    fair, unfair = table(of(FAIR, UNFAIR), 100).plain.split("\n")
    assert "decode ×1.50" in fair and f"speeds do not compare: {WHY}" in unfair
