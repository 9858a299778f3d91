"""Blind votes: which side is shown where, what a vote means, and which turns count.

Pure: plain data and functions on it. Knows neither the history that keeps turns nor the screen
that shows them.
"""

import random
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal, get_args

from msgspec import Struct

from engine.config.profile import Generation, Profile
from engine.config.sources import Demo, Folder, GgufFile, Hub, Random, Served, Source
from engine.protocol.answers import FinishReason
from engine.stats.metrics import Metrics

Choice = Literal["left", "right", "tie", "both bad"]
Verdict = Literal["a", "b", "tie", "both bad"]
Exclusion = Literal[
    "failed", "cancelled before any text", "a name in the text", "the same profile twice", "no vote"
]
METHOD_NAMES = (
    *("awq", "bitsandbytes", "gguf", "gptq", "rtn", "llm.int8", "int8", "nf4", "fp4"),
    *("bf16", "bfloat16", "fp16", "fp32"),
)
GENERIC = frozenset(  # parts of names that any answer may have
    {"as stored", "base", "chat", "instruct", "large", "medium", "mini", "model", "small", "tiny", "turbo"}
)
SHORTEST_NAME = 3  # characters: a shorter one would stand in any text
SHORTEST_FAMILY = 4  # letters; `opt` is a word


class BlindAnswer(Struct, frozen=True, kw_only=True):
    """One side's answer in a blind turn."""

    profile: str
    label: str
    """The method's badge."""
    names: tuple[str, ...]
    """What in a text would give the side away."""
    text: str = ""
    finish_reason: FinishReason | None = None
    """None where it failed, or was still coming when the vote was cast."""
    failure: str | None = None
    metrics: Metrics | None = None


class BlindTurn(Struct, frozen=True, kw_only=True):
    """One prompt, both answers without names, and the vote where there is one."""

    prompt: str
    generation: Generation
    left: int
    """Which side was shown at the left: 0 is A, 1 is B."""
    answers: tuple[BlindAnswer, BlindAnswer]
    """A's and B's; of more sides those of the two that were drawn, in their order, are called A and B."""
    verdict: Verdict | None = None
    created: str = ""
    """ISO 8601, UTC; the history fills it in."""


class Shuffle:
    """A fair coin a turn: which side is at the left, and of more than two which are asked.

    The same seed throws the same coins.
    """

    def __init__(self, seed: int | None = None) -> None:
        self._coin = random.Random(seed)

    def left(self) -> int:
        """The side at the left in the next turn."""
        return self._coin.randrange(2)

    def pair(self, sides: Sequence[int]) -> tuple[int, int]:
        """Two of these sides, in their order; of two both, and no coin is thrown."""
        first, second = sides if len(sides) == 2 else sorted(self._coin.sample(sides, 2))
        return first, second


def names_of(profile: Profile, label: str) -> tuple[str, ...]:
    """What in an answer would give this side away: profile, badge, model and its family, any method."""
    model = _model_name(profile.source)
    heads = [re.match(r"[^\W\d_]*", piece) for piece in re.split(r"[-_. /:]", model)]
    families = [head[0] for head in heads if head and len(head[0]) >= SHORTEST_FAMILY]
    found = [profile.name, profile.label, label, model, re.split(r"[-_]", model)[0], *families, *METHOD_NAMES]
    lower = dict.fromkeys(name.lower() for name in found)
    return tuple(name for name in lower if len(name) >= SHORTEST_NAME and name not in GENERIC)


def verdict_of(choice: Choice, left: int) -> Verdict:
    """What a vote says about A and B, where `left` is the side at the left."""
    match choice:
        case "left":
            return "a" if left == 0 else "b"
        case "right":
            return "b" if left == 0 else "a"
    return choice


def exclusion_of(turn: BlindTurn) -> Exclusion | None:
    """Why a turn does not count; None where it does."""
    if any(answer.failure is not None for answer in turn.answers):
        return "failed"
    if any(answer.finish_reason == "cancelled" and not answer.text.strip() for answer in turn.answers):
        return "cancelled before any text"
    names = {name for answer in turn.answers for name in answer.names}
    if any(reveals(answer.text, names) for answer in turn.answers):
        return "a name in the text"
    if turn.answers[0].profile == turn.answers[1].profile:
        return "the same profile twice"
    return None if turn.verdict is not None else "no vote"


def exclusions(turns: Iterable[BlindTurn]) -> dict[Exclusion, int]:
    """How many turns do not count, by reason."""
    found = Counter(exclusion_of(turn) for turn in turns)
    return {reason: found[reason] for reason in get_args(Exclusion) if found[reason]}


def counted(turns: Iterable[BlindTurn]) -> list[BlindTurn]:
    """The turns that count."""
    return [turn for turn in turns if exclusion_of(turn) is None]


def reveals(text: str, names: Iterable[str]) -> bool:
    """Whether a text has one of the names, as words of its own and in whatever case."""
    pattern = "|".join(re.escape(name) for name in names)
    return bool(pattern) and re.search(rf"(?<!\w)(?:{pattern})(?!\w)", text, re.IGNORECASE) is not None


def _model_name(source: Source) -> str:
    match source:
        case Demo():
            return "SmolLM2-135M-Instruct"
        case Hub(repo):
            return repo.rpartition("/")[2]
        case Folder(path):
            return path.name
        case GgufFile(path):
            return path.stem
        case Random(shape):
            return shape
        case Served(url):
            return url
