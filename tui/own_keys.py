"""Keys that edit a text act in the order in which they were pressed, also where many arrive at once."""

import asyncio
from contextlib import suppress

from textual import events
from textual.widget import Widget

PATIENCE_S = 0.5  # with a widget that waits itself for the application


async def caught_up(focused: Widget) -> None:
    """Return when a widget has taken what was typed, and those around it have heard of it.

    A key that the application or a screen takes first, such as Enter in a dialog, would overtake it.
    """
    for widget in focused.ancestors_with_self:
        if widget is focused.app:
            return
        heard = asyncio.Event()
        if widget.call_later(heard.set):
            with suppress(TimeoutError):
                await asyncio.wait_for(heard.wait(), PATIENCE_S)


class OwnKeys(Widget):
    """Whose own bindings act when a key reaches it.

    Textual's widgets take characters at once, and hand other keys up to the application first: by then the
    next characters are in the text, and backspace would take the wrong one, or one of another field.
    """

    async def _on_key(self, event: events.Key) -> None:
        bindings = self._bindings.copy()
        bindings.apply_keymap(self.app._keymap)
        for binding in bindings.key_to_bindings.get(event.key, ()):
            if not binding.priority and await self.app.run_action(binding.action, self):
                event.stop()
                event.prevent_default()
                return
