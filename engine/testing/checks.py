"""Is an answer right? One rule for each kind of question. Pure."""

from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from engine.testing import answer_json, patterns, schema
from engine.testing.items import Item, Kind

VERSION = 1
"""Raised when a check changes, so that answers which were judged by it before are judged again."""


class Verdict(Struct, frozen=True, kw_only=True):
    """Whether an answer is right."""

    right: bool
    right_by_character: bool | None = None
    """Of choices: with each log-likelihood divided by the choice's characters; None for other questions."""


def of_text(item: Item, answer: str) -> Verdict:
    """Whether a generated answer is what the question expects."""
    return Verdict(right=_CHECKS[item.kind](item, answer))


def of_choices(item: Item, log_likelihoods: Sequence[float]) -> Verdict:
    """Whether the right one of its choices is the likeliest; of equal ones the first counts.

    By the whole log-likelihood, lm-eval's `acc`, and by that a character, its `acc_norm`.
    """
    lengths = [len(choice) for choice in item.choices]
    by_character = [value / length for value, length in zip(log_likelihoods, lengths, strict=True)]
    return Verdict(
        right=likeliest(log_likelihoods) == item.answer,
        right_by_character=likeliest(by_character) == item.answer,
    )


def likeliest(values: Sequence[float]) -> int:
    """The index of the largest value, the first of equal ones."""
    return max(range(len(values)), key=values.__getitem__)


def _exact(item: Item, answer: str) -> bool:
    wanted = (item.exact,) if isinstance(item.exact, str) else item.exact or ()
    return answer.strip() in {each.strip() for each in wanted}


def _regex(item: Item, answer: str) -> bool:
    return patterns.found(item.regex or "", answer)


def _schema(item: Item, answer: str) -> bool:
    try:
        return schema.is_valid(answer_json.value(answer), item.json_schema)
    except ValueError:
        return False


def _tool_call(item: Item, answer: str) -> bool:
    try:
        called, wanted = answer_json.calls(answer), item.tool_call
    except ValueError:
        return False
    if wanted is None or len(called) != 1:
        return False
    return called[0].name == wanted.name and answer_json.same(called[0].arguments, wanted.arguments)


_CHECKS: Mapping[Kind, Callable[[Item, str], bool]] = {
    "exact": _exact,
    "regex": _regex,
    "json_schema": _schema,
    "tool_call": _tool_call,
}
