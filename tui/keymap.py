"""Names of keys, for the user to change: every binding of a screen has one, such as `duel.settings`.

A name is the screen's and the action's. Textual puts the user's keys in the place of the shipped ones.
"""

import re
from collections.abc import Iterable
from dataclasses import replace

from textual.binding import Binding, BindingType


def area_of(screen: str) -> str:
    """`duel` of `DuelScreen`, `save-profile` of `SaveProfileDialog`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", re.sub(r"Screen$|Dialog$", "", screen)).lower()


def named(bindings: Iterable[BindingType], area: str) -> list[BindingType]:
    """The bindings, each with a name of its own."""
    found: list[BindingType] = []
    given: set[str] = set()
    for binding in bindings:
        if isinstance(binding, Binding):
            name = binding.id or f"{area}.{_action(binding.action)}"
            name = f"{name}-{binding.key.partition(',')[0]}" if name in given else name
            given.add(name)
            binding = replace(binding, id=name)  # noqa: PLW2901
        found.append(binding)
    return found


def _action(action: str) -> str:
    """`vote-left` of `vote('left')`, `help` of `app.help`."""
    name, _, argument = action.rpartition(".")[2].partition("(")
    argument = re.sub(r"[^\w-]", "", argument)
    return "-".join(filter(None, (name.replace("_", "-"), argument)))
