"""Lines of figures in too little room: a figure is shown whole or not at all. Knows no figure."""

from collections.abc import Sequence

from textual.content import Content


def fitting(parts: Sequence[Content], gap: str, available: int) -> Content:
    """The parts in a line of so many cells, without those that no longer fit; the first is there always."""
    line = parts[0]
    for part in parts[1:]:
        if line.cell_length + len(gap) + part.cell_length <= available:
            line += Content(gap) + part
    return line
