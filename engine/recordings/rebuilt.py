"""A recorded turn folded into the duel that it was: answers, figures, comparison, in the words of a live one.

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


def rebuilt(recording: Recording, turn: RecordedTurn) -> Duel:
    """The duel after this turn; its sessions have no worker, and what they hold is what they said."""
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


def conversation(recording: Recording) -> Conversation:
    """The tree of all turns, to be gone on with; the next prompt comes after the last one."""
    tree = Conversation(len(recording.profiles), recording.histories)
    for turn in recording.turns:
        tree.last = None if turn.after is None else tree.exchanges[turn.after]
        before = [tree.messages(side, "own") for side in range(len(recording.profiles))]
        exchange = tree.begin(turn.prompt)
        exchange.answers = rebuilt(recording, turn).answers
        for side, answer in exchange.answers.items():
            answer.messages = (*before[side], Message("user", turn.prompt))
            source = turn.source(side)
            exchange.said_in[side] = (
                exchange.number if source is None else tree.exchanges[source].said_in[side]
            )
    return tree


def conversations(recording: Recording, index: int | None) -> Conversations:
    """What each side had been asked and had answered after this turn; None is before the first."""
    tree = conversation(recording)
    tree.last = None if index is None else tree.exchanges[index]
    return tuple(tree.messages(side, "own") for side in range(len(recording.profiles)))
