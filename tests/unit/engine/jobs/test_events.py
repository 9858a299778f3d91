"""What a long run reports, in words."""

from engine.jobs.events import Advanced, Completed, Noted, how_far_text, line


def test_a_line_says_how_far_and_what() -> None:
    known = Advanced("nf4, context 64", "repeat 2 of 5", 0.42, 12.3)
    assert line(known) == "42 %, about 12 s left: nf4, context 64: repeat 2 of 5"
    assert line(Advanced("nf4", "read 7 %")) == "nf4: read 7 %"
    assert line(Completed("nf4")) == "nf4: done"
    assert line(Noted("one after the other")) == "one after the other"


def test_the_time_left_is_calm_and_never_nothing() -> None:
    assert how_far_text(0.5, None) == "50 %"
    assert how_far_text(None, 0.2) == "about 1 s left"
    assert how_far_text(0.001, 150.0) == "0 %, about 2 min 30 s left"
    assert how_far_text(None, None) == ""
