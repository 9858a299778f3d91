"""The footer of a screen with many keys: its own commands in one line, the function keys below."""

import re

from textual.app import ComposeResult
from textual.binding import ActiveBinding, Binding
from textual.containers import HorizontalGroup
from textual.widgets import Footer
from textual.widgets._footer import FooterKey

FUNCTION_KEY = re.compile(r"f\d+")


class KeyBar(Footer):
    """Two lines, in the order in which the screen declares its keys; a click does what the key does."""

    DEFAULT_CSS = """
    KeyBar { layout: vertical; height: 2; }
    KeyBar HorizontalGroup { height: 1; }
    """

    def __init__(self) -> None:
        super().__init__(compact=True, show_command_palette=False)

    def compose(self) -> ComposeResult:
        if not self._bindings_ready:
            return
        declared = [binding for binding in self.screen.BINDINGS if isinstance(binding, Binding)]
        order = {binding.action: place for place, binding in enumerate(declared)}
        shown = {
            active.binding.action: active
            for active in self.screen.active_bindings.values()
            if active.binding.show
        }
        ordered = sorted(shown.values(), key=lambda active: order.get(active.binding.action, len(order)))
        for is_below in (False, True):
            with HorizontalGroup():
                for active in ordered:
                    if bool(FUNCTION_KEY.fullmatch(active.binding.key)) is is_below:
                        yield self._key(active)

    def _key(self, active: ActiveBinding) -> FooterKey:
        binding = active.binding
        return FooterKey(
            binding.key,
            self.app.get_key_display(binding),
            binding.description,
            binding.action,
            disabled=not active.enabled,
            tooltip=active.tooltip or binding.description,
        ).data_bind(compact=Footer.compact)
