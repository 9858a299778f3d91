"""What was chosen for both sides on top of their profiles: sampling, the system message, thinking.

Pure. A profile that takes a side later is under them as well; what was not chosen stays each profile's own.
"""

from collections.abc import Mapping

from msgspec import Struct

from engine.config.profile import Profile
from engine.config.profiles import changed

ASKED_WITH = ("generation.", "prompt.")  # what holds for a request; everything else is of a load


class Overrides(Struct, frozen=True):
    """Values by key, such as `generation.temperature` or `prompt.system`."""

    values: Mapping[str, object] = {}

    @classmethod
    def of_settings(cls, settings: Mapping[str, object]) -> "Overrides":
        """Those of a command line's settings that hold for a request."""
        return cls({_full(key): value for key, value in settings.items() if _is_asked_with(key)})

    @staticmethod
    def without_requests(settings: Mapping[str, object]) -> dict[str, object]:
        """Those that a load needs."""
        return {key: value for key, value in settings.items() if not _is_asked_with(key)}

    def on(self, profile: Profile) -> Profile:
        """The profile with what was chosen; ProfileError where a value is none."""
        return changed(profile, self.values, where="settings") if self.values else profile


def _full(key: str) -> str:
    """A bare key is one of `generation`."""
    return key if "." in key else f"generation.{key}"


def _is_asked_with(key: str) -> bool:
    return _full(key).startswith(ASKED_WITH)


NOTHING = Overrides()
