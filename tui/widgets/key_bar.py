"""Footers: the keys of a screen in the order in which it declares them, whatever has the focus."""

import re
from collections.abc import Sequence

from textual.app import ComposeResult
from textual.binding import ActiveBinding, Binding
from textual.containers import HorizontalGroup
from textual.widgets import Footer
from textual.widgets._footer import FooterKey

FUNCTION_KEY = re.compile(r"f\d+")


class KeyLine(Footer):
    """One line; those of the widget in focus are the last. A click does what the key does."""

    def __init__(self) -> None:
        super().__init__(compact=True, show_command_palette=False)
        self._shown: list[tuple[object, ...]] = []

    async def recompose(self) -> None:
        """Where the keys are others than those that stand here: no picture is without them meanwhile."""
        if not self.is_attached:
            return
        keys = [
            (each.binding, self._is_off(each), self.app.get_key_display(each.binding))
            for each in self._in_order()
        ]
        if keys != self._shown:
            self._shown = list(keys)
            await super().recompose()

    def compose(self) -> ComposeResult:
        if self._bindings_ready:
            yield from map(self._key, self._in_order())

    def _in_order(self) -> Sequence[ActiveBinding]:
        """The keys to be shown."""
        declared = _declared(type(self.screen))
        shown: dict[str, ActiveBinding] = {}
        for active in self.screen.active_bindings.values():
            if active.binding.show:
                shown.setdefault(active.binding.action, active)
        last = [action for action in shown if action not in declared]
        return sorted(shown.values(), key=lambda active: [*declared, *last].index(active.binding.action))

    def _key(self, active: ActiveBinding) -> FooterKey:
        binding = active.binding
        return FooterKey(
            binding.key,
            self.app.get_key_display(binding),
            binding.description,
            binding.action,
            disabled=self._is_off(active),
            tooltip=active.tooltip or binding.description,
        ).data_bind(compact=Footer.compact)

    def _is_off(self, active: ActiveBinding) -> bool:
        """Whether a key does nothing now; where its screen says why, pressed it tells the user."""
        ask = getattr(self.screen, "why_not", None)
        return not active.enabled or bool(ask and ask(active.binding.action))


class KeyBar(KeyLine):
    """Two lines, for a screen with many keys: its own commands, and the function keys below.

    On a narrow screen the first function key alone says `f`: `f1Help 2Vote 3Lens`.
    """

    DEFAULT_CSS = """
    KeyBar { layout: vertical; height: 2; }
    KeyBar HorizontalGroup { height: 1; }
    """

    def on_resize(self) -> None:
        """A narrow screen has narrower keys: measure them again when it has its style."""
        self.call_after_refresh(self._measure)

    def _measure(self) -> None:
        self._display(list(self.query(FooterKey)))
        for key in self.query(FooterKey):
            key.refresh(layout=True)

    def _display(self, keys: Sequence[FooterKey]) -> None:
        for key in [key for key in keys if FUNCTION_KEY.fullmatch(key.key)][1:]:
            key.key_display = key.key[1:] if self.screen.has_class("-narrow") else key.key

    def compose(self) -> ComposeResult:
        if not self._bindings_ready:
            return
        keys = [self._key(active) for active in self._in_order()]
        self._display(keys)
        for is_below in (False, True):
            with HorizontalGroup():
                yield from (key for key in keys if bool(FUNCTION_KEY.fullmatch(key.key)) is is_below)


def _declared(screen: type) -> Sequence[str]:
    """The actions of a screen's keys, those of what it inherits before its own."""
    found: list[str] = []
    for kind in screen.__mro__:
        own = kind.__dict__.get("BINDINGS", ())
        found = [binding.action for binding in own if isinstance(binding, Binding)] + found
        if not kind.__dict__.get("_inherit_bindings", True):
            break
    return found
