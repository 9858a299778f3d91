"""The lens as text: why the answers parted, how far apart the models are on this prompt, where they flip."""

from engine.duel.lens import Lens, NoLens, Reading
from engine.sanitize import visible

SHOWN_FLIPS = 20
NAMES = "AB"


def lines(found: Lens | NoLens) -> list[str]:
    """A few lines; tokens are counted from 1, as everywhere in texts."""
    if isinstance(found, NoLens):
        return [f"Lens: none, {found.message}" + (f" ({found.hint})" if found.hint else "")]
    parted = [f"Token {found.verdict.index + 1}: {_shown(found.verdict.text)}"] if found.verdict else []
    return [*parted, *map(_reading, found.readings), *found.notes]


def _reading(reading: Reading) -> str:
    flips = ", ".join(str(index + 1) for index in reading.flips[:SHOWN_FLIPS])
    more = ", …" if len(reading.flips) > SHOWN_FLIPS else ""
    where = f": {flips}{more}" if flips else ""
    kld = f"mean KLD {reading.mean_kld:.3g} ± {reading.kld_stderr:.2g} nats"
    count = f"{len(reading.flips)} flips in {len(reading.tokens)} tokens"
    return f"{NAMES[reading.side]}'s answer through both models: {kld}, {count}{where}"


def _shown(text: str) -> str:
    return visible(text, keep_newlines=False)
