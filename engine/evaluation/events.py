"""What an evaluation tells while it runs. Plain data for front ends; the figures are in its `report`."""

from dataclasses import dataclass

from engine.protocol import Staged


@dataclass(frozen=True, slots=True)
class Loading:
    """A profile's model is being loaded."""

    profile: str
    stage: Staged


@dataclass(frozen=True, slots=True)
class Timing:
    """A model's decode speed is being taken, which is a few seconds without other news."""

    profile: str


@dataclass(frozen=True, slots=True)
class Advanced:
    """A model has scored one more piece of the text: a good moment to look at the report."""

    profile: str
    done: int
    """Positions scored by this model."""
    total: int
    read_tok_s: float | None
    """Tokens of the text a second, by this model so far."""
    share: float
    """How much of the whole evaluation is done."""
    left_s: float | None
    """A rough guess at the time left, without loading; None before anything is done."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A model is through, or failed: its row changes no more."""

    profile: str


@dataclass(frozen=True, slots=True)
class Noted:
    """Something the reader of the figures should know."""

    text: str


EvaluationEvent = Loading | Timing | Advanced | Finished | Noted
