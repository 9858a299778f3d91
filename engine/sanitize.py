"""Untrusted text made safe to show: what a terminal would act on becomes something a reader can see.

Owns the functions through which model output, profile texts and error messages pass before they reach a
terminal, a widget or a document, the one that takes passwords out of addresses, and what is text at all.
Knows nothing of those; markup is the widget's business.
"""

import re

_BIDI = (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_SEPARATORS = (0x2028, 0x2029)
# Not the joiners U+200C and U+200D, which scripts and emoji need.
_INVISIBLE = (0x200B, *range(0x2060, 0x2066), 0xFEFF, *range(0xFFF9, 0xFFFC))
_SURROGATES = range(0xD800, 0xE000)

_PICTURES: dict[int, str] = {
    **{code: chr(0x2400 + code) for code in range(0x20)},  # ESC is ␛
    0x7F: "␡",
    **{code: "␛" + chr(code - 0x40) for code in range(0x80, 0xA0)},  # C1 is ESC and a letter: CSI is ␛[
    **{code: f"⟨U+{code:04X}⟩" for code in (*_BIDI, *_SEPARATORS, *_INVISIBLE)},
    **dict.fromkeys(_SURROGATES, "\ufffd"),
}
_NOTHING = dict.fromkeys(_PICTURES)
_KEPT = {ord("\n"), ord("\t")}
_ESCAPES = {code: f"\\u{code:04x}" for code in _PICTURES.keys() - _KEPT - set(_SURROGATES)}
_LINES = {code: picture for code, picture in _PICTURES.items() if code not in _KEPT}


def is_text(text: str) -> bool:
    """Whether it can be written as UTF-8: no lone surrogate, as other bytes and JSON's escapes leave them."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def visible(text: str, *, keep_newlines: bool = True) -> str:
    """The text with control characters as pictures (␛), and bidi controls and lone surrogates made visible.

    CR LF becomes LF. Newlines and tabs stay, unless `keep_newlines` is false: then they become ␊ and ␉.
    """
    if text.isascii() and text.isprintable():
        return text
    return text.replace("\r\n", "\n").translate(_LINES if keep_newlines else _PICTURES)


def without_controls(text: str) -> str:
    """The text without the characters that `visible` shows, none of which has a width."""
    return text if text.isprintable() else text.translate(_NOTHING)


def escaped(text: str) -> str:
    """The text with the same characters, newlines and tabs apart, as `\\uXXXX`: JSON stays what it is."""
    return text if text.isascii() and text.isprintable() else text.translate(_ESCAPES)


_USERINFO = re.compile(r"(\b[A-Za-z][A-Za-z0-9+.-]*://)[^/?#\s]*@")


def without_userinfo(text: str) -> str:
    """The text with names and passwords taken out of its addresses: `http://user:word@host` is `http://host`."""
    return _USERINFO.sub(r"\1", text) if "@" in text else text
