"""What a long run reports while it goes on, in the words that the screen and the command line show.

Results are no part of it: they are in the run's sheet, which has grown whenever something is `Completed`.
"""

from dataclasses import dataclass

from engine.units import calm_text


@dataclass(frozen=True, slots=True)
class Advanced:
    """The run has come further."""

    what: str
    """`smollm2-nf4`, or a part of its work: `smollm2-nf4, context 64`."""
    doing: str
    """`repeat 2 of 5`, `read 42 %, 108.2 MiB of 256.6 MiB`."""
    share: float | None = None
    """How much is done; None where that is not known now."""
    left_s: float | None = None
    """An estimate of the time left; None before there is a pace."""

    @property
    def words(self) -> str:
        """`smollm2-nf4, context 64: repeat 2 of 5`."""
        return f"{self.what}: {self.doing}"


@dataclass(frozen=True, slots=True)
class Completed:
    """A part is done, or failed: its results change no more."""

    what: str

    @property
    def words(self) -> str:
        """`smollm2-nf4, context 64: done`."""
        return f"{self.what}: done"


@dataclass(frozen=True, slots=True)
class Noted:
    """Something the reader of the results should know."""

    words: str


JobEvent = Advanced | Completed | Noted


def line(event: JobEvent) -> str:
    """`42 %, about 12 s left: smollm2-nf4, context 64: repeat 2 of 5`."""
    if not isinstance(event, Advanced) or event.share is None:
        return event.words
    return f"{how_far_text(event.share, event.left_s)}: {event.words}"


def how_far_text(share: float | None, left_s: float | None) -> str:
    """`42 %, about 12 s left`; nothing where nothing is known."""
    far = "" if share is None else f"{share * 100:.0f} %"
    left = "" if left_s is None else f"about {calm_text(max(1.0, left_s))} left"
    return ", ".join(part for part in (far, left) if part)
