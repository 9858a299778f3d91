"""What comes from the terminal."""

import os
from threading import Event

from textual import events
from textual.message import Message

from tui.output.driver import SparingDriver


def test_bytes_that_are_no_utf8_end_nothing() -> None:
    reading, writing = os.pipe()
    typed: list[str] = []
    driver = SparingDriver.__new__(SparingDriver)
    driver.fileno, driver.exit_event, driver._debug = reading, Event(), False

    def taken(message: Message) -> None:
        assert isinstance(message, events.Key)
        typed.append(message.character or "")
        if typed[-1] == "b":
            driver.exit_event.set()

    driver.process_message = taken  # type: ignore[method-assign]
    os.write(writing, b"a\xff\xc3b")
    driver.run_input_thread()  # type: ignore[no-untyped-call]
    assert typed == ["a", "\ufffd", "\ufffd", "b"]
    os.close(reading)
    os.close(writing)
