"""Both models' five likeliest tokens at one place, side by side, with margins. Shows views; computes none."""

from textual.content import Content
from textual.reactive import reactive
from textual.widgets import Static

from engine.checkpoints.layer_errors import bar
from engine.duel.lens import Token, View
from engine.duel.sides import LETTERS
from engine.sanitize import visible
from tui.duel.colours import TEXT_COLOURS

BAR_CELLS = 10
TEXT_CELLS = 14
ROWS = 5


class TopChoices(Static):
    """A token through both models."""

    DEFAULT_CSS = """
    TopChoices { height: 8; padding: 0 2; background: $surface; text-wrap: nowrap; }
    """

    token: reactive[Token | None] = reactive(None)

    def __init__(self, labels: tuple[str, str], other: int = 1, *, is_bound: bool = False) -> None:
        super().__init__()
        self._is_bound = is_bound
        self._labels = labels
        self._sides = (0, other)

    def render(self) -> Content:
        """What stands here, then both lists."""
        if self.token is None:
            return Content("")
        width = max(30, self.size.width // 2)
        columns = [
            _column(label, view, self.token.token_id, side)
            for label, view, side in zip(self._labels, self.token.views, self._sides, strict=True)
        ]
        rows = [
            left.pad_right(max(0, width - left.cell_length)) + right
            for left, right in zip(*columns, strict=True)
        ]
        head = token_content(self.token, LETTERS[self._sides[1]], is_bound=self._is_bound)
        return Content("\n").join([head, *rows])


def token_content(token: Token, other: str = "B", *, is_bound: bool = False) -> Content:
    """`token 12 “ the”   A 52.1 %  B 31.0 %   KLD 0.031 nats`."""
    a, b = (-view.log_prob for view in token.views)
    words = Content.assemble(
        (f"token {token.index + 1}  ", "$quiet"),
        (shown(token.text), "bold"),
        ("   surprise ", "$quiet"),
        f"A {a:.2f}, {other} {b:.2f}",
        ("   KLD ", "$quiet"),
        f"{'≥ ' if is_bound else ''}{token.kld:.3g} nats",
    )
    return words + Content.assemble(("   differs", "$text-warning")) if token.differs else words


def shown(text: str) -> str:
    """A token's text between quotation marks."""
    return f"“{visible(text, keep_newlines=False)}”"


def _column(label: str, view: View, token_id: int, side: int) -> list[Content]:
    head = Content.assemble(
        (f"{LETTERS[side]} {visible(label, keep_newlines=False)}", f"bold {TEXT_COLOURS[side]}"),
        (f"   margin {view.margin:.3g} nats", "$quiet"),
    )
    lines = [head]
    for choice in view.top[:ROWS]:
        text = Content(shown(choice.text)).truncate(TEXT_CELLS, ellipsis=True)
        style = "bold" if choice.token_id == token_id else ""
        lines.append(
            Content.assemble(
                ("▸ " if choice.token_id == token_id else "  ", TEXT_COLOURS[side]),
                text.pad_right(TEXT_CELLS - text.cell_length).stylize(style),
                f" {choice.probability:7.2%} ",
                (bar(choice.probability, BAR_CELLS), TEXT_COLOURS[side]),
            )
        )
    return lines + [Content("")] * (ROWS + 1 - len(lines))
