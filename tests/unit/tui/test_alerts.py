"""What a terminal is told at the end of long work, and what of it can act on it."""

import pytest

from engine.config.user_config import Alerts as Wanted
from tui.alerts import POP_TITLE, PUSH_TITLE, Alerts

BELL, NOTIFICATION = "\a", "\x1b]9;QuantDuel: both have answered\x07"


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        (Wanted(after_s=0, title=False), [NOTIFICATION, BELL]),
        (Wanted(after_s=0, title=False, bell=False), [NOTIFICATION]),
        (Wanted(after_s=0, title=False, notification=False), [BELL]),
        (Wanted(after_s=3600, title=False), []),
    ],
)
def test_long_work_is_told_as_the_user_wants_it(wanted: Wanted, told: list[str]) -> None:
    written: list[str] = []
    alerts = Alerts(wanted, written.append)
    alerts.begin("answering")
    alerts.begin("answering")
    alerts.end("answering", "both have answered")
    alerts.end("answering", "both have answered")
    assert written == told


def test_the_title_says_what_goes_on_and_is_given_back() -> None:
    written: list[str] = []
    alerts = Alerts(Wanted(after_s=3600), written.append)
    alerts.enter()
    alerts.begin("loading")
    alerts.end("loading", "loaded")
    alerts.leave()
    titles = ["ready", "loading", "ready"]
    assert written == [PUSH_TITLE, *(f"\x1b]2;QuantDuel · {title}\x07" for title in titles), POP_TITLE]


def test_words_cannot_end_the_sequence() -> None:
    written: list[str] = []
    alerts = Alerts(Wanted(after_s=0, title=False, bell=False), written.append)
    alerts.begin("x")
    alerts.end("x", "a\x07b\x1b]0;c\n" + "d" * 999)
    (said,) = written
    assert said.count("\x07") == 1 and said.count("\x1b") == 1 and len(said) < 140
