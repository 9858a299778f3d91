"""What is asked of every model, what came back, and who says whether it is right. Pure data.

Knows neither files nor sessions. A set's judge is its own: the checks of its items, or another program.
"""

import hashlib
from collections.abc import Awaitable, Callable, Sequence

import msgspec
from msgspec import Struct

from engine.protocol.answers import FinishReason
from engine.protocol.failure import Failure
from engine.testing import checks
from engine.testing.checks import Verdict
from engine.testing.items import Item


class Question(Struct, frozen=True, kw_only=True):
    """One question as it is put to a model."""

    id: str
    kind: str
    """What its answer is checked by."""
    prompt: str
    system: str | None = None
    template: str | None = None
    """In place of the profile's; None leaves that."""
    max_new_tokens: int | None = None
    stop: tuple[str, ...] = ()
    continuations: tuple[str, ...] = ()
    """What is scored after the prompt, where nothing is generated."""
    expected: str = ""


class Response(Struct, frozen=True, kw_only=True):
    """What a model made of a question."""

    prompt_sha256: str = ""
    """Of the token ids that it read: equal hashes prove equal input."""
    text: str = ""
    """The answer without the thoughts before it; of choices the likeliest."""
    tokens: int = 0
    """Generated, thoughts included."""
    finish_reason: FinishReason | None = None
    log_likelihoods: tuple[float, ...] = ()
    """Of the continuations, in nats."""
    error: Failure | None = None
    """Why there is no answer, such as a prompt that is longer than the model's window: it counts as wrong."""


class Answered(Struct, frozen=True, kw_only=True):
    """A response that was judged."""

    response: Response
    verdict: Verdict


Judge = Callable[[int, Response], Awaitable[Verdict]]
"""Says whether a response to the question of that index is right."""


class Questions(Struct, frozen=True, kw_only=True):
    """A set, and its judge."""

    name: str
    sha256: str
    """Of all questions of the set and what they are checked by, however the file is written."""
    questions: tuple[Question, ...]
    judge: Judge
    judged_by: str = ""
    """Another program that says what is right, and its version."""


def of_items(name: str, items: Sequence[Item], limit: int | None = None) -> Questions:
    """The first `limit` questions of a set of our own format, judged by its own checks."""

    async def judge(index: int, response: Response) -> Verdict:
        item = items[index]
        if item.choices:
            return checks.of_choices(item, response.log_likelihoods)
        return checks.of_text(item, response.text)

    content = msgspec.json.encode([checks.VERSION, items], order="deterministic")
    return Questions(
        name=name,
        sha256=hashlib.sha256(content).hexdigest(),
        questions=tuple(map(_question, items[:limit])),
        judge=judge,
    )


def _question(item: Item) -> Question:
    return Question(
        id=item.id,
        kind=item.kind,
        prompt=item.prompt,
        system=item.system,
        template=item.template,
        max_new_tokens=item.max_new_tokens,
        stop=item.stop,
        continuations=item.continuations,
        expected=item.right_answer,
    )
