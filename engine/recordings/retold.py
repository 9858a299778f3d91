"""A recorded turn folded into the duel that it was: answers, figures, comparison, in the words of a live one.

Pure: nothing is loaded, read or measured.
"""

from msgspec.structs import replace

from engine.duel.answer import Answer
from engine.duel.duel import Duel
from engine.protocol import Loaded, Message
from engine.recordings.recording import RecordedTurn, Recording
from engine.session.client import Session
from engine.session.schedule import share_a_device

Conversations = tuple[tuple[Message, ...], ...]


def retold(recording: Recording, turn: RecordedTurn) -> Duel:
    """The duel after this turn; its sessions have no worker, and what they hold is what they said."""
    duel = Duel([Session(profile) for profile in recording.profiles], turn.schedule)
    infos = [event.info for _, event in turn.events if isinstance(event, Loaded)]
    contended = turn.schedule == "concurrent" and share_a_device(infos)
    for session, prompt in zip(duel.sessions, turn.prompts, strict=False):
        session.profile = replace(session.profile, prompt=prompt)
    for side, session in enumerate(duel.sessions):
        events = turn.of_side(side)
        session.info = next((event.info for event in events if isinstance(event, Loaded)), None)
        if all(isinstance(event, Loaded) for event in events):
            continue  # it was not asked
        answer = Answer(contended=contended, info=session.info, limit=turn.generation.max_new_tokens)
        for event in events:
            answer.add(event)
        duel.answers[side] = answer
    return duel


def conversations(recording: Recording, index: int | None) -> Conversations:
    """What each side had been asked and had answered after this turn; None is before the first."""
    said = [list(history) for history in recording.histories]
    for turn in _path(recording, index):
        answers = retold(recording, turn).answers
        for side, messages in enumerate(said):
            messages.extend(_exchange(turn.prompt, answers.get(side)))
    return tuple(map(tuple, said))


def _path(recording: Recording, index: int | None) -> list[RecordedTurn]:
    """The turns that led to this one and it, the first one first."""
    path = []
    while index is not None:
        path.append(recording.turns[index])
        index = path[-1].after
    return path[::-1]


def _exchange(prompt: str, answer: Answer | None) -> tuple[Message, ...]:
    if answer is None or answer.failure is not None or not answer.text:
        return ()
    return Message("user", prompt), Message("assistant", answer.text)
