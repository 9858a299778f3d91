"""What a test found, so far or in the end: a row a model, an entry a question. Pure data, of answers."""

from collections.abc import Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from engine.protocol.failure import Failure
from engine.stats.paired import Paired, paired
from engine.stats.verdict import wilson
from engine.testing.questions import Answered, Questions
from engine.testing.settings import Settings
from engine.testing.side import Side

PERCENT = 100.0


class Share(Struct, frozen=True, kw_only=True):
    """How many of so many questions were answered right."""

    right: int
    count: int
    percent: float
    low: float
    """The 95 % interval's ends in per cent (Wilson 1927)."""
    high: float


class Row(Struct, frozen=True, kw_only=True):
    """One model."""

    profile: str
    label: str = ""
    """The method's badge."""
    kernel: str = ""
    device: str = ""
    accuracy: Share | None = None
    """None before anything was answered."""
    by_character: Share | None = None
    """Of the questions with choices, where log-likelihoods a character decide: lm-eval's `acc_norm`."""
    against: Paired | None = None
    """Outcomes next to A's, on the questions that both answered; None for A."""
    p_value: float | None = None
    """McNemar's, of `against`."""
    difference: float | None = None
    """To A's accuracy, in percentage points, with the ends of its 95 % interval."""
    difference_low: float | None = None
    difference_high: float | None = None
    same_answers: int | None = None
    """How many answers are A's to the letter."""
    other_input: int = 0
    """Questions that it read as other tokens than A."""
    cut: int = 0
    """Answers that ran into their longest length."""
    unanswered: int = 0
    """Questions that it could not answer, such as those too long for its window: they count as wrong."""
    complete: bool = False
    """Whether every question is in the figures."""
    from_before: int = 0
    """Answers that were kept from an earlier run."""
    notes: tuple[str, ...] = ()
    error: Failure | None = None
    """Why it answered nothing, or not all."""


class Entry(Struct, frozen=True, kw_only=True):
    """One question, and what every model made of it."""

    id: str
    kind: str
    prompt: str
    expected: str
    choices: tuple[str, ...] = ()
    """What was scored after the prompt, where nothing was generated."""
    answers: tuple[Answered | None, ...]
    """In the order of the rows; None where it was not asked yet."""

    def flip(self, side: int) -> str:
        """`right → wrong` or `wrong → right` of a model against A; empty where it is neither."""
        first, other = self.answers[0], self.answers[side]
        if first is None or other is None or first.verdict.right == other.verdict.right:
            return ""
        return "right → wrong" if first.verdict.right else "wrong → right"

    @property
    def flips(self) -> bool:
        """Whether the models differ on it."""
        return any(self.flip(side) for side in range(1, len(self.answers)))


class Report(Struct, frozen=True, kw_only=True):
    """The whole test, finished or not."""

    questions: str
    """The set's name."""
    questions_sha256: str
    count: int
    kinds: dict[str, int]
    """How many questions of each kind there are."""
    judged_by: str = ""
    """Another program that says what is right, and its version."""
    max_new_tokens: int
    rows: tuple[Row, ...]
    """A, then the others in the order they were named."""
    entries: tuple[Entry, ...]
    notes: tuple[str, ...] = ()
    settings: dict[str, str] = {}
    """Each profile as YAML, by its name."""
    versions: dict[str, str] = {}
    hardware: str = ""


def reported(
    asked: Questions,
    settings: Settings,
    sides: Sequence[Side],
    notes: Sequence[str],
    yaml: Mapping[str, str],
) -> Report:
    """The report of these answers."""
    ids = [question.id for question in asked.questions]
    kinds = [question.kind for question in asked.questions]
    info = next((side.info for side in sides if side.info), None)
    return Report(
        questions=asked.name,
        questions_sha256=asked.sha256,
        count=len(ids),
        kinds={kind: kinds.count(kind) for kind in dict.fromkeys(kinds)},
        judged_by=asked.judged_by,
        max_new_tokens=settings.max_new_tokens,
        rows=tuple(_row(side, sides[0], ids) for side in sides),
        entries=tuple(
            Entry(
                id=question.id,
                kind=question.kind,
                prompt=question.prompt,
                expected=question.expected,
                choices=question.continuations,
                answers=tuple(side.answers.get(question.id) for side in sides),
            )
            for question in asked.questions
        ),
        notes=tuple(notes),
        settings=dict(yaml),
        versions=info.versions if info else {},
        hardware=info.device_name if info else "",
    )


def _row(side: Side, first: Side, ids: Sequence[str]) -> Row:
    info, answers = side.info, list(side.answers.values())
    by_character = [each.verdict.right_by_character for each in answers]
    decided = [right for right in by_character if right is not None]
    row = Row(
        profile=side.name,
        label=info.label if info else side.profile.label,
        kernel=info.kernel if info else "",
        device=info.place if info else "",
        accuracy=_share([each.verdict.right for each in answers]),
        by_character=_share(decided),
        cut=sum(each.response.finish_reason == "length" for each in answers),
        unanswered=sum(each.response.error is not None for each in answers),
        complete=len(answers) == len(ids),
        from_before=side.from_before,
        notes=(*(info.notes if info else ()), *side.notes),
        error=side.failure.failure if side.failure else None,
    )
    return row if side is first else _compared(row, side, first)


def _compared(row: Row, side: Side, first: Side) -> Row:
    pairs = [(first.answers[id], answer) for id, answer in side.answers.items() if id in first.answers]
    if not pairs:
        return row
    found = paired((a.verdict.right, b.verdict.right) for a, b in pairs)
    low, high = found.interval
    return replace(
        row,
        against=found,
        p_value=found.p_value,
        difference=found.difference,
        difference_low=low,
        difference_high=high,
        same_answers=sum(a.response.text == b.response.text for a, b in pairs),
        other_input=sum(a.response.prompt_sha256 != b.response.prompt_sha256 for a, b in pairs),
    )


def _share(outcomes: Sequence[bool]) -> Share | None:
    if not outcomes:
        return None
    right, count = sum(outcomes), len(outcomes)
    low, high = wilson(right / count, count)
    return Share(
        right=right, count=count, percent=right / count * PERCENT, low=low * PERCENT, high=high * PERCENT
    )
