"""Two answers cut at the same length: what a blind screen may show before the vote.

Pure: knows no widget and no clock. What is shown follows from the words and from one number, which is the
same for both sides and grows at the pace of the slower. An answer that still comes keeps its last characters
back, so that the place of the cut says nothing about its tokens.
"""

import math

from engine.duel import thinking
from engine.duel.thinking import Parts
from engine.protocol.answers import Decoded, Finished, Prompted
from engine.protocol.failure import Failed
from engine.protocol.model import ThinkMarks
from engine.protocol.wire import Event
from engine.stats.metrics import NS

KEPT_BACK = 24  # characters: more than a token usually has


class Lockstep:
    """Both answers of one turn on their way to the screen."""

    def __init__(self, pace: float = 1.0) -> None:
        self.length = 0.0
        """So many characters of each are shown."""
        self._pace = pace
        self._tracks = (_Track(), _Track())

    @property
    def texts(self) -> tuple[str, str]:
        """What may be seen of A's and of B's answer."""
        a, b = (track.text[: self._whole_length(track)] for track in self._tracks)
        return a, b

    @property
    def parts(self) -> tuple[Parts, Parts]:
        """The same, thoughts apart from what is said; they are as long on their way as any other words."""
        a, b = (track.parts(text) for track, text in zip(self._tracks, self.texts, strict=True))
        return a, b

    @property
    def complete(self) -> bool:
        """Whether everything is shown and nothing more will come."""
        return all(track.ended and self.length >= len(track.text) for track in self._tracks)

    def add(self, side: int, event: Event) -> None:
        """Take what a side said."""
        self._tracks[side].add(event)

    def advance(self, elapsed_s: float) -> None:
        """Show more, after this time: nothing until both have something to show."""
        if any(track.showable == 0 and not track.ended for track in self._tracks):
            return
        rates = [track.chars_s for track in self._tracks if track.chars_s is not None]
        grown = self.length + (min(rates) * self._pace * elapsed_s if rates else math.inf)
        available = [track.showable for track in self._tracks if not track.ended]
        self.length = max(self.length, min([grown, *available]))

    def open(self) -> None:
        """Show everything from now on: the vote is cast."""
        self.length = math.inf

    def _whole_length(self, track: "_Track") -> int:
        return int(min(self.length, len(track.text)))


class _Track:
    """One side's answer as it came."""

    def __init__(self) -> None:
        self.text = ""
        self.ended = False
        self._think: ThinkMarks | None = None
        self._stamps_ns: list[int] = []

    def add(self, event: Event) -> None:
        match event:
            case Prompted(think=think):
                self._think = think
            case Decoded(text=text, ns=ns):
                self.text += text
                self._stamps_ns.append(ns)
            case Finished(text=text):
                self.text += text
                self.ended = True
            case Failed():
                self.ended = True

    def parts(self, shown: str) -> Parts:
        """Of what is shown; what may become a mark is kept back until all of it is shown."""
        return thinking.parts(shown, self._think, complete=self.ended and shown == self.text)

    @property
    def showable(self) -> int:
        """How many characters may be shown now."""
        return len(self.text) if self.ended else max(0, len(self.text) - KEPT_BACK)

    @property
    def chars_s(self) -> float | None:
        """The mean pace so far; None where there is too little to tell."""
        span_ns = self._stamps_ns[-1] - self._stamps_ns[0] if self._stamps_ns else 0
        return len(self.text) * NS / span_ns if span_ns > 0 and self.text else None
