"""Two answers cut at the same length: one number, at the pace of the slower."""

import itertools

import pytest

from engine.protocol.answers import Decoded, Finished, Prompted
from engine.protocol.model import Memory, ThinkMarks
from engine.stats.metrics import NS
from tui.blind.lockstep import KEPT_BACK, Lockstep

MEMORY = Memory(
    weights_bytes=0,
    kv_cache_bytes=0,
    peak_bytes=0,
    process_bytes=0,
    device_used_bytes=0,
    device_total_bytes=0,
    process_source="resident set",
)


def say(lockstep: Lockstep, side: int, tokens: int, tokens_s: float, *, end: bool = True) -> None:
    """So many tokens of four letters at this speed."""
    for index in range(tokens):
        stamp_ns = int(index * NS / tokens_s)
        lockstep.add(side, Decoded(request=1, token_id=index, text=f"{side}abc", ns=stamp_ns))
    if end:
        lockstep.add(side, Finished(request=1, reason="stop", memory=MEMORY))


def watch(lockstep: Lockstep, tick_s: float = 0.05) -> list[float]:
    """The shown length after each tick, until all is shown."""
    lengths = []
    while not lockstep.complete:
        lockstep.advance(tick_s)
        lengths.append(lockstep.length)
    return lengths


def test_nothing_is_shown_before_both_have_something() -> None:
    lockstep = Lockstep()
    say(lockstep, 0, 50, 10)
    lockstep.advance(60)
    assert lockstep.texts == ("", "")
    say(lockstep, 1, 1, 10, end=False)
    lockstep.advance(60)
    assert lockstep.texts == ("", "")


def test_both_show_the_same_length_and_never_the_end_of_what_comes() -> None:
    lockstep = Lockstep()
    say(lockstep, 0, 50, 10)
    say(lockstep, 1, 20, 10, end=False)
    lockstep.advance(60)
    assert [len(text) for text in lockstep.texts] == [20 * 4 - KEPT_BACK] * 2
    assert not lockstep.complete


@pytest.mark.parametrize("slow_side", [0, 1])
def test_the_slower_sets_the_pace_also_after_it_ended(slow_side: int) -> None:
    """The slow one is short: what comes after its end must not come any faster."""
    lockstep = Lockstep()
    say(lockstep, slow_side, 11, 10)  # 44 letters in a second
    say(lockstep, 1 - slow_side, 100, 50)
    lengths = watch(lockstep)
    steps = [after - before for before, after in itertools.pairwise(lengths)]
    assert all(step == pytest.approx(44 * 0.05) for step in steps)
    assert len(lengths) == pytest.approx(400 / (44 * 0.05), abs=1)


def test_the_pace_is_the_same_whoever_is_who() -> None:
    runs = []
    for first in (0, 1):
        lockstep = Lockstep()
        say(lockstep, first, 30, 7)
        say(lockstep, 1 - first, 40, 19)
        runs.append(watch(lockstep))
    assert runs[0] == runs[1]


def test_a_vote_opens_everything() -> None:
    lockstep = Lockstep()
    say(lockstep, 0, 5, 10)
    say(lockstep, 1, 9, 10, end=False)
    lockstep.open()
    assert [len(text) for text in lockstep.texts] == [20, 36]
    assert not lockstep.complete


def test_answers_of_one_token_have_no_pace() -> None:
    lockstep = Lockstep()
    say(lockstep, 0, 1, 10)
    say(lockstep, 1, 1, 10)
    lockstep.advance(0.05)
    assert lockstep.texts == ("0abc", "1abc") and lockstep.complete


def test_thoughts_take_as_long_as_any_words_and_no_half_mark_is_shown() -> None:
    lockstep = Lockstep()
    marks = ThinkMarks(open="<think>", close="</think>")
    for side in (0, 1):
        lockstep.add(side, Prompted(request=1, tokens=1, sha256="", think=marks if side == 0 else None))
    for index, text in enumerate(("<think>", "why not", "</think>", "Yes, because", " it is.")):
        for side in (0, 1):
            lockstep.add(side, Decoded(request=1, token_id=index, text=text, ns=index * NS))
    for side in (0, 1):
        lockstep.add(side, Finished(request=1, reason="stop", memory=MEMORY))
    seen = set()
    while not lockstep.complete:
        lockstep.advance(0.05)
        a, b = lockstep.parts
        assert len(lockstep.texts[0]) == len(lockstep.texts[1]) == len(b.said)
        assert "<" not in a.thoughts + a.said
        seen.add((a.thoughts, a.said))
    assert ("why not", "") in seen and ("why not", "Yes, because it is.") in seen
