"""What an eval found, so far or in the end: a row a model, and the convention. Pure data."""

from typing import Literal

from msgspec import Struct

from engine.evaluation.settings import Convention
from engine.protocol.failure import Failure
from engine.protocol.model import Energy
from engine.stats.depth import Depth
from engine.stats.fidelity import Figures, Kld
from engine.stats.verdict import GOOD, Limits
from engine.units import with_error

Trend = Literal["worse", "better", "same"]


class Layer(Struct, frozen=True, kw_only=True):
    """The reference with one layer of a candidate, against the reference as it is."""

    index: int
    """From 0."""
    kld: Kld
    same_top: float
    """Per cent."""
    same_top_stderr: float


class Row(Figures, frozen=True, kw_only=True):
    """One model: its figures, its size and its speed. What is not known is null."""

    profile: str
    label: str = ""
    """The method's badge."""
    kernel: str = ""
    device: str = ""
    weights_bytes: int | None = None
    read_tok_s: float | None = None
    """Tokens of the text a second, forward passes alone: the prefill speed of this eval."""
    decode_tok_s: float | None = None
    """The mean of a few short answers; `quantduel bench` measures it properly."""
    decode_samples_tok_s: tuple[float, ...] = ()
    """Each short answer's."""
    joules_per_token: float | None = None
    """Of the short answers, all together, by the device's own counter, whatever else it did."""
    mean_watts: float | None = None
    """Of the device, while they were decoded."""
    energy: Energy | None = None
    """What counted them, or why nothing did; the device's idle draw."""
    decode_marks: tuple[str, ...] = ()
    """What spoiled them: others on the machine, clocks that were slowed."""
    complete: bool = False
    """Whether the whole text is in the figures."""
    layers: tuple[Layer, ...] = ()
    """What each layer does alone, over the text's first windows; those that are read so far."""
    depths: tuple[Depth, ...] = ()
    """The figures by how many tokens of the window come before; where they were asked for."""
    notes: tuple[str, ...] = ()
    error: Failure | None = None
    """Why it has no figures, or not all."""


class Change(Struct, frozen=True, kw_only=True):
    """A candidate's mean KLD against that of the baseline."""

    profile: str
    kld: float
    kld_then: float
    stderr: float
    """Of the difference."""
    trend: Trend
    """`same` where the difference is within its 95 % interval."""

    @property
    def line(self) -> str:
        """`KLD 0.017 against 0.012 in the baseline: worse`."""
        words = {"same": "no difference beyond the error bars"}.get(self.trend, self.trend)
        difference = with_error(self.kld - self.kld_then, self.stderr)
        return f"KLD {self.kld:.4g} against {self.kld_then:.4g} in the baseline: {words} ({difference})"


class Report(Struct, frozen=True, kw_only=True):
    """The whole eval, finished or not."""

    convention: Convention | None
    """None until the reference has tokenized the text."""
    reference: Row
    candidates: tuple[Row, ...]
    """In the order they were named."""
    notes: tuple[str, ...] = ()
    noise: Row | None = None
    """The reference in another precision, as a candidate: the noise floor, where it was to be measured."""
    limits: Limits = GOOD
    """What decides whether a candidate is good enough."""
    changes: tuple[Change, ...] = ()
    """Against the baseline, where there is one."""
    settings: dict[str, str] = {}
    """Each profile as YAML, by its name."""
    versions: dict[str, str] = {}
    hardware: str = ""

    @property
    def ranked(self) -> tuple[Row, ...]:
        """The candidates by mean KLD, the nearest first; those without figures last."""
        return tuple(sorted(self.candidates, key=lambda row: row.kld.mean if row.kld else float("inf")))
