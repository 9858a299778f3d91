"""The lens in words: why the answers diverged, how far apart the models are, where their top tokens differ;
and how hot a token is on a heat map."""

from engine.duel.lens import Lens, NoLens, Reading
from engine.sanitize import visible

NAMES = "AB"
HOTTEST_NATS = 5.0  # a probability of 0.7 %
HEAT_STEPS = 6


def lines(found: Lens | NoLens) -> list[str]:
    """A few lines; tokens are counted from 1, as everywhere in texts."""
    if isinstance(found, NoLens):
        return [f"Lens: none, {found.message}" + (f" ({found.hint})" if found.hint else "")]
    diverged = [f"Token {found.verdict.index + 1}: {_shown(found.verdict.text)}"] if found.verdict else []
    return [*diverged, *map(_reading, found.readings), *found.notes]


def heat_step(surprise_nats: float) -> int:
    """From 0 to 5: how hot a token is that surprised so much."""
    share = max(0.0, min(1.0, surprise_nats / HOTTEST_NATS))
    return min(HEAT_STEPS - 1, int(share * HEAT_STEPS))


def _reading(reading: Reading) -> str:
    kld = f"mean KLD {reading.mean_kld:.3g} ± {reading.kld_stderr:.2g} nats"
    return f"{NAMES[reading.side]}'s answer through both models: {kld}, {reading.text}"


def _shown(text: str) -> str:
    return visible(text, keep_newlines=False)
