"""The picker: another profile for one side, found by a few letters. Reads headers; loads nothing.

Whether a profile fits is computed in the background, one after the other, and shown as it becomes known.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.content import Content
from textual.fuzzy import Matcher
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from engine.config import profiles
from engine.config.profile import Profile
from engine.config.profiles import origin
from engine.duel.sides import LETTERS
from engine.errors import InputError, LoadError
from engine.machine import hardware
from engine.machine.hardware import Hardware
from engine.plan.local import planned
from engine.plan.terms import Verdict
from engine.plan.text import verdict_text
from engine.sanitize import visible
from engine.shape import availability
from engine.shape.availability import Availability
from engine.units import bytes_text
from tui.duel.colours import COLOURS
from tui.screens.page import Dialog
from tui.settings.line_input import LineInput

PLACES = "profile, folder, .gguf file, org/model or random:shape"
NAME_WIDTH, BADGE_WIDTH = 28, 18
SIGNS: dict[Verdict | None, tuple[str, str]] = {
    "fits": ("●", "$text-success"),
    "tight": ("◐", "$text-warning"),
    "does not fit": ("○", "$text-error"),
    None: (" ", "$quiet"),
}
VERDICTS: list[Verdict | None] = ["fits", "tight", None, "does not fit"]


WHERE: dict[Availability, str] = {
    "here": "",
    "to fetch": "↓ to be fetched",
    "gated": "⚷ to be fetched; the hub may want a licence accepted: `hf auth login`",
    "missing": "✗ not where the profile says",
}


class Choice(NamedTuple):
    """What the user picked, and for whom."""

    side: int
    profile: Profile
    named: str
    """What it was called."""


class Entry(NamedTuple):
    """One profile in the list; `fault` says why it cannot be used."""

    name: str
    badge: str
    description: str
    fault: str = ""
    availability: Availability = "here"


MARKS: dict[Availability, str] = {"here": "", "to fetch": "↓ ", "gated": "⚷ ", "missing": "✗ "}
"""To be fetched; the same, and the hub may want a licence accepted; not where the profile says."""


class Fit(NamedTuple):
    """Whether a profile fits, as far as its headers say."""

    verdict: Verdict | None
    """None where no plan can be made."""
    detail: str


class ProfilePicker(Dialog[Choice | None]):
    """Fuzzy search over all profiles; Tab changes the side."""

    BINDINGS = [
        Binding("escape", "dismiss", "Close"),
        Binding("tab,shift+tab", "other_side", "Other side", priority=True),
        Binding("up", "move(-1)", "The profile above", show=False, priority=True),
        Binding("down", "move(1)", "The profile below", show=False, priority=True),
    ]

    def __init__(self, side: int, current: Sequence[str]) -> None:
        super().__init__()
        self.side = side
        self._current = current
        self._entries: list[Entry] = []
        self._is_read = False
        self._is_awaited = False  # Enter came before the list
        self._fits: dict[str, Fit] = {}

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as dialog:
            dialog.border_subtitle = "Enter takes it · Tab: the other side · Esc closes"
            yield Static(id="picker-side")
            yield LineInput(placeholder=PLACES, compact=True)
            yield Static(id="picker-fit")
            yield OptionList(compact=True)
            yield Static(id="picker-fault")

    def on_mount(self) -> None:
        self.query_one(OptionList).can_focus = False
        self.query_one(Input).focus()
        self._show_side()
        self.work(self._fill, group="fill")

    @on(OptionList.OptionHighlighted)
    def _highlighted(self) -> None:
        self._show_fit()

    @on(Input.Changed)
    def _changed(self, event: Input.Changed) -> None:
        self._is_awaited = False
        self._search(event.value)
        self._say("")

    @on(Input.Submitted)
    def _submitted(self) -> None:
        options = self.query_one(OptionList)
        if not self._is_read:
            self._is_awaited = True
        elif options.highlighted is not None:
            self._choose(options.get_option_at_index(options.highlighted).id or "")

    @on(OptionList.OptionSelected)
    def _selected(self, event: OptionList.OptionSelected) -> None:
        self._choose(event.option.id or "")

    def action_move(self, step: int) -> None:
        """Walk through the list while the search keeps the focus."""
        options = self.query_one(OptionList)
        if step < 0:
            options.action_cursor_up()
        else:
            options.action_cursor_down()

    def action_other_side(self) -> None:
        """Pick for the other side, or the next."""
        self.side = (self.side + 1) % len(self._current)
        self._show_side()

    def _show_side(self) -> None:
        for side, letter in enumerate(LETTERS):
            self.set_class(self.side == side, f"-side-{letter.lower()}")
        colour = COLOURS[self.side]
        current = visible(self._current[self.side], keep_newlines=False)
        words = Content.assemble(
            (f"Side {LETTERS[self.side]}", f"bold {colour}"),
            (f"  instead of {current}", "$quiet"),
        )
        self.query_one("#picker-side", Static).update(words)

    def _search(self, query: str) -> None:
        options = self.query_one(OptionList)
        found = matching(self._entries, query)
        options.clear_options()
        fits = self._fits
        options.add_options(
            [Option(entry_content(entry, fits.get(entry.name)), id=entry.name) for entry in found]
        )
        text = query.strip()
        if text and not any(entry.name == text for entry in found):
            shown = visible(text, keep_newlines=False)
            options.add_option(Option(Content.assemble(("model  ", "$quiet"), shown), id=text))
        options.highlighted = 0 if options.option_count else None

    async def _fill(self) -> None:
        """The list, as soon as it is read."""
        entries = await asyncio.to_thread(read_entries)
        self._entries, self._is_read = ordered(entries, self._current, self._fits), True
        self._search(self.query_one(Input).value)
        if self._is_awaited:
            self._submitted()
        await self._judge_all()
        self._entries = ordered(entries, self._current, self._fits)
        if not self.query_one(Input).value and self.query_one(OptionList).highlighted == 0:
            self._search("")  # nobody is on the way through the list

    async def _judge_all(self) -> None:
        """Whether each profile fits, those in view first; the list stays as it is meanwhile."""
        machine = await asyncio.to_thread(hardware.detect)
        for entry in self._entries:
            if entry.fault:
                continue
            self._fits[entry.name] = fit = await asyncio.to_thread(judged, entry.name, machine)
            options = self.query_one(OptionList)
            if any(options.get_option_at_index(i).id == entry.name for i in range(options.option_count)):
                options.replace_option_prompt(entry.name, entry_content(entry, fit))
            self._show_fit()

    def _show_fit(self) -> None:
        """The plan of the highlighted profile, in a line."""
        options = self.query_one(OptionList)
        option = options.highlighted_option
        fit = self._fits.get(option.id or "") if option else None
        line = self.query_one("#picker-fit", Static)
        entry = next((entry for entry in self._entries if option and entry.name == option.id), None)
        where = WHERE[entry.availability] if entry else ""
        words = " · ".join(part for part in (where, fit.detail if fit else "") if part)
        line.update(Content(visible(words, keep_newlines=False)).stylize("$quiet"))

    def _say(self, fault: str) -> None:
        line = self.query_one("#picker-fault", Static)
        line.update(Content(visible(fault)))
        line.display = bool(fault)

    def _choose(self, name: str) -> None:
        try:
            self.dismiss(Choice(self.side, profiles.find(name), name))
        except InputError as error:
            self._say(str(error))


def read_entries() -> list[Entry]:
    """Every profile that can be found, also the faulty ones."""
    return [_entry(name) for name in profiles.available()]


def ordered(entries: Sequence[Entry], used: Sequence[str], fits: Mapping[str, Fit]) -> list[Entry]:
    """What is in use, what is here, what fits; else by name."""

    def rank(entry: Entry) -> tuple[bool, bool, bool, int]:
        fit = fits.get(entry.name)
        verdict = VERDICTS.index(fit.verdict) if fit else 0
        return bool(entry.fault), entry.name not in used, entry.availability != "here", verdict

    return sorted(entries, key=rank)


def matching(entries: list[Entry], query: str) -> list[Entry]:
    """The entries that match, best first; all of them for an empty query."""
    if not query.strip():
        return entries
    matcher = Matcher(query.strip())
    scored = [
        (max(matcher.match(entry.name), matcher.match(entry.description) / 2), entry) for entry in entries
    ]
    return [entry for score, entry in sorted(scored, key=lambda pair: -pair[0]) if score > 0]


def judged(name: str, machine: Hardware) -> Fit:
    """Whether a profile fits here, by headers that lie on this machine."""
    try:
        found = planned(profiles.find(name), None, machine, ask_hub=False)
    except (InputError, LoadError) as error:
        return Fit(None, f"no plan: {error.message}")
    if found.missing_package:
        return Fit(None, found.missing_package)
    weights, cache = bytes_text(found.weights_bytes), bytes_text(found.kv_cache_bytes)
    return Fit(
        found.verdict,
        f"{verdict_text(found)} · weights {weights} · KV cache {cache} at {found.context} tokens",
    )


def entry_content(entry: Entry, fit: Fit | None = None) -> Content:
    """One line: name, badge, whether it fits, description or fault."""
    name, badge, description, fault = (visible(part, keep_newlines=False) for part in entry[:4])
    sign, style = SIGNS[fit.verdict if fit else None]
    return Content.assemble(
        (sign + " ", style),
        Content.styled(name, "$quiet" if fault else "bold").truncate(NAME_WIDTH, ellipsis=True, pad=True),
        " ",
        Content.styled(badge, "$text-primary").truncate(BADGE_WIDTH, ellipsis=True, pad=True),
        " ",
        (MARKS[entry.availability], "$text-warning"),
        (fault or description, "$text-error" if fault else "$quiet"),
    )


def _entry(name: str) -> Entry:
    try:
        profile = profiles.find(name)
    except InputError as error:
        return Entry(name, "", "", str(error))
    files = origin.files(name)
    is_strange = bool(files) and origin.of(files[0]) == "./profiles"
    remark = origin.remark(name) or ("./profiles" if is_strange else "")
    words = ": ".join(part for part in (remark, profile.description) if part)
    return Entry(
        name, profile.label, words, availability=availability.of(profile.source, profile.model.revision)
    )
