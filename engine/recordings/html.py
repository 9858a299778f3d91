"""HTML that cannot be broken out of: whatever is put into an element is text, unless it was made here."""

from html import escape
from typing import Union

from engine.sanitize import visible

Child = Union[str, "Html"]


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
