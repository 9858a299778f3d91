"""Thoughts apart from what is said, while an answer comes and afterwards."""

import pytest
from msgspec.structs import replace

from engine.cli.transcript import figures
from engine.duel.answer import Answer
from engine.duel.comparison import is_in_thoughts, said
from engine.duel.divergence import divergence
from engine.duel.thinking import Parts, first_said, parts
from engine.protocol.answers import Decoded, Finished, Prompted
from engine.protocol.loading import Loaded
from engine.protocol.model import Memory, ThinkMarks
from engine.protocol.wire import Event
from tests.tui.replay import recording

MARKS = ThinkMarks(open="<think>", close="</think>")
WITHIN = ThinkMarks(open="<think>", close="</think>", within=True)


@pytest.mark.parametrize(
    ("text", "marks", "thoughts", "said"),
    [
        ("<think>\nWell.\n</think>\n\nYes.", MARKS, "Well.", "Yes."),
        ("Well.\n</think>\n\nYes.", WITHIN, "Well.", "Yes."),
        ("<think>Well.</think>Yes.", WITHIN, "Well.", "Yes."),
        ("<think>Well", MARKS, "Well", ""),
        ("Yes. </think> is a tag.", MARKS, "", "Yes. </think> is a tag."),
        ("Yes.", None, "", "Yes."),
        ("", WITHIN, "", ""),
        ("[THINK]a[/THINK]b", ThinkMarks(open="[THINK]", close="[/THINK]"), "a", "b"),
    ],
)
def test_both_parts(text: str, marks: ThinkMarks | None, thoughts: str, said: str) -> None:
    found = parts(text, marks)
    assert (found.thoughts, found.said) == (thoughts, said)
    assert found.said_from == (len(text) - len(said) if said else None)


@pytest.mark.parametrize("marks", [MARKS, WITHIN])
def test_nothing_is_taken_back_while_it_comes(marks: ThinkMarks) -> None:
    text = ("" if marks.within else "<think>") + "a < b, </b>\n</think>\n\nSo a <think> b."
    before = Parts()
    for length in range(len(text) + 1):
        now = parts(text[:length], marks, complete=length == len(text))
        assert now.thoughts.startswith(before.thoughts) and now.said.startswith(before.said)
        before = now
    assert (before.thoughts, before.said) == ("a < b, </b>", "So a <think> b.")


def test_the_answer_s_first_token_has_a_time_of_its_own() -> None:
    answer, pieces = Answer(), ["<think>", "Hm", "</think>", "\n\n", "Yes", "."]
    events: list[Event] = [Prompted(request=1, tokens=3, sha256="", think=MARKS, ns=0)]
    events += [
        Decoded(request=1, token_id=n, text=piece, ns=(n + 1) * 10**6) for n, piece in enumerate(pieces)
    ]
    for event in events:
        answer.add(event)
    assert first_said(pieces, answer.parts) == answer.thought_tokens == 4
    assert (answer.metrics.ttft_ms, answer.metrics.answer_ttft_ms) == (1.0, 5.0)
    assert answer.metrics.thought_tokens == 4 and answer.metrics.new_tokens == 6
    assert answer.metrics.answer_tok_s == pytest.approx(1000)  # one more token, a millisecond later
    assert answer.metrics.thought_tok_s == pytest.approx(1000)  # three more, in three


def test_thoughts_without_an_end_are_all_thoughts() -> None:
    answer = Answer()
    answer.add(Prompted(request=1, tokens=3, sha256="", think=WITHIN))
    answer.add(Decoded(request=1, token_id=1, text="Hm"))
    answer.add(Finished(request=1, reason="length", memory=_memory()))
    assert answer.thought_tokens == 1 and answer.metrics.answer_ttft_ms is None and answer.parts.said == ""


def _memory() -> Memory:
    return Memory(
        weights_bytes=0,
        kv_cache_bytes=0,
        peak_bytes=0,
        process_bytes=0,
        device_used_bytes=0,
        device_total_bytes=0,
        process_source="",
    )


def test_the_command_line_gives_both_times() -> None:
    answer = Answer()
    for event in (
        Prompted(request=1, tokens=3, sha256="", think=WITHIN, ns=0),
        Decoded(request=1, token_id=1, text="Hm</think>", ns=10**6),
        Decoded(request=1, token_id=2, text="Yes", ns=3 * 10**6),
        Finished(request=1, reason="stop", memory=_memory(), decode_joules=0.5),
    ):
        answer.add(event)
    loaded = next(event for event in recording("smollm2-nf4.load") if isinstance(event, Loaded))
    line, *others = figures(answer, loaded.info)
    assert line.startswith("TTFT 1.00 ms · to the answer 3.00 ms (1 token of thoughts) · ")
    assert "0.5 J/token, mean 250 W" in others  # in 2 ms


def test_a_place_is_in_the_thoughts_only_where_both_are_thinking() -> None:
    short, long = (Answer() for _ in range(2))
    for answer, thoughts in ((short, ["Hm"]), (long, ["Well", ",", "yes"])):
        answer.add(Prompted(request=1, tokens=3, sha256="", think=WITHIN, ns=0))
        for text in [*thoughts, "</think>", "Paris"]:
            answer.add(Decoded(request=1, token_id=len(text), text=text, ns=1))
    place = divergence(short.tokens, long.tokens)
    assert place is not None and place.token == 0
    assert is_in_thoughts(short, long, place)
    assert not is_in_thoughts(short, long, replace(place, token=2))
    assert divergence(said(short), said(long)) is None and said(short).pieces == ["Paris"]
