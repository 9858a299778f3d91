"""The bridge with one model loaded at a time."""

from textual.message import Message

from engine.config import profiles
from tests.tui.replay import Replay
from tui.duel.bridge import Bridge
from tui.duel.messages import AnswerEnded, LoadEnded, SidePutBy

PROFILES = (profiles.find("smollm2-bf16"), profiles.find("smollm2-nf4"))


class Living(Replay):
    """A recorded session that has a process while it is loaded and not closed, and can be had again."""

    @property
    def pid(self) -> int | None:
        return 1 if self.info is not None and not self.closed else None

    def again(self) -> "Living":
        return Living(self.profile)


async def test_one_model_at_a_time_loads_within_the_turn() -> None:
    messages: list[Message] = []
    bridge = Bridge(PROFILES, messages.append, Living)
    bridge.duel.schedule = "swap"
    for side in (0, 1):
        await bridge.load(side)
    assert [message.side for message in messages if isinstance(message, SidePutBy)] == [0, 1]
    await bridge.ask("hi")
    loads = [message.side for message in messages if isinstance(message, LoadEnded) and message.within_turn]
    answers = [message for message in messages if isinstance(message, AnswerEnded)]
    assert loads == [0, 1] and [message.side for message in answers] == [0, 1]
    assert not any(message.answer.failure for message in answers)
    assert not bridge.duel.sessions[0].ready and bridge.duel.sessions[1].ready  # A's worker ended for B's
    (found,) = bridge.duel.swap.returns
    assert found.side == 0 and found.device == "cpu" and found.free_after_bytes > 0
    await bridge.ask("and now")
    again = [message.side for message in messages if isinstance(message, LoadEnded) and message.within_turn]
    assert again == [0, 1, 0]  # B was there still
    assert len(bridge.duel.sessions[0].asked[0]) == 3  # type: ignore[attr-defined]  # its own conversation
    await bridge.close()
