"""The lens in words: why the answers diverged, how far apart the models are, where their top tokens differ;
and how hot a token is on a heat map."""

from engine.duel.lens import Lens, NoLens, Reading
from engine.duel.sides import LETTERS
from engine.sanitize import visible
from engine.stats.fidelity import Figures, kld, share_error
from engine.stats.margins import Margins
from engine.stats.verdict import GOOD, Limits, verdict
from engine.stats.verdict_text import sentence

HOTTEST_NATS = 5.0  # a probability of 0.7 %
HEAT_STEPS = 6
LIMITS = Limits(max_kld=GOOD.max_kld, min_same_top=GOOD.min_same_top)


def lines(found: Lens | NoLens) -> list[str]:
    """A few lines; tokens are counted from 1, as everywhere in texts."""
    if isinstance(found, NoLens):
        return [f"Lens: none, {found.message}" + (f" ({found.hint})" if found.hint else "")]
    diverged = [f"Token {found.verdict.index + 1}: {_shown(found.verdict.text)}"] if found.verdict else []
    _, other = found.letters
    return [
        *diverged,
        *(_reading(reading, other) for reading in found.readings),
        good_enough(found.summary, other),
        *found.notes,
    ]


def good_enough(reading: Reading, letter: str = "B") -> str:
    """The verdict on B, or on that side, by one answer: mostly too little for one; `eval` reads a text."""
    count = len(reading.tokens)
    same = count - len(reading.different_top)
    figures = Figures(
        tokens=count,
        kld=kld([token.kld for token in reading.tokens]),
        kld_is_bound=reading.kld_is_bound,
        same_top=100 * same / max(1, count),
        same_top_stderr=100 * share_error(same, count),
    )
    found = verdict(figures, LIMITS)
    more = "; `quantduel eval` decides, on a text" if found.decision == "undecided" else ""
    return f"{letter}, on {count} tokens of this prompt: {sentence(figures, found, LIMITS)}{more}"


def heat_step(surprise_nats: float) -> int:
    """From 0 to 5: how hot a token is that surprised so much."""
    share = max(0.0, min(1.0, surprise_nats / HOTTEST_NATS))
    return min(HEAT_STEPS - 1, int(share * HEAT_STEPS))


def kld_text(reading: Reading) -> str:
    """`0.031 ± 0.004 nats`, `≥ 0.031 ± 0.004 nats (tail 5.3 %)`: the mean, and whether it is a bound."""
    tail = f" (tail {reading.kld_tail:.1%})" if reading.kld_tail is not None else ""
    sign = "≥ " if reading.kld_is_bound else ""
    return f"{sign}{reading.mean_kld:.3g} ± {reading.kld_stderr:.2g} nats{tail}"


def _reading(reading: Reading, letter: str) -> str:
    kld = f"mean KLD {kld_text(reading)}"
    kept = f", {margins_text(reading.margins, letter)}" if reading.margins else ""
    return f"{LETTERS[reading.side]}'s answer through both models: {kld}, {reading.text}{kept}"


def margins_text(found: Margins, letter: str = "B") -> str:
    """`B keeps 0.98 of A's margins, 1 of 42 fall below the noise`."""
    lost = round(found.lost * found.decided / 100)
    return f"{letter} keeps {found.kept:.2f} of A's margins, {lost} of {found.decided} fall below the noise"


def _shown(text: str) -> str:
    return visible(text, keep_newlines=False)
