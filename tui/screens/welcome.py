"""The first start: what this is, what was found here, which profiles fit, and a demo that needs none of it.

Reads headers in the background; loads nothing until the user says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from engine.config.profile import Profile
from engine.machine import hardware, packages
from engine.machine.hardware import Hardware
from engine.sanitize import visible
from engine.units import bytes_text
from tui.screens.page import Page
from tui.screens.profiles import VERDICTS, Entry, Fit, entry_content, judged, read_entries
from tui.widgets.key_bar import KeyLine

WHAT = "The same prompt to two models, side by side: is the quantized one good enough, and what do you gain?"
NO_MODELS = "nothing that runs models yet; the demo needs none"


class Start(NamedTuple):
    """What can be done here, and in a line what that means."""

    name: str
    label: str
    what: str


STARTS = (
    Start("demo", "Watch the demo", "a real duel, recorded: no model, no download, a minute"),
    Start("duel", "Start the duel", "{a} against {b}, fetched where missing"),
    Start("pick", "Pick profiles", "the same, and the list of all profiles opens"),
)


class WelcomeScreen(Page[None]):
    """One screen that explains itself; what is chosen is done by `begin`."""

    DEFAULT_CSS = """
    #welcome-bar { height: 1; padding: 0 2; }
    #welcome { height: 1fr; padding: 0 2; }
    #welcome .what { margin: 1 0 0 0; height: auto; }
    #welcome .heading { margin: 1 0 0 0; height: 1; }
    #welcome #found, #welcome #fits { height: auto; }
    #welcome #fits { text-wrap: nowrap; text-overflow: ellipsis; }
    #welcome OptionList {
        height: auto; background: transparent; border: none; text-wrap: nowrap; text-overflow: ellipsis;
    }
    """
    BINDINGS = [
        Binding("enter", "choose", "Choose", priority=True),
        Binding("d", "begin('demo')", "Demo"),
        Binding("pageup", "scroll_page(-1)", "Back up", show=False, priority=True),
        Binding("pagedown", "scroll_page(1)", "More", priority=True),
        Binding("f1", "app.help", "Help"),
        Binding("escape,q,ctrl+d", "app.quit", "Quit"),
    ]

    def __init__(self, profiles: Sequence[Profile], begin: Callable[[str], None]) -> None:
        super().__init__()
        self._names = {letter: profile.name for letter, profile in zip("ab", profiles, strict=True)}
        self._begin = begin
        self._entries: list[Entry] = []
        self._fits: dict[str, Fit] = {}

    def compose(self) -> ComposeResult:
        yield Static(Content.assemble(("quantduel", "bold $foreground")), id="welcome-bar")
        with VerticalScroll(id="welcome", can_focus=False):
            yield Static(WHAT, classes="what")
            yield Static(_heading("Here"), classes="heading")
            yield Static(Content.assemble(("looking …", "$quiet")), id="found")
            yield Static(_heading("Begin"), classes="heading")
            yield OptionList(*(Option(self._start(start), id=start.name) for start in STARTS), compact=True)
            yield Static(_heading("Profiles"), classes="heading")
            yield Static(id="fits")
        yield KeyLine()

    def on_mount(self) -> None:
        options = self.query_one(OptionList)
        options.highlighted = 0
        options.focus()
        self.work(self._look)

    @on(OptionList.OptionSelected)
    def _selected(self, event: OptionList.OptionSelected) -> None:
        self.action_begin(event.option.id or "")

    def action_choose(self) -> None:
        """What is marked."""
        if (option := self.query_one(OptionList).highlighted_option) is not None:
            self.action_begin(option.id or "")

    def action_begin(self, name: str) -> None:
        """This."""
        self._begin(name)

    def action_scroll_page(self, direction: int) -> None:
        """Show more of the profiles, while the list of what can be begun keeps the focus."""
        page = self.query_one("#welcome")
        page.scroll_relative(y=direction * max(1, page.size.height - 2), animate=False)

    async def _look(self) -> None:
        """The machine, then the profiles one after the other."""
        machine = await asyncio.to_thread(hardware.detect)
        self.query_one("#found", Static).update(found_content(machine))
        self._entries = [entry for entry in await asyncio.to_thread(read_entries) if not entry.fault]
        self._show()
        for entry in self._entries:
            self._fits[entry.name] = await asyncio.to_thread(judged, entry.name, machine)
            self._show()

    def _show(self) -> None:
        self.query_one("#fits", Static).update(fits_content(self._entries, self._fits))

    def _start(self, start: Start) -> Content:
        names = {key: visible(name, keep_newlines=False) for key, name in self._names.items()}
        return Content.assemble((start.label.ljust(17), "bold"), (start.what.format(**names), "$quiet"))


def found_content(machine: Hardware) -> Content:
    """Processor, memory, GPUs, and whether models can be run."""
    host = machine.host
    memory = f"{bytes_text(host.available_bytes)} of {bytes_text(host.total_bytes)} free"
    lines = [f"{host.name}, {host.cores} cores, {memory}"]
    lines += [
        f"{gpu.name}, {bytes_text(gpu.free_bytes)} of {bytes_text(gpu.total_bytes)} free"
        for gpu in machine.gpus
    ]
    lines += [] if machine.gpus else [machine.gpu_problem or "no NVIDIA GPU: models run on the processor"]
    lines += [f"no GPU is used: {machine.unused.why}; `quantduel doctor` has more"] if machine.unused else []
    content = Content("\n").join([Content(visible(line)) for line in lines])
    if absent := packages.missing("transformers"):
        words = f"\n{NO_MODELS}: it {absent.message}\n{absent.hint}"
        content += Content.assemble((visible(words), "$text-warning"))
    return content


def fits_content(entries: list[Entry], fits: Mapping[str, Fit]) -> Content:
    """Those that fit first, of these those that are here; each with its signs."""
    ranked = sorted(entries, key=lambda entry: (_place(fits.get(entry.name)), entry.availability != "here"))
    legend = Content.assemble(
        ("● fits  ", "$text-success"),
        ("◐ tight  ", "$text-warning"),
        ("○ does not fit", "$text-error"),
        ("   ↓ to be fetched  ⚷ gated", "$quiet"),
    )
    return Content("\n").join([legend, *(entry_content(entry, fits.get(entry.name)) for entry in ranked)])


def _place(fit: Fit | None) -> int:
    return VERDICTS.index(fit.verdict if fit else None)


def _heading(text: str) -> Content:
    return Content.assemble((text, "bold $text-primary"))
