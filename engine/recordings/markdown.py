"""A recording as Markdown. What a user or a model wrote stands in fences: nothing in it is markup here."""

import re
from collections.abc import Sequence

from engine import tables
from engine.definitions import DEFINITIONS
from engine.duel.answer import Answer
from engine.duel.duel import Duel
from engine.duel.lens import Lens
from engine.duel.lens_text import lines as lens_lines
from engine.duel.sides import LETTERS
from engine.recordings.figures import (
    Figure,
    against_names,
    comparison_lines,
    divergence_offset,
    facts,
    figures,
    remarks,
)
from engine.recordings.rebuilt import rebuilt
from engine.recordings.recording import RecordedTurn, Recording
from engine.sanitize import visible
from engine.units import MISSING, time_text

MARK = "◆"
MARKUP = frozenset("\\`*_{}[]<>#|!~&")


def markdown(recording: Recording) -> str:
    """The whole duel."""
    parts = [f"# {_line(recording.title or 'A duel')}", f"{time_text(recording.created, with_zone=True)}"]
    parts += [text for side in range(len(recording.profiles)) for text in _history(recording, side)]
    duels = rebuilt(recording)
    for number, (turn, duel) in enumerate(zip(recording.turns, duels, strict=True), 1):
        parts += _turn(number, turn, duel)
    if duels:
        parts += ["## Models, machine and versions", _table(facts(duels[-1]))]
    parts += ["## Definitions", "\n".join(f"- **{name}**: {meaning}" for name, meaning in DEFINITIONS)]
    return "\n\n".join(parts)


def _history(recording: Recording, side: int) -> list[str]:
    said = recording.histories[side]
    return [f"Earlier in {LETTERS[side]}, {message.role}:\n\n{_fenced(message.content)}" for message in said]


def _turn(number: int, turn: RecordedTurn, duel: Duel) -> list[str]:
    after = "" if turn.after in {None, number - 2} else f" (after turn {turn.after + 1})"
    parts = [f"## {number}{after}", _fenced(turn.prompt)]
    lines = comparison_lines(duel)
    for side, session in enumerate(duel.sessions):
        answer = duel.answers.get(side)
        label = answer.info.label if answer and answer.info else session.profile.label
        parts += [f"### {LETTERS[side]}: {_line(session.profile.name)} ({_line(label)})"]
        parts += [_fenced(_marked(duel, side, answer))] if answer and answer.text else []
        parts += [f"*{_line(text)}*" for text in remarks(answer)]
    parts += [_table(figures(duel), against_names(duel)), "\n".join(f"- {_line(line)}" for line in lines)]
    return [*filter(None, parts), *_lens(turn.lens)]


def _lens(lens: Lens | None) -> list[str]:
    if lens is None:
        return []
    return ["\n".join(f"- {_line(line)}" for line in lens_lines(lens))]


def _marked(duel: Duel, side: int, answer: Answer) -> str:
    """The answer with a sign where it diverges from the other one."""
    offset = divergence_offset(duel, side)
    return answer.text if offset is None else answer.text[:offset] + MARK + answer.text[offset:]


def _table(rows: Sequence[Figure], against: Sequence[str] = ()) -> str:
    cells = [
        {"": figure.name, **dict(zip(LETTERS, figure.texts, strict=False))}
        | {
            name: ratio.words if ratio else MISSING
            for name, ratio in zip(against, figure.against, strict=False)
        }
        for figure in rows
    ]
    return tables.markdown([{name: _line(text, "|") for name, text in row.items()} for row in cells])


def _fenced(text: str) -> str:
    """The text in a fence that it cannot end."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{visible(text)}\n{fence}"


def _line(text: str, left: str = "") -> str:
    """One line in which nothing is markup; `left` is escaped by somebody else."""
    shown = visible(text, keep_newlines=False)
    return "".join("\\" + sign if sign in MARKUP and sign not in left else sign for sign in shown)
