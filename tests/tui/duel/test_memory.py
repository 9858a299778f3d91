"""One model loaded at a time on the screen's side, what fits in the picker, and the memory bars' rows."""

from textual.message import Message
from textual.widgets import OptionList, Static

from engine.config import profile
from engine.machine import hardware
from engine.protocol import Memory
from tests.tui.conftest import Stager
from tests.tui.replay import Replay, wait_until
from tui.duel.bridge import Bridge
from tui.duel.messages import AnswerEnded, LoadBegan, LoadEnded, SidePutBy
from tui.duel.side import Side
from tui.screens.profiles import judged
from tui.widgets.memory_bars import rows_of

PROFILES = (profile.find("smollm2-bf16"), profile.find("smollm2-nf4"))


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


def test_a_side_that_waits_for_its_load_says_so() -> None:
    side = Side(PROFILES[0])
    side.take(LoadBegan(0, PROFILES[0]))
    side.take(SidePutBy(0, "later"))
    assert side.state == "not loaded" and not side.is_loading and not side.loaded


async def test_the_picker_says_what_fits(stage: Stager) -> None:
    async with stage() as play:
        await play.ready()
        await play.pilot.press("ctrl+o", *"random-tiny-nf4")
        fit = play.app.screen.query_one("#picker-fit", Static)
        await wait_until(lambda: "fits" in fit.render().plain and "KV cache" in fit.render().plain)
        option = play.app.screen.query_one(OptionList).highlighted_option
        assert option is not None and str(option.prompt).startswith("●")


def test_what_cannot_be_planned_is_said() -> None:
    machine = hardware.detect()
    assert judged("org/not-here", machine).verdict is None
    assert judged("random:llama-3.1-70b", machine).detail.startswith(("does not fit", "fits", "tight"))


def test_the_allocators_figure_is_called_so() -> None:
    sizes = dict.fromkeys(("weights", "kv_cache", "peak", "process", "device_used", "device_total"), 1)
    fields = {f"{name}_bytes": size for name, size in sizes.items()}
    labels = {
        source: rows_of(Memory(**fields, process_source=source))[-1][0]
        for source in ("NVML", "allocator", "resident set")
    }
    assert labels == {"NVML": "process", "allocator": "reserved", "resident set": "process"}
