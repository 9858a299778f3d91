"""What a model writes is shown and never acted on, however it arrives."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from textual import events
from textual.app import App, ComposeResult
from textual.pilot import Pilot
from textual.widgets import Markdown, Static

from engine.protocol.answers import Decoded, Finished
from tests.tui.replay import recording, wait_until
from tui.markdown.reply import Reply
from tui.markdown.text_block import TextBlock
from tui.widgets.transcript import Transcript


class Page(App[None]):
    """A transcript and nothing else; remembers the links that were opened."""

    def __init__(self) -> None:
        super().__init__()
        self.opened: list[str] = []

    def compose(self) -> ComposeResult:
        yield Transcript()

    def get_css_variables(self) -> dict[str, str]:
        return {**super().get_css_variables(), "quiet": "#888888", "faint": "#444444"}

    def open_url(self, url: str, *, new_tab: bool = True) -> None:
        self.opened.append(url)


@pytest.fixture
async def page() -> AsyncIterator[Pilot[None]]:
    async with Page().run_test(size=(60, 20)) as pilot:
        pilot.app.query_one(Transcript).ask("go")
        yield pilot


def reply_of(page: Pilot[None]) -> Reply:
    return page.app.query(Reply).last()


def shown(page: Pilot[None]) -> str:
    """The screen as plain text."""
    width, height = page.app.size
    lines = page.app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in line) for line in lines)[: (width + 1) * height]


async def stream(page: Pilot[None], text: str, step: int = 3) -> None:
    """Write in small pieces, then finish."""
    reply = reply_of(page)
    for start in range(0, len(text), step):
        reply.write(text[start : start + step])
        await asyncio.sleep(0)
    reply.finish(text)
    await wait_until(lambda: reply.settled, "the answer is complete on the screen")
    await page.pause()


@pytest.mark.parametrize(
    "raw", ["[bold red]x[/]", "[@click=app.quit]x[/]", "[/nothing]", "[link='http://a']x[/link]"]
)
async def test_markup_is_text(page: Pilot[None], raw: str) -> None:
    await stream(page, raw)
    assert raw in shown(page)


async def test_escapes_are_pictures(page: Pilot[None]) -> None:
    await stream(page, "a\x1b]0;title\x07 b\x1b]52;c;aGk=\x07 c\x9b31m d\u202ee")
    screen = shown(page)
    assert "␛]0;title␇" in screen
    assert "␛]52;c;aGk=␇" in screen
    assert "␛[31m" in screen
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(screen)


async def test_character_references_do_not_bring_controls_back(page: Pilot[None]) -> None:
    await stream(
        page, "a &#x202e; b &#27; c &#x9b; d\n\n- e &#x2066; f\n\n| g &#x202e; |\n|---|\n| h &#8238; |\n"
    )
    assert not {"\x1b", "\x9b", "\u202e", "\u2066"} & set(shown(page))
    assert shown(page).count("⟨U+202E⟩") == 3


async def test_html_is_text(page: Pilot[None]) -> None:
    await stream(page, "<script>alert(1)</script> and <b>bold</b>\n\n<div>block</div>\n")
    for tag in ("<script>", "<b>bold</b>", "<div>block</div>"):
        assert tag in shown(page)


async def test_links_do_not_open(page: Pilot[None]) -> None:
    await stream(page, "[click me](http://example.com/evil)")
    clicked: list[str] = []
    reply = reply_of(page)
    paragraph = reply.children[0]
    await paragraph.action_link("http://example.com/evil")  # type: ignore[attr-defined]
    await page.click(paragraph, offset=(3, 0))
    await page.pause()
    assert page.app.opened == clicked == []  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "table",
    [
        "| a |\n|---|\n| [/x] [bold]y |\n",
        "- in a list\n\n  | a |\n  |---|\n  | [/x] [bold]y |\n",
        "> | a |\n> |---|\n> | [/x] [bold]y |\n",
    ],
)
async def test_cells_have_no_tooltips(page: Pilot[None], table: str) -> None:
    await stream(page, table)
    assert "[/x] [bold]y" in shown(page)
    assert not [widget for widget in reply_of(page).query("*") if widget.tooltip]


async def test_the_last_token_and_the_code_are_there(page: Pilot[None]) -> None:
    events_ = recording("smollm2-bf16.answer")
    reply = reply_of(page)
    for event in events_:
        if isinstance(event, Decoded):
            reply.write(event.text)
            await asyncio.sleep(0)
    text = reply.text + "".join(event.text for event in events_ if isinstance(event, Finished))
    reply.finish(text)
    await wait_until(lambda: reply.settled)
    await page.pause()
    assert "return num1 + num2" in shown(page)
    assert reply.source == text


@pytest.mark.parametrize(
    "text",
    [
        "1. one\n2. two\n   - inner\n   - *two*\n10. ten\n\ntext\n",
        "```python\nopen fence",
        "| a | b |\n|---|---|\n| long cell " + "x " * 40 + "| 2 |\n",
        "- a\n  ```\n  code\n  ```\n- b\n",
        "#\n\n-\n\n1.\n\n>\n",
        "[y]: http://z\n",
        ">" * 60 + " deep",
        "Setext\n===\nagain\n---\n",
        "Thus\n\\[\na\n=\n- b\n\\]\n- c\n\n$$\n- d\n$$\n\nSetext\n===\n",
        "\r\n\r\nmixed\rlines\x0b\x0c\x1c\x85end",
    ],
)
async def test_streamed_and_at_once_look_the_same(page: Pilot[None], text: str) -> None:
    await stream(page, text, step=2)
    streamed = shown(page)
    await reply_of(page).update("")
    await reply_of(page).update(reply_of(page).source)
    page.app.query_one(Transcript).wipe()
    await page.pause()
    page.app.query_one(Transcript).ask("go")
    await page.pause()
    reply_of(page).finish(text)
    await wait_until(lambda: reply_of(page).settled)
    await page.pause()
    assert shown(page) == streamed


@pytest.mark.parametrize(
    "text",
    [
        r"\(a_1 * b_1 * c\) and \[\frac{a_i}{b_i}\] and $x_1 + y_1$ and $$\sum_i x_i \\ y$$",
        r"C:\Users\{me} costs \$5 at 3\%, \alpha\, and $4 to $5",
        r"\left\{ x \right\} \& \\",
    ],
)
async def test_mathematics_and_backslashes_stay(page: Pilot[None], text: str) -> None:
    await stream(page, text)
    assert " ".join(text.split()) in " ".join(shown(page).split())


async def test_what_markdown_escapes_is_escaped(page: Pilot[None]) -> None:
    await stream(page, r"\*not emphasis\* 1\. \# _emphasis_")
    assert "*not emphasis* 1. # emphasis" in shown(page)


async def test_line_breaks_stay(page: Pilot[None]) -> None:
    await stream(page, "Roses are red,\nviolets are blue,\n\n- an item\n  goes on\n\n\\[\na\n\\]\n")
    lines = [line.strip() for line in shown(page).splitlines()]
    for line in ("Roses are red,", "violets are blue,", "• an item", "goes on", "\\[", "a", "\\]"):
        assert line in lines


@pytest.mark.parametrize(
    "formula",
    [
        "\\[\na\n- b\n= c\n=\n+ d\n1. e\n# f\n> g\n---\n\\]",
        "\\(\n- b\n\\)",
        "$$\na\n- b\n===\n$$",
        "$$a\n- b$$",
        "\\begin{align}\na\n- b\n\\end{align}",
        "\\[\na\n- still being said",
        "$$\n- still being said",
    ],
)
@pytest.mark.parametrize("before", ["", "Thus\n", "1. Step\n"])
async def test_the_lines_of_a_formula_begin_no_block(page: Pilot[None], formula: str, before: str) -> None:
    await stream(page, f"{before}{formula}\n\n- an item\n")
    lines = [line.strip() for line in shown(page).splitlines() if line.strip()]
    first = lines.index(formula.splitlines()[0])
    assert "\n".join(lines[first : first + formula.count("\n") + 1]) == formula
    assert "• an item" in lines


@pytest.mark.parametrize(
    "before", ["costs $$ and `\\[`", "```\n\\[\n```", "\\[ a \\]\n", "# \\[", "[y]: http://z\n\nb"]
)
async def test_what_only_looks_like_a_formula_keeps_its_list(page: Pilot[None], before: str) -> None:
    await stream(page, f"{before}\n- one\n- two\n")
    assert "• one" in shown(page) and "• two" in shown(page)


async def test_columns_stand_where_the_table_says(page: Pilot[None]) -> None:
    await stream(page, "| name | middle | right |\n|---|:-:|--:|\n| a | b | c |\n")
    row = next(line for line in shown(page).splitlines() if line.strip().startswith("a "))
    header = next(line for line in shown(page).splitlines() if "middle" in line)
    assert row.index("c") == header.index("right") + 4
    assert row.index("b") in {header.index("middle") + 2, header.index("middle") + 3}


async def test_an_empty_table_takes_one_blank_line(page: Pilot[None]) -> None:
    await stream(page, "before\n\n| | |\n|---|---|\n| | |\n\nafter")
    lines = [line.strip() for line in shown(page).splitlines()]
    assert lines.index("after") - lines.index("before") <= 3
    assert not any("─" in line for line in lines)


async def test_code_wider_than_the_pane_is_wrapped(page: Pilot[None]) -> None:
    await stream(page, "```\n" + "word " * 20 + "END\n" + "x" * 100 + "LAST\n```\n")
    assert "END" in shown(page) and "LAST" in shown(page)


async def test_the_end_of_an_answer_waits_for_no_painting(
    page: Pilot[None], monkeypatch: pytest.MonkeyPatch
) -> None:
    reply = reply_of(page)
    monkeypatch.setattr(reply, "call_after_refresh", lambda *_: True)  # a screen that paints nothing
    reply.write("begin")
    await wait_until(lambda: reply.source == "begin")
    reply.finish("begin and end")
    await wait_until(lambda: reply.settled)


async def test_a_long_list_is_one_widget(page: Pilot[None]) -> None:
    await stream(page, "\n".join(f"{number}. item" for number in range(1, 200)), step=200)
    assert len(list(reply_of(page).query("*"))) == 1
    assert isinstance(reply_of(page).children[0], TextBlock)


async def test_a_reader_above_the_bottom_stays_there(page: Pilot[None]) -> None:
    transcript, reply = page.app.query_one(Transcript), reply_of(page)
    reply.write("line\n\n" * 60)
    await wait_until(
        lambda: transcript.max_scroll_y > 0 and transcript.scroll_y == transcript.max_scroll_y, "follows"
    )
    transcript.post_message(events.MouseScrollUp(transcript, 5, 5, 0, -1, 0, False, False, False))
    await wait_until(lambda: transcript.scroll_y < transcript.max_scroll_y, "scrolled up")
    await page.pause()
    place = transcript.scroll_y
    assert "new below" not in shown(page)
    reply.finish(reply.text + "more\n\n" * 30)
    await wait_until(lambda: reply.settled)
    await page.pause()
    assert transcript.scroll_y == place
    assert shown(page).rstrip().endswith("↓ new below (pgdn)")
    transcript.scroll_end(animate=False)
    await page.pause()
    assert transcript.scroll_y == transcript.max_scroll_y
    await wait_until(lambda: "new below" not in shown(page))


def test_no_block_makes_links_open() -> None:
    assert Reply()._open_links is False
    assert issubclass(Reply, Markdown)


async def test_a_layout_that_is_cancelled_takes_no_block_with_it(page: Pilot[None]) -> None:
    leaving, leave = asyncio.Event(), asyncio.Event()

    class Slow(Static):
        async def on_unmount(self) -> None:
            leaving.set()
            await leave.wait()

    await page.pause()
    reply = reply_of(page)
    reply.write("One.")
    await wait_until(lambda: bool(reply.children), "the first block is there")
    [block] = reply.children
    await block.mount(Slow())
    task = block._task
    assert task is not None
    reply.finish("Two.")
    await leaving.wait()
    reply.workers.cancel_node(reply)
    await asyncio.sleep(0)
    leave.set()
    await asyncio.wait([task])
    assert not task.cancelled()
