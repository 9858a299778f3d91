"""A stream's events are the same however the network cuts it, and whoever ends its lines how."""

import json

import pytest

from engine.worker.served.events import BOM, Framing, TooLong, events
from engine.worker.served.reads import Read
from tests.served_streams import recorded, streams


def data(parts: list[bytes], framing: Framing = "sse") -> list[str]:
    return [text for _, text in events((Read(n, part) for n, part in enumerate(parts)), framing)]


@pytest.mark.parametrize("name", streams())
def test_any_cut_gives_the_same_events(name: str) -> None:
    content = b"".join(recorded(name).reads)
    expected = [
        line.removeprefix("data: ") for line in content.decode().splitlines() if line.startswith("data: ")
    ]
    assert data([content]) == expected
    assert data([content[n : n + 1] for n in range(len(content))]) == expected
    assert data([BOM + content]) == expected
    assert data([BOM[:1], BOM[1:] + content]) == expected
    assert data([content.replace(b"\n", b"\r\n")]) == expected
    assert data([content.replace(b"data: ", b"data:")]) == expected


def test_an_event_has_the_stamp_of_the_read_that_completed_it() -> None:
    reads = [Read(10, b"data: a\n\nda"), Read(20, b"ta: b\n"), Read(30, b"\ndata: c\n\ndata: d\n\n")]
    assert list(events(reads, "sse")) == [(10, "a"), (30, "b"), (30, "c"), (30, "d")]


def test_comments_are_no_events_and_an_unterminated_last_one_is() -> None:
    assert data([b': keep-alive\n\n:\n\ndata: a\n\ndata: {"half']) == ["a", '{"half']


def test_an_object_a_line_needs_no_last_newline() -> None:
    lines = [b'{"a": 1}\r\n\n{"b"', b": 2}\n", b'{"c": "\xc3', b'\xa9"}']
    assert [json.loads(text) for text in data(lines, "lines")] == [{"a": 1}, {"b": 2}, {"c": "é"}]


@pytest.mark.parametrize("framing", ["sse", "lines"])
def test_an_event_without_end_is_refused(framing: Framing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.worker.served.events.LONGEST_EVENT_BYTES", 1000)
    with pytest.raises(TooLong):
        data([b"data: " + b"x" * 800, b"x" * 800], framing)
