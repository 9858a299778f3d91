"""A verdict in words: a headline, and every figure with its error and the limit that it does not keep to."""

from collections.abc import Iterator

from engine.stats.fidelity import Figures
from engine.stats.verdict import GOOD, Check, Limits, Verdict
from engine.units import with_error

UNIT = {"KLD": "", "same top": " %", "perplexity ratio": ""}


def sentence(figures: Figures, found: Verdict, limits: Limits) -> str:
    """`near lossless: KLD 0.0170 ± 0.0010, same top 97.10 ± 0.30 %, perplexity × 1.0030 ± 0.0011`."""
    return f"{headline(found, limits)}: {', '.join(_reasons(figures, found))}"


def headline(found: Verdict, limits: Limits) -> str:
    """The verdict in a word or two; what passes by other limits than the usual ones has its grade with it."""
    if all(check.value is None for check in found.checks):
        return "no verdict"
    if found.decision != "good enough":
        return found.decision
    if found.grade in {"identical", "near lossless"}:
        return found.grade
    return "good enough" if limits == GOOD or found.grade == "good" else f"within the limits, {found.grade}"


def _reasons(figures: Figures, found: Verdict) -> Iterator[str]:
    """Every figure with its error, and the limit where it does not keep to it."""
    limits = {check.figure: _limit_text(check) for check in found.checks}
    if figures.kld is None:
        yield "not compared with the reference" if figures.tokens else "nothing was measured"
        return
    bound = "at least " if figures.kld_is_bound else ""
    if bound and "KLD" in limits:
        limits["KLD"] = limits["KLD"].replace("the error bars do not decide", "a lower bound does not decide")
    yield f"KLD {bound}{with_error(figures.kld.mean, figures.kld.stderr)}{limits.get('KLD', '')}"
    same_top = with_error(figures.same_top, figures.same_top_stderr, " %")
    yield f"same top {same_top}{limits.get('same top', '')}"
    if figures.perplexity_ratio is not None:
        ratio = with_error(figures.perplexity_ratio, figures.perplexity_ratio_stderr)
        yield f"perplexity × {ratio}{limits.get('perplexity ratio', '')}"


def _limit_text(check: Check) -> str:
    """` (at most 0.05)`; nothing for what is within it."""
    if check.outcome == "within":
        return ""
    bound = "at least" if check.figure == "same top" else "at most"
    limit = f"{bound} {check.limit:g}{UNIT[check.figure]}"
    return f" ({limit}: the error bars do not decide)" if check.outcome == "undecided" else f" ({limit})"
