"""What Markdown that streams costs the screen: `python benchmarks/markdown.py`.

The same text comes at 100 tokens a second, five characters each, into a transcript of 60×36, three ways: our
blocks and pace (`Reply`), Textual's blocks with our pace, and Textual's blocks with its own stream
(`Markdown.get_stream`). Printed is CPU time: of each token, and of the end, when the whole text is laid out
once more. Textual's headless driver: all is laid out and rendered, nothing reaches a terminal.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

from textual.app import App, ComposeResult
from textual.widgets import Markdown

from tui.markdown.markdown import ModelMarkdown
from tui.markdown.reply import Reply
from tui.widgets.transcript import Transcript

TOKEN = 5  # characters
PIECE_S = 0.02  # two tokens
TEXTS = {
    "prose": ("The lighthouse keeper looked at the sea and wrote a line in his book. " * 5 + "\n\n") * 8,
    "list": "\n".join(f"{n}. item {n} with some **bold** words and a `code` bit" for n in range(1, 121)),
    "table": "| a | b | c |\n|---|---|---|\n"
    + "\n".join(f"| row {n} | value {n * n} | some words |" for n in range(80)),
    "code": "```python\n" + "\n".join(f"def f{n}(x): return x + {n}" for n in range(80)) + "\n```",
}


class Page(App[None]):
    """A transcript and nothing else."""

    def compose(self) -> ComposeResult:
        yield Transcript()


async def measure(text: str, *, own_stream: bool) -> str:
    """CPU time of one text."""
    app = Page()
    async with app.run_test(size=(60, 36)) as pilot:
        app.query_one(Transcript).ask("go")
        await pilot.pause()
        reply = app.query_one(Transcript).reply
        assert isinstance(reply, Reply)
        stream = Markdown.get_stream(reply) if own_stream else None
        write: Callable[[str], Awaitable[None] | None] = stream.write if stream else reply.write
        began_s = time.process_time()
        for start in range(0, len(text), 2 * TOKEN):
            waits = write(text[start : start + 2 * TOKEN])
            if waits is not None:
                await waits
            await asyncio.sleep(PIECE_S)
        if stream:
            await stream.stop()
        streamed_s = time.process_time()
        reply.finish(text)
        while not reply.settled:  # noqa: ASYNC110 - a widget has no event for this
            await asyncio.sleep(0.01)
        await pilot.pause()
        token_ms = (streamed_s - began_s) * 1000 / (len(text) / TOKEN)
        end_ms = (time.process_time() - streamed_s) * 1000
        widgets = len(list(reply.query("*")))
    return f"{token_ms:6.2f} ms a token, {end_ms:5.0f} ms at the end, {widgets:3} widgets"


def main() -> None:
    """All texts, all ways."""
    own = ModelMarkdown._parse_markdown
    ways = {
        "ours": (own, False),
        "Textual's blocks": (Markdown._parse_markdown, False),
        "Textual's stream": (Markdown._parse_markdown, True),
    }
    for name, text in TEXTS.items():
        for way, (parse, own_stream) in ways.items():
            ModelMarkdown._parse_markdown = parse  # type: ignore[method-assign]
            print(f"{name:6} {way:17} {asyncio.run(measure(text, own_stream=own_stream))}", flush=True)


if __name__ == "__main__":
    main()
