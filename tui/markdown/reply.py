"""One answer in a transcript: Markdown that follows a stream.

Text is appended as fast as the document can be painted and no faster, so a long answer costs its reader and
the engine no more than a short one. At the end the whole document is built once more, from the whole text.
`Markdown.get_stream` paints as often as it can: by `benchmarks/markdown.py` that takes 4 to 60 times as much.
"""

import asyncio

from engine.sanitize import visible
from tui.ending import Ending, whole
from tui.markdown.divergence import with_mark
from tui.markdown.markdown import ModelMarkdown

REST = 4.0  # after painting, rest so many times as long as it took: at most a fifth of one core
LONGEST_REST_S = 1.0


class Reply(ModelMarkdown, Ending):
    """An answer, while it comes and afterwards."""

    DEFAULT_CSS = """
    Reply { padding: 0 1; background: transparent; }
    Reply MarkdownFence { overflow: hidden; }
    Reply MarkdownFence > Label { width: 100%; text-wrap: wrap; text-overflow: fold; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.text = ""
        """The answer so far, as the model wrote it."""
        self._unwritten = ""
        self._shown: str | None = None  # the answer as it was built whole, at its end or with a mark
        self._diverges_at: int | None = None  # where the answer diverges from the other one
        self._ended = asyncio.Event()
        self._changed = asyncio.Event()
        self._complete = asyncio.Event()  # nothing is appended any more
        self._painted = asyncio.Event()  # what was appended last, or it does not matter any more

    def on_mount(self) -> None:
        self.work(self._follow)

    def write(self, text: str) -> None:
        """Append text."""
        self.text += text
        self._unwritten += text
        self._changed.set()

    def finish(self, text: str) -> None:
        """The answer is complete: this is all of it."""
        self.text = text
        for event in (self._ended, self._changed, self._painted):
            event.set()

    def mark(self, offset: int) -> None:
        """Mark where the answer diverges from the other one, once all of it is shown."""
        self._diverges_at = offset
        if self._complete.is_set():
            self.work(self._show_all, exclusive=True, group="mark")

    @property
    def settled(self) -> bool:
        """Whether the whole answer is shown."""
        return self._shown == self._all

    @property
    def _all(self) -> str:
        """All of the answer, with its mark."""
        text = self.text if self._diverges_at is None else with_mark(self.text, self._diverges_at)
        return visible(text)

    async def _show_all(self) -> None:
        text = self._all
        await whole(self.update(text))
        self._shown = text

    async def _follow(self) -> None:
        while not self._ended.is_set():
            await self._changed.wait()
            self._changed.clear()
            text, self._unwritten = self._unwritten, ""
            if text and not self._ended.is_set():
                await self._append(text)
        self._complete.set()
        await self._show_all()

    async def _append(self, text: str) -> None:
        """Append, and rest in proportion to what layout and painting took."""
        clock = asyncio.get_running_loop().time
        began_s = clock()
        self._painted.clear()
        await whole(self.append(visible(text)))
        self.call_after_refresh(self._painted.set)
        if not self._ended.is_set():  # the end waits for no painting
            await self._painted.wait()
        rest_s = min(LONGEST_REST_S, (clock() - began_s) * REST)
        try:
            await asyncio.wait_for(self._ended.wait(), rest_s)
        except TimeoutError:
            return
