"""The settings of long work, in a line or two: labels and inputs. Reads text; decides nothing about it."""

from collections.abc import Iterator, Sequence

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.suggester import SuggestFromList
from textual.widgets import Input, Label

from tui.jobs.job import Field
from tui.settings.line_input import LineInput


class Setup(Vertical):
    """One input a field."""

    DEFAULT_CSS = """
    Setup { height: auto; padding: 0 2; background: $surface; }
    Setup Horizontal { height: 1; }
    Setup Label { color: $quiet; padding: 0 1 0 0; }
    Setup Input { background: $panel; margin: 0 2 0 0; padding: 0 1; }
    Setup Input:focus { background: $primary 20%; }
    Setup Input:disabled { background: transparent; color: $foreground; opacity: 100%; }
    """

    class Submitted(Message):
        """Enter, in any field."""

    def __init__(self, fields: Sequence[Field]) -> None:
        super().__init__()
        self._fields = fields

    def compose(self) -> ComposeResult:
        for line in _lines(self._fields):
            with Horizontal():
                for field in line:
                    yield Label(field.label)
                    yield _input(field)

    @property
    def values(self) -> dict[str, str]:
        """What stands in each field."""
        return {field.key: self.query_one(f"#field-{field.key}", Input).value for field in self._fields}

    def fill(self, key: str, value: str) -> None:
        """Put something into a field."""
        self.query_one(f"#field-{key}", Input).value = value

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.post_message(self.Submitted())


def _input(field: Field) -> Input:
    suggester = SuggestFromList(field.options) if field.options else None
    found = LineInput(
        field.value, compact=True, suggester=suggester, id=f"field-{field.key}", select_on_focus=False
    )
    found.styles.width = field.width + 3 if field.width else "1fr"
    return found


def _lines(fields: Sequence[Field]) -> Iterator[list[Field]]:
    line: list[Field] = []
    for field in fields:
        if field.new_line and line:
            yield line
            line = []
        line.append(field)
    if line:
        yield line
