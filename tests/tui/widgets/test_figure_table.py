"""A table that is too wide: what matters comes first, and what is out of view is named."""

from textual.app import App, ComposeResult

from tui.widgets.figure_table import FigureTable

ROWS = [{"profile": "smollm2-bf16", "method": "bf16", "right": "18 of 30", "p, exact": "0.012"}]


class Tables(App[None]):
    def get_css_variables(self) -> dict[str, str]:
        return {**super().get_css_variables(), "quiet": "#808080"}

    def compose(self) -> ComposeResult:
        yield FigureTable()


async def test_columns_that_matter_come_first_where_not_all_fit() -> None:
    async with Tables().run_test(size=(60, 6)) as pilot:
        table = pilot.app.query_one(FigureTable)

        def names() -> list[str]:
            return [str(column.label).strip() for column in table.ordered_columns]

        table.show(ROWS, {}, {}, ("profile", "p, exact"))
        await pilot.pause()
        assert names() == list(ROWS[0]) and not table.has_class("-cut")
        await pilot.resize_terminal(30, 6)
        await pilot.pause()
        assert names() == ["profile", "p, exact", "method", "right"]
        assert [str(cell) for cell in table.get_row_at(0)] == ["smollm2-bf16", "0.012", "bf16", "18 of 30"]
        assert str(table.border_subtitle) == "in the table  → method · right"
        table.focus()
        await pilot.press("right")
        assert str(table.border_subtitle) == "in the table  ← p, exact   → right"
        await pilot.press("right")
        assert str(table.border_subtitle) == "in the table  ← p, exact · method"
        await pilot.press("left", "left")
        assert str(table.border_subtitle) == "in the table  → method · right"
        await pilot.resize_terminal(60, 6)
        await pilot.pause()
        assert names() == list(ROWS[0]) and not table.has_class("-cut")
