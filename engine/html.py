"""HTML that cannot be broken out of: whatever is put into an element is text, unless it was made here.

Owns what every page of QuantDuel's has: one file that needs nothing else, and a policy that forbids the rest.
"""

from html import escape
from pathlib import Path
from typing import Union

from engine.sanitize import visible

Child = Union[str, "Html"]
STYLE = Path(__file__).with_name("page.css")
POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


class Html(str):
    """What is markup already."""

    __slots__ = ()


def element(name: str, *children: Child, **attributes: str) -> Html:
    """An element; texts and values are escaped, and control characters in them made visible."""
    written = "".join(
        f' {key.rstrip("_")}="{escape(visible(value))}"' for key, value in attributes.items() if value
    )
    return Html(f"<{name}{written}>{joined(*children)}</{name}>")


def joined(*children: Child) -> Html:
    """Texts and elements, one after the other."""
    return Html("".join(child if isinstance(child, Html) else escape(visible(child)) for child in children))


def page(title: str, *children: Child, style: str = "") -> str:
    """A whole document: no script, no picture, no address to ask; its style, and what is added, is in it."""
    head = joined(
        Html('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
        Html(f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'),
        Html('<meta name="referrer" content="no-referrer"><meta name="color-scheme" content="light dark">'),
        element("title", f"{title} · QuantDuel"),
        element("style", Html(STYLE.read_text(encoding="utf-8") + style)),
    )
    body = element("body", element("main", *children))
    return "<!doctype html>\n" + element("html", element("head", head), body, lang="en")
