"""Keys that edit a text act in the order in which they were pressed, also where many arrive at once."""

from textual import events
from textual.widget import Widget


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
