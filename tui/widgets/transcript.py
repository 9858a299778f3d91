"""One side's conversation. Follows the answer while its reader is at the bottom, and stays put otherwise."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.geometry import Size
from textual.widget import Widget
from textual.widgets import Static

from engine.protocol.failure import Failed
from engine.sanitize import visible

if TYPE_CHECKING:
    from engine.duel.answer import Answer
    from engine.stats.metrics import Metrics
    from tui.markdown.reply import Reply
    from tui.widgets.notes import Notes

BY_HALVES = "-by-halves"  # a class of the application
View = Literal["folded", "details", "raw", "diff"]
VIEWS: tuple[View, ...] = get_args(View)
LONGEST_PROMPT = 8_000  # characters that are shown of one: each picture of the screen lays out all of it


class Turns(Vertical):
    """What was said. On a slow line its height grows by halves of the view, so that seldom all rows move."""

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """Of all turns, and below them what is free until the next half is begun."""
        height = super().get_content_height(container, viewport, width)
        view = self.parent.size.height if isinstance(self.parent, Widget) else 0
        if height <= view or not self.app.has_class(BY_HALVES):
            return height
        half = max(1, view // 2)
        return height + -(height - view) % half


class Exchange(Vertical):
    """A prompt, the answer, and what was reported about them."""

    DEFAULT_CSS = """
    Exchange { height: auto; }
    """

    def __init__(self, prompt: Static, reply: Reply) -> None:
        from tui.markdown.plain import Plain
        from tui.widgets.thoughts import Thoughts  # neither are thoughts

        self.thoughts = Thoughts()
        self._raw = Plain()
        self._raw.display = False
        super().__init__()
        self.parts = (prompt, self.thoughts, reply, self._raw)
        """What it begins with, mounted by who adds it: children would come after what is told at once."""
        self.reply = reply
        self.answer: Answer | None = None
        """What the side said, once it is complete."""

    @property
    def raw(self) -> str:
        """The whole answer as text; empty while it comes."""
        return visible(self.answer.text) if self.answer else ""

    def show_view(self, view: View, spans: Sequence[tuple[int, int]]) -> None:
        """Markdown or plain text; `spans` of that are marked."""
        is_plain = bool(self.raw) and (view == "raw" or (view == "diff" and bool(spans)))
        self.thoughts.open(view == "details")
        self.thoughts.set_class(is_plain, "-away")
        self.reply.display, self._raw.display = not is_plain, is_plain
        if is_plain:
            self._raw.show(self.raw, spans)


class Below(Static):
    """Says that more has come below what is read; a click goes there."""

    DEFAULT_CSS = """
    Below {
        layer: above; dock: bottom; width: 100%; height: 1; text-align: center;
        background: $panel; color: $text-warning; display: none;
    }
    """

    def on_click(self, event: events.Click) -> None:
        event.stop()
        if isinstance(self.parent, Transcript):
            self.parent.follow()


class Transcript(VerticalScroll):
    """User turns, answers, and what went wrong between them."""

    DEFAULT_CSS = """
    Transcript {
        height: 1fr; background: transparent; layers: default above;
    }
    Transcript .turns { height: auto; min-height: 100%; padding: 0 1; }  /* short ones begin at the top */
    Transcript .turn {
        background: $panel; border-left: outer $secondary; padding: 0 1; margin: 1 0; height: auto;
    }
    Transcript .note { color: $quiet; margin: 0 1; height: auto; }
    Transcript .-found { border-left: outer $warning; }
    Transcript .note.-warning { color: $text-warning; }
    Transcript .failure {
        border-left: outer $error; background: $error 10%; padding: 0 1; margin: 0 0 1 0; height: auto;
    }
    """

    def __init__(self) -> None:
        super().__init__()
        self.reply: Reply | None = None
        self._turns = Turns(classes="turns")
        self._exchanges: dict[int, Exchange] = {}
        self._exchange: Exchange | None = None  # what comes belongs to it
        self._found: tuple[Widget, int] | None = (
            None  # where the last search went: a block, and and which of its places
        )
        self._notes: Notes | None = None  # what was reported last
        self._shows_notes = False

    def compose(self) -> ComposeResult:
        yield self._turns
        yield Below("↓ new below (pgdn)")

    def on_mount(self) -> None:
        self.anchor()

    def follow(self) -> None:
        """Go to the end, and stay there while more comes."""
        self.anchor()
        self.scroll_end(animate=False)

    def scroll_end(self, **options: Any) -> None:
        """Go to the end. Who follows again may be laid out there without a scroll, so this looks itself."""
        super().scroll_end(**options)
        self.call_after_refresh(self._look_for_end)

    def watch_virtual_size(self, before: Size, size: Size) -> None:
        """More has come; who reads further up is told."""
        if size.height > before.height and before.width == size.width and not self.is_vertical_scroll_end:
            self._tell_new(self._is_left)

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        self.call_after_refresh(
            self._look_for_end
        )  # what is at the end now need not be so once it is laid out

    def _look_for_end(self) -> None:
        if self.is_vertical_scroll_end:
            self._tell_new(False)

    @property
    def _is_left(self) -> bool:
        """Whether the reader has left the end."""
        return self._anchor_released or not self._anchored

    def _tell_new(self, there_is: bool) -> None:
        for below in self.query_children(Below):
            below.display = there_is

    def ask(self, prompt: str, number: int = 0) -> None:
        """Begin a turn: the prompt, and a place for the answer."""
        from tui.markdown.reply import Reply  # Markdown is not needed for the first picture

        self.reply = Reply()
        self._exchange = None
        exchange = Exchange(Static(shown(prompt), classes="turn"), self.reply)
        self._add(exchange)
        self._exchange = self._exchanges[number] = exchange
        self._add(*exchange.parts)
        self.anchor()

    def show_path(self, numbers: frozenset[int]) -> None:
        """Show these exchanges and hide the others, which are of other branches."""
        for number, exchange in self._exchanges.items():
            exchange.display = number in numbers
        shown = [exchange for number, exchange in sorted(self._exchanges.items()) if number in numbers]
        self.reply = shown[-1].reply if shown else None
        self._exchange = shown[-1] if shown else None

    @property
    def raw(self) -> str:
        """The last answer as text."""
        return self._exchange.raw if self._exchange else ""

    @property
    def has_details(self) -> bool:
        """Whether an answer has thoughts, or something is reported besides."""
        return bool(self._all_notes) or any(
            exchange.thoughts.has_class("-there") for exchange in self._exchanges.values()
        )

    def show_view(self, view: View, spans: Sequence[tuple[int, int]]) -> None:
        """Show answers this way; `spans` are of the last one, where it is compared."""
        self._shows_notes = view == "details"
        for notes in self._all_notes:
            notes.open(self._shows_notes)
        for exchange in self._exchanges.values():
            exchange.show_view(view, spans if exchange is self._exchange else ())

    @property
    def _all_notes(self) -> list[Notes]:
        from tui.widgets.notes import Notes

        return list(self.query(Notes))

    def find(self, query: str) -> bool:
        """Go to the next place that has these words, whatever their case; False where none has."""
        words = _folded(query)
        blocks = [widget for widget in self._turns.query("*") if _is_block(widget)]
        places = [(block, number) for block in blocks for number in range(_text(block).count(words))]
        for block in self._turns.query(".-found"):
            block.remove_class("-found")
        if not places or not words:
            self._found = None
            return False
        following = places.index(self._found) + 1 if self._found in places else 0
        block, number = self._found = places[following % len(places)]
        block.add_class("-found")
        self.release_anchor()
        self.call_after_refresh(self._show_line, block, words, number)
        return True

    def _show_line(self, block: Widget, words: str, number: int) -> None:
        """Scroll to the line of a block in which these words begin for so many times."""
        top = block.content_region.y - self.content_region.y + self.scroll_y
        self.scroll_to(y=max(0, top + _line_of(block, words, number) - 1), animate=False)

    def leave(self) -> None:
        """What comes from now on belongs to no exchange."""
        self._exchange = None

    def grow(self, text: str, thoughts: str = "") -> None:
        """Append to the answer; `thoughts` are all so far, empty where there are no new ones."""
        if self._exchange is not None and thoughts:
            self._exchange.thoughts.show(thoughts)
        if self._exchange is not None and text:
            self._exchange.thoughts.end()
        if self.reply is not None:
            self.reply.write(text)

    def finish(self, text: str) -> None:
        """The answer is complete."""
        if self._exchange is not None:
            self._exchange.thoughts.end()
        if self.reply is not None:
            self.reply.finish(text)

    def end(self, answer: Answer) -> None:
        """The answer is complete, with its thoughts."""
        self.finish(answer.parts.said)
        if self._exchange is not None:
            self._exchange.answer = answer
            self._exchange.thoughts.show(answer.parts.thoughts)
            self._exchange.thoughts.count(answer.metrics)

    def count_thoughts(self, metrics: Metrics) -> None:
        """Say how many thoughts the last answer had."""
        if self._exchange is not None:
            self._exchange.thoughts.count(metrics)

    def mark(self, offset: int) -> None:
        """Mark where the answer diverges from the other side's, in characters."""
        answer = self._exchange.answer if self._exchange else None
        begins = answer.parts.said_from if answer else 0
        if self.reply is not None and begins is not None and offset >= begins:
            self.reply.mark(offset - begins)

    @property
    def reload_key(self) -> str:
        """What loads a model again; empty on a screen that loads none, such as a recording's."""
        shown = (active.binding for active in self.screen.active_bindings.values())
        return next((binding.key for binding in shown if binding.action == "reload"), "")

    def fail(self, failed: Failed, key: str = "") -> None:
        """Say what went wrong, below what was shown so far; and which key loads the model again, if any."""
        words = Content.assemble((visible(failed.message), "bold"))
        if failed.hint:
            words += Content.assemble("\n", (visible(failed.hint), "$quiet"))
        if key:
            words += Content.assemble("\n", (key, "bold $text-error"), (" loads it again", "$quiet"))
        self._add(Static(words, classes="failure"))

    def note(self, text: str) -> None:
        """A quiet line between turns."""
        self._add(Static(Content(visible(text)), classes="note"))

    def put_by(self, why: str) -> None:
        """A quiet line: above an answer that is still to come, below one that is complete."""
        note = Static(Content(visible(why)), classes="note")
        if (exchange := self._exchange) is None or exchange.answer:
            self._add(note)
        elif exchange.is_attached:
            exchange.mount(note, before=exchange.thoughts)

    def warn(self, text: str) -> None:
        """A line that the user should not overlook."""
        self._add(Static(Content(visible(text)), classes="note -warning"))

    def tell(self, notes: Sequence[str]) -> None:
        """What is reported about the side or the answer: one line, and details."""
        from tui.widgets.notes import Notes

        self._notes = Notes(notes, is_open=self._shows_notes)
        self._add(self._notes)

    def tell_more(self, notes: Sequence[str], remarks: Sequence[str] = ()) -> None:
        """In the last line reported; the first remark, where there is one, is what it says while folded."""
        if self._notes is None:
            self.tell(())
        if self._notes is not None:
            self._notes.add(notes, remarks)

    def wipe(self) -> None:
        """Forget everything shown."""
        self._notes = None
        self.reply = self._exchange = None
        self._exchanges.clear()
        self._turns.remove_children()

    def _add(self, *widgets: Widget) -> None:
        """Show more; while the application ends nothing can be added."""
        place = self._exchange or self._turns
        if place.is_attached:
            place.mount_all(widgets)


