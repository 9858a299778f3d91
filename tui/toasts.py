"""Toasts: they stand above what is being used, and but for warnings they go with the screen they are about.

Knows nothing of what is told.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from textual import events, on
from textual.messages import Prune
from textual.notifications import Notification, Notify, SeverityLevel
from textual.screen import ModalScreen, Screen
from textual.widget import Widget
from textual.widgets._toast import ToastRack

LEAST_ROWS = 4  # that toasts have on a screen that is nearly all prompt
FREE_BELOW = 1


class Telling(Widget):
    """A screen that tells something: its keys are named there, so it is told nowhere else.

    Warnings and errors stay for their time, on whatever screen: they may be about what goes on behind it.
    """

    _told: tuple[Notification, ...] = ()
    _held: tuple[Callable[[], None], ...] = ()  # until the screen is back

    def notify(
        self,
        message: str,
        *,
        title: str = "",
        severity: SeverityLevel = "information",
        timeout: float | None = None,
        markup: bool = True,
    ) -> None:
        """Tell it, as Textual does; what is no warning waits while another screen is shown."""
        how = partial(self.notify, message, title=title, severity=severity, timeout=timeout, markup=markup)
        if severity == "information" and self._is_behind():
            self._held = (*self._held, how)
            return
        seconds = self.app.NOTIFICATION_TIMEOUT if timeout is None else timeout
        told = Notification(message, title, severity, seconds, markup=markup)
        if severity == "information":
            self._take_down(about=_topic(message))
            self._told = (*self._told, told)
        self.app.post_message(Notify(told))

    @on(events.ScreenSuspend)
    @on(Prune)
    def take_down(self) -> None:
        """What was told is not so any more."""
        self._take_down()

    def _take_down(self, about: str = "") -> None:
        """What was told, or of that what is about this."""
        gone = [told for told in self._told if about in ("", _topic(told.message))]
        for told in gone:
            self.app.call_later(self.app._unnotify, told)  # when it was told; Textual has no other way
        self._told = tuple(told for told in self._told if told not in gone)

    @on(events.ScreenResume)
    def _tell_held(self) -> None:
        held, self._held = self._held, ()
        for tell in held:
            tell()

    @on(events.Mount)
    def _watch_layout(self) -> None:
        self.screen.screen_layout_refresh_signal.subscribe(self, self._place)

    def _is_behind(self) -> bool:
        shown: Widget = self.app.screen
        return shown is not self and not isinstance(shown, ModalScreen)

    def _place(self, screen: Screen[object]) -> None:
        """At the foot of what fills the screen, which leaves prompts, figures and keys below it free."""
        height = self.size.height
        filling = [child.region.bottom for child in self.children if _fills(child)]
        rows = min(height - max(filling), max(FREE_BELOW, height - LEAST_ROWS)) if filling else FREE_BELOW
        for rack in self.query_children(ToastRack):
            if rack.styles.margin.bottom != rows:
                rack.styles.margin = (0, 0, rows, 0)


def _topic(message: str) -> str:
    """Its first word: `Copied`, `Still`, `Answers`. Of the same thing only the latest is told."""
    return message.split(maxsplit=1)[0] if message.strip() else ""


def _fills(child: Widget) -> bool:
    height = child.styles.height
    return child.display and height is not None and height.is_fraction
