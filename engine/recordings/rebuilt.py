"""Recorded turns folded into the duel that they were: answers, figures, comparison, in a live one's words.

Pure: nothing is loaded, read or measured.
"""

from msgspec.structs import replace

from engine.duel.answer import Answer
from engine.duel.conversation import Conversation
from engine.duel.duel import Duel
from engine.protocol.answers import Message
from engine.protocol.loading import Loaded
from engine.protocol.wire import Event
from engine.recordings.recording import RecordedTurn, Recording
from engine.session.client import Session
from engine.session.schedule import share_a_device

Conversations = tuple[tuple[Message, ...], ...]


def rebuilt(recording: Recording) -> list[Duel]:
    """The duel after each turn; its sessions have no worker, and what they hold is what they said."""
    return _walked(recording)[1]


def conversation(recording: Recording) -> Conversation:
    """The tree of all turns, to be gone on with; the next prompt comes after the last one."""
    return _walked(recording)[0]


def conversations(recording: Recording, index: int | None) -> Conversations:
    """What each side had been asked and had answered after this turn; None is before the first."""
    tree = conversation(recording)
    tree.last = None if index is None else tree.exchanges[index]
    return tuple(tree.messages(side, "own") for side in range(len(recording.profiles)))


def _walked(recording: Recording) -> tuple[Conversation, list[Duel]]:
    tree, duels = Conversation(len(recording.profiles), recording.histories), []
    for turn in recording.turns:
        tree.last = None if turn.after is None else tree.exchanges[turn.after]
        before = [tree.messages(side, turn.history) for side in range(len(recording.profiles))]
        duels.append(duel := _after(recording, turn))
        exchange = tree.begin(turn.prompt)
        exchange.answers = duel.answers
        for side, answer in exchange.answers.items():
            answer.messages = (*before[side], Message("user", turn.prompt))
            source = turn.source(side)
            exchange.said_in[side] = (
                exchange.number if source is None else tree.exchanges[source].said_in[side]
            )
    return tree, duels


def _after(recording: Recording, turn: RecordedTurn) -> Duel:
    duel = Duel([Session(profile) for profile in recording.profiles], turn.schedule)
    infos = [event.info for _, event in turn.events if isinstance(event, Loaded)]
    contended = turn.schedule == "concurrent" and share_a_device(infos)
    for session, prompt in zip(duel.sessions, turn.prompts, strict=False):
        session.profile = replace(session.profile, prompt=prompt)
    for side, session in enumerate(duel.sessions):
        events = _said(recording, turn, side)
        session.info = next((event.info for event in events if isinstance(event, Loaded)), None)
        if all(isinstance(event, Loaded) for event in events):
            continue  # it was not asked
        answer = Answer(contended=contended, info=session.info, limit=turn.generation.max_new_tokens)
        for event in events:
            answer.add(event)
        duel.answers[side] = answer
    return duel


def _said(recording: Recording, turn: RecordedTurn, side: int) -> tuple[Event, ...]:
    """What this side said in a turn, or in the one from which its answer was taken over."""
    while (source := turn.source(side)) is not None:
        turn = recording.turns[source]
    return turn.of_side(side)
