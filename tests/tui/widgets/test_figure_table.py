"""A table that is too wide: what matters comes first, and what is out of view is named."""

from textual.app import App, ComposeResult

from tui.widgets.figure_table import FigureTable

ROWS = [
    {"profile": "smollm2-bf16", "method": "bf16", "right": "18 of 30", "p, exact": "0.012"},
    {"profile": "third", "method": None, "right": None, "p, exact": None},
]


class Tables(App[None]):
    def get_css_variables(self) -> dict[str, str]:
        return {**super().get_css_variables(), "quiet": "#808080", "side-c": "#8e3a9d"}

    def compose(self) -> ComposeResult:
        yield FigureTable()


async def test_columns_that_matter_come_first_where_not_all_fit() -> None:
    async with Tables().run_test(size=(60, 6)) as pilot:
        table = pilot.app.query_one(FigureTable)

        def names() -> list[str]:
            return [str(column.label).strip() for column in table.ordered_columns]

        table.show(ROWS, {}, {"third": "$side-c"}, ("profile", "p, exact"))
        await pilot.pause()
        assert names() == list(ROWS[0]) and not table.has_class("-cut")
        name, absent = (table.get_row_at(1)[place].style for place in (0, 1))
        assert [style.color.name for style in (name, absent)] == ["#8e3a9d", "#808080"]
        await pilot.resize_terminal(30, 6)
        await pilot.pause()
        assert names() == ["profile", "p, exact", "method", "right"]
        assert [str(cell) for cell in table.get_row_at(0)] == ["smollm2-bf16", "0.012", "bf16", "18 of 30"]
        assert str(table.border_subtitle) == "to the right (→): method · right"
        assert table.render_line(1).text == " smollm2-bf16  0.012".ljust(30)  # no part of a figure
        table.focus()
        await pilot.press("right")
        assert str(table.border_subtitle) == "to the left (←): p, exact   to the right (→): right"
        await pilot.press("right")
        assert str(table.border_subtitle) == "to the left (←): p, exact · method"
        await pilot.press("left", "left")
        assert str(table.border_subtitle) == "to the right (→): method · right"
        await pilot.resize_terminal(60, 6)
        await pilot.pause()
        assert names() == list(ROWS[0]) and not table.has_class("-cut")
