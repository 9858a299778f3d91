"""What is ticked is told apart without colours."""

from textual.app import App, ComposeResult

from tui.widgets.tick import Tick


class Box(App[None]):
    """One box."""

    def compose(self) -> ComposeResult:
        yield Tick("unload", compact=True)


async def test_a_box_shows_its_tick_only_where_it_is_ticked() -> None:
    app = Box()
    async with app.run_test(size=(20, 3)) as pilot:
        box = app.query_one(Tick)
        assert box.render().plain.startswith("[ ] unload")
        await pilot.press("space")
        assert box.render().plain.startswith("[x] unload")
