"""A side's state, folded from the messages of recorded runs."""

import pytest
from msgspec.structs import replace

from engine.config import profiles
from engine.duel.answer import Answer
from engine.protocol.failure import Failed
from engine.protocol.loading import Loaded, Staged
from tests.tui.replay import recording
from tui.duel.figures import figures_of
from tui.duel.messages import (
    AnswerEnded,
    AnswerGrew,
    LoadAdvanced,
    LoadBegan,
    LoadEnded,
    SideAsked,
    SideLost,
    SidePutBy,
)
from tui.duel.side import Side

NF4 = profiles.find("smollm2-nf4")


def loaded_side() -> tuple[Side, list[str]]:
    """A side after the recorded load, and the states it went through."""
    side, states = Side(NF4), []
    side.take(LoadBegan(0, NF4))
    for event in recording("smollm2-nf4.load"):
        if isinstance(event, Staged):
            side.take(LoadAdvanced(0, event))
        elif isinstance(event, Loaded):
            side.take(LoadEnded(0, event))
        states.append(side.state)
    return side, list(dict.fromkeys(states))


def answered(side: Side, name: str) -> list[str]:
    """The states of a recorded answer."""
    answer, states = Answer(), []
    side.take(SideAsked(0, "hi", first=True))
    for event in recording(name):
        states.append(side.state)
        answer.add(event)
        side.take(AnswerGrew(0, "", figures_of(answer)))
    side.take(AnswerEnded(0, answer, figures_of(answer)))
    return list(dict.fromkeys([*states, side.state]))


def test_a_load_goes_through_its_stages() -> None:
    side, states = loaded_side()
    assert states[0] == "starting"
    assert {"resolving", "quantizing"} <= set(states)
    assert states[-1] == "ready"
    assert side.loaded
    assert side.memory is not None
    assert (side.label, side.device) == ("nf4", "cpu")


def test_an_answer_is_read_then_written() -> None:
    side, _ = loaded_side()
    assert answered(side, "smollm2-nf4.answer") == ["reading", "answering", "ready"]
    assert side.figures is not None
    assert side.figures.metrics.new_tokens == 140
    assert side.memory is not None and side.memory.kv_cache_bytes > 0


def test_a_cancelled_answer_leaves_the_model_loaded() -> None:
    side, _ = loaded_side()
    assert answered(side, "smollm2-nf4.cancelled")[-1] == "cancelled"
    assert side.loaded


def test_a_killed_worker_leaves_no_model() -> None:
    side, _ = loaded_side()
    assert answered(side, "smollm2-nf4.killed")[-1] == "failed"
    assert not side.loaded
    assert side.figures is not None and side.figures.metrics.new_tokens > 0


def test_a_worker_lost_while_idle() -> None:
    side, _ = loaded_side()
    failure = recording("smollm2-nf4.killed")[-1]
    assert isinstance(failure, Failed)
    side.take(SideLost(0, failure))
    assert (side.state, side.loaded) == ("failed", False)


@pytest.mark.parametrize("kind", ["out_of_memory", "generation", "bad_input"])
def test_an_answer_that_fails_need_not_lose_the_model(kind: str) -> None:
    side, _ = loaded_side()
    answer = Answer()
    failure = recording("smollm2-nf4.killed")[-1]
    assert isinstance(failure, Failed)
    answer.add(replace(failure, kind=kind))
    side.take(AnswerEnded(0, answer, figures_of(answer)))
    assert (side.state, side.loaded) == ("no answer", True)


def test_who_waits_is_not_reading() -> None:
    side, _ = loaded_side()
    side.take(SideAsked(0, "hi", first=False))
    assert side.state == "waiting"
    assert side.is_turning


def test_a_side_that_waits_for_its_load_says_so() -> None:
    side = Side(NF4)
    side.take(LoadBegan(0, NF4))
    side.take(SidePutBy(0, "later"))
    assert side.state == "not loaded" and not side.is_loading and not side.loaded


def test_the_machine_of_a_side_is_named_in_what_fits_a_header() -> None:
    side, _ = loaded_side()
    assert side.info is not None and side.device == "cpu"
    side.info = replace(side.info, host="gpu2")
    assert side.device == "cpu on gpu2"
    side.info = replace(side.info, host="gpu2.rack-17.example.com")
    assert side.device == "cpu on gpu2.rack-17.ex…"
