"""The settings of all sides: how they are asked and take turns. Changes nothing; ends with a choice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple, get_args

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input, Label, Static, TextArea

from engine.config.profile import Profile
from engine.duel.overrides import Overrides
from engine.duel.sides import all_of
from engine.errors import ProfileError
from engine.sanitize import visible
from engine.session.schedule import AskedSchedule, Schedule
from tui.own_keys import OwnKeys
from tui.screens.page import Dialog
from tui.settings.choice import Choice
from tui.settings.form import SETTINGS, SYSTEM, Form, Mark, Setting
from tui.settings.line_input import LineInput
from tui.widgets.prompt import NEWLINE_KEYS

SCHEDULE = Setting("schedule", "schedule", "auto: swap where needed", ("auto", *get_args(Schedule)))
KEYS = "Enter takes it · Ctrl+S saves a profile · Ctrl+R resets · Esc closes"


class Chosen(NamedTuple):
    """What was chosen, and whether it is to be written into a profile."""

    overrides: Overrides
    schedule: AskedSchedule
    save: bool = False


class SystemPrompt(TextArea, OwnKeys):
    """Several lines: Ctrl+J is a new one, Enter takes all settings."""

    async def _on_key(self, event: events.Key) -> None:
        if event.key in NEWLINE_KEYS:
            event.stop()
            event.prevent_default()
            self.insert("\n")


class SettingsDialog(Dialog[Chosen | None]):
    """One field a setting, one set for all sides."""

    BINDINGS = [
        Binding("escape", "dismiss", "Close"),
        Binding("enter", "take", "Take", priority=True),
        Binding("ctrl+s", "save", "Into a profile", priority=True),
        Binding("ctrl+r", "reset", "As the profiles say", priority=True),
        # not after the field has read it: what is typed next would go to the field that is left
        Binding("tab", "app.focus_next", "Next", show=False, priority=True),
        Binding("shift+tab", "app.focus_previous", "Previous", show=False, priority=True),
        Binding("up", "app.focus_previous", "The field above", show=False),
        Binding("down", "app.focus_next", "The field below", show=False),
    ]

    def __init__(self, profiles: Sequence[Profile], before: Overrides, schedule: AskedSchedule) -> None:
        super().__init__()
        self._form = Form(profiles, before)
        self._sides = len(profiles)
        self._schedule = schedule
        self._chosen = before
        self._fault = ""

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = f"Settings of {all_of(self._sides)} sides"
            dialog.border_subtitle = KEYS
            for setting in (*SETTINGS, SCHEDULE):
                with Horizontal(classes="tall" if setting.key == SYSTEM else ""):
                    yield Label(setting.label)
                    yield self._field(setting)
                    yield Static(id=f"mark-{_id(setting.key)}", classes="mark")
            yield Static(id="settings-fault")

    def on_mount(self) -> None:
        self.query_one("#set-generation-temperature").focus()
        self._show()

    @on(Input.Changed)
    @on(TextArea.Changed)
    @on(Choice.Changed)
    def _show(self) -> None:
        """What the fields choose now, and what to know of it."""
        try:
            self._chosen = self._form.chosen(self._texts)
        except ProfileError as error:
            self._say(error.message.removeprefix("settings: "))
            return
        self._say("")
        for setting in SETTINGS:
            self._mark(setting, self._form.mark(setting, self._chosen))
        self._mark(SCHEDULE, Mark(SCHEDULE.hint))

    def action_take(self) -> None:
        """Ask with these from the next prompt on."""
        self.after_typing(partial(self._finish, save=False))

    def action_save(self) -> None:
        """Take them, and write them into a profile."""
        self.after_typing(partial(self._finish, save=True))

    def action_reset(self) -> None:
        """What the profiles say."""
        for key, text in self._form.defaults.items():
            self._fill(key, text)
        self._form.forget()
        self._show()

    def _finish(self, *, save: bool) -> None:
        self._show()
        if not self._fault:
            self.dismiss(Chosen(self._chosen, self._asked_schedule, save))

    @property
    def _texts(self) -> dict[str, str]:
        return {setting.key: self._text(setting.key) for setting in SETTINGS}

    @property
    def _asked_schedule(self) -> AskedSchedule:
        value = self.query_one("#set-schedule", Choice).value
        return next(schedule for schedule in _schedules() if schedule == value)

    def _text(self, key: str) -> str:
        field = self.query_one(f"#set-{_id(key)}")
        if isinstance(field, TextArea):
            return field.text
        return field.value if isinstance(field, Input | Choice) else ""

    def _fill(self, key: str, text: str) -> None:
        field = self.query_one(f"#set-{_id(key)}")
        if isinstance(field, TextArea):
            field.text = text
        elif isinstance(field, Input | Choice):
            field.value = text

    def _field(self, setting: Setting) -> Widget:
        name = f"set-{_id(setting.key)}"
        text = self._schedule if setting is SCHEDULE else self._form.shown[setting.key]
        if setting.choices:
            return Choice(setting.choices, text, id=name)
        if setting.key == SYSTEM:
            return SystemPrompt(text, id=name, compact=True, highlight_cursor_line=False)
        return LineInput(text, id=name, compact=True)

    def _mark(self, setting: Setting, mark: Mark) -> None:
        words = Content(visible(mark.text, keep_newlines=False))
        style = "$text-warning" if mark.differs else "$quiet"
        self.query_one(f"#mark-{_id(setting.key)}", Static).update(words.stylize(style))

    def _say(self, fault: str) -> None:
        self._fault = fault
        self.query_one("#settings-fault", Static).update(Content(visible(fault, keep_newlines=False)))


def _id(key: str) -> str:
    return key.replace(".", "-")


def _schedules() -> Iterator[AskedSchedule]:
    yield "auto"
    yield from get_args(Schedule)
