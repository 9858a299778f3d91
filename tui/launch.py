"""What the command line and the user's settings chose for the screen. Data alone."""

from collections.abc import Callable

from msgspec import Struct
from textual.message import Message

from engine.config.profile import Profile
from engine.config.user_config import Config
from engine.duel.overrides import NOTHING, Overrides
from engine.session.schedule import AskedSchedule

NOTHING_SET = Config()


def _kept_nowhere(key: str, value: object) -> None:
    """A screen that nobody started keeps nothing."""


class Chosen(Message):
    """The user chose this on the screen, and it holds from now on: a key of the settings file."""

    def __init__(self, key: str, value: object) -> None:
        super().__init__()
        self.key, self.value = key, value


class Launch(Struct, frozen=True):
    """How the duel begins."""

    named: tuple[str, ...] = ("", "")
    """What the sides were called: a profile's name, a file, a model; empty where nobody said."""
    more: tuple[Profile, ...] = ()
    """The profiles of the sides after B."""
    overrides: Overrides = NOTHING
    schedule: AskedSchedule = "auto"
    low_bandwidth: bool = False
    """Whether the line to the terminal is slow."""
    prompt: str = ""
    """Asked as soon as all are loaded; empty for none."""
    explains: bool = False
    """Whether it begins with the screen that explains itself."""
    remarks: tuple[str, ...] = ()
    """What the user should know of the names."""
    config: Config = NOTHING_SET
    keep: Callable[[str, object], object] = _kept_nowhere
    """Has the user's settings file say something from now on."""


NOTHING_CHOSEN = Launch()