def _is_block(widget: Widget) -> bool:
    """Whether it is a piece of text that is shown."""
    return not widget.children and all(part.display for part in (widget, *_above(widget)))


def _above(widget: Widget) -> list[Widget]:
    return [part for part in widget.ancestors if isinstance(part, Widget)]


def _text(widget: Widget) -> str:
    """The text of a piece, in one line."""
    content = widget.render()
    return _folded(content.plain if isinstance(content, Content) else str(content))


def _line_of(widget: Widget, words: str, number: int) -> int:
    """The line of a piece in which the words begin for so many times, from 0; the first if it is unknown."""
    width, height = widget.content_size
    left, top = widget.gutter.left, widget.gutter.top
    strips = widget.render_lines(widget.outer_size.region)[top : top + height]
    text, starts = "", []
    for strip in strips:
        starts.append(len(text))
        text += _folded(strip.crop(left, left + width).text) + " "
    places = [found.start() for found in re.finditer(re.escape(words), text)]
    return bisect_right(starts, places[number]) - 1 if number < len(places) else 0


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


def shown(prompt: str) -> Content:
    """The prompt, or its beginning and how much of it is not shown."""
    words = Content(visible(prompt[:LONGEST_PROMPT]))
    rest = len(prompt) - LONGEST_PROMPT
    return words if rest <= 0 else words + Content.assemble((f" … and {rest:,} more characters", "$quiet"))
