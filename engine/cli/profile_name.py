"""The name of a profile as an argument: any text, which a shell completes by the profiles there are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


class ProfileName(click.ParamType[str]):
    """A profile's name, its file, or a model."""

    name = "text"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not str(value).strip():  # a shell's variable that is not set; as a path it would be this folder
            self.fail("expected a profile or a model, not an empty text", param, ctx)
        return str(value)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Profiles that begin so; files where it looks like a path."""
        return completions(incomplete)


def completions(incomplete: str) -> list[CompletionItem]:
    """What a profile's name can go on to."""
    from click.shell_completion import CompletionItem

    from engine.config import profiles
    from engine.errors import QuantDuelError

    if incomplete.startswith((".", "/", "~")) or "/" in incomplete:
        return [CompletionItem(incomplete, type="file")]
    try:
        names = profiles.available()
    except (QuantDuelError, OSError):  # a shell is no place to report it
        return []
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


PROFILE = ProfileName()
