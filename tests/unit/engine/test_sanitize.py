"""Nothing that a terminal acts on survives `visible`."""

import json
import re
import unicodedata

import pytest

from engine.sanitize import escaped, visible

ACTED_ON = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]")


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("\x1b]0;owned\x07", "␛]0;owned␇"),  # a window title
        ("\x1b]52;c;cm0gLXJm\x1b\\", "␛]52;c;cm0gLXJm␛\\"),  # the clipboard
        ("\x9b31mred", "␛[31mred"),  # CSI as one C1 character
        ("a\rb", "a␍b"),
        ("a\r\nb", "a\nb"),
        ("\x7f\x00", "␡␀"),
        ("user\u202egnp.exe", "user⟨U+202E⟩gnp.exe"),
        ("\u2066hidden\u2069", "⟨U+2066⟩hidden⟨U+2069⟩"),
        ("line\u2028line", "line⟨U+2028⟩line"),
        ("bank\u200b\ufeff", "bank⟨U+200B⟩⟨U+FEFF⟩"),
        ("half \ud83d of a pair", "half \ufffd of a pair"),
    ],
)
def test_what_a_terminal_acts_on_is_shown(raw: str, shown: str) -> None:
    assert visible(raw) == shown


def test_no_character_of_the_basic_plane_gets_through() -> None:
    everything = visible("".join(map(chr, range(0x10000))))
    assert not ACTED_ON.search(everything)
    assert {unicodedata.category(char) for char in set(everything) - {"\n", "\t"}}.isdisjoint({"Cc", "Cs"})
    everything.encode()


@pytest.mark.parametrize("text", ["plain", "日本語 und Übermut", "👩‍💻 é", "a\n\tb", "[bold red]x[/]", ""])
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert visible(text) == text


def test_one_line_stays_one_line() -> None:
    assert visible("a\nb\tc\r\nd", keep_newlines=False) == "a␊b␉c␊d"


def test_an_escaped_document_is_the_same_document_without_them() -> None:
    everything = "".join(chr(code) for code in range(0x10000) if not 0xD800 <= code < 0xE000)
    document = escaped(json.dumps({everything: [everything]}, ensure_ascii=False, indent=2))
    assert not ACTED_ON.search(document) and json.loads(document) == {everything: [everything]}
