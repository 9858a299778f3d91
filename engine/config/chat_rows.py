"""Messages as data sets and OpenAI's interface write them: the content a text, or a list of its parts.

Owns that form. Knows neither files nor templates.
"""

from typing import Literal

from msgspec import Struct


class TextPart(Struct, frozen=True):
    """A piece of a message's text; parts of any other type are refused where this is read."""

    text: str
    type: Literal["text", "input_text", "output_text"] = "text"


Content = str | tuple[TextPart, ...]


def text_of(content: Content) -> str:
    """The text of a message, its parts joined."""
    return content if isinstance(content, str) else "".join(part.text for part in content)
