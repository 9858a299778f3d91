"""A line to write in: a value that does not fit says so."""

from textual.app import App, ComposeResult

from tui.settings.line_input import LineInput


class Lines(App[None]):
    def compose(self) -> ComposeResult:
        for width, value in ((12, "32,64,128,256"), (12, "32,64")):
            line = LineInput(value, compact=True, select_on_focus=False)
            line.styles.width, line.styles.padding = width, (0, 1)
            yield line


async def test_a_value_that_goes_on_has_a_sign_where_it_is_cut() -> None:
    async with Lines().run_test(size=(20, 4)) as pilot:
        long, short = pilot.app.query(LineInput)

        def seen(line: LineInput) -> str:
            return line.render_line(0).text[:10]

        short.focus()
        await pilot.pause()
        assert seen(long) == "32,64,128…" and "…" not in seen(short)
        long.focus()
        await pilot.press("home", "end")
        await pilot.pause()
        assert seen(long).startswith("…") and "256" in seen(long) and seen(long).count("…") == 1
        await pilot.press("home")
        await pilot.pause()
        assert seen(long) == "32,64,128…"
