"""How the sides are asked from the next prompt on. A part of the duel's screen."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from engine.sanitize import visible
from tui.launch import Chosen as ChosenForGood
from tui.screens.duel.models import Models

if TYPE_CHECKING:
    from tui.screens.settings import Chosen


class Settings(Models):
    """Of all sides: sampling, system message, thinking, schedule."""

    def action_settings(self) -> None:
        """Sampling, system message, thinking and schedule of all sides."""
        from tui.screens.settings import SettingsDialog

        def put(chosen: Chosen | None) -> None:
            if chosen is not None:
                self._choose(chosen)

        duel, schedule = self.bridge.duel, self.bridge.asked_schedule
        profiles = [session.profile for session in duel.sessions]
        self.app.push_screen(SettingsDialog(profiles, duel.overrides, schedule), put)

    def _choose(self, chosen: Chosen) -> None:
        """Ask with these settings from the next prompt on."""
        self.bridge.duel.overrides = chosen.overrides
        if chosen.schedule != self.bridge.asked_schedule:
            self.bridge.choose_schedule(chosen.schedule)
            self._schedule_changed()
        self.show_settings()
        if chosen.save:
            self._save_profile()

    def _save_profile(self) -> None:
        """Write what the side in view is asked with into a profile of the user's."""
        from tui.screens.save_profile import SaveProfileDialog

        def tell(file: Path | None) -> None:
            if file is not None:
                self.notify(visible(f"written: {file}"), markup=False, timeout=8)

        active, duel = self.active(), self.bridge.duel
        wanted = duel.overrides.on(duel.sessions[active].profile)
        self.app.push_screen(SaveProfileDialog(wanted, self._named[active] or wanted.name), tell)

    def action_toggle_schedule(self) -> None:
        """One after the other, all at once, or one loaded at a time; holds from the next prompt on."""
        self.bridge.toggle_schedule()
        self._schedule_changed()

    def _schedule_changed(self) -> None:
        self.post_message(ChosenForGood("defaults.schedule", self.bridge.asked_schedule))
        self.show_settings()
        kept = f"schedule: {self.bridge.asked_schedule}, from now on, and at the next start (config.yaml)"
        self.notify(kept, markup=False)
        if self.bridge.schedule != "swap":
            for index, side in enumerate(self.sides):
                if side.state == "not loaded":
                    self._run_load(index, partial(self.bridge.load, index, goes_on=True))
