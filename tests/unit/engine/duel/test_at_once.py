"""Sides on machines of their own: who answers at the same time, and what a lens sends between them."""

from collections.abc import Sequence

import pytest

from engine.config.profile import Model, Profile
from engine.duel.answer import Answer
from engine.duel.duel import Duel
from engine.duel.lens import NoLens
from engine.duel.looking import look, on_the_line
from engine.protocol.model import ModelInfo, Weights
from engine.session.client import Session
from engine.session.schedule import Schedule


def session(machine: str, device: str = "cuda:0") -> Session:
    made = Session(Profile(model=Model(source="demo")))
    made.info = ModelInfo(
        label="bf16",
        kernel="Linear",
        architecture="LlamaForCausalLM",
        parameters=1,
        context_length=1,
        dtype="bfloat16",
        device=device,
        host=machine,
        machine=machine,
        device_name="",
        threads=8,
        vocabulary=128_000,
        logit_bytes=2,
        weights=Weights(linear_bytes=0, embedding_bytes=0, other_bytes=0),
        tokenizer_sha256="",
        has_chat_template=False,
        versions={},
    )
    return made


@pytest.mark.parametrize(
    ("machines", "schedule", "at_once", "contended"),
    [
        (["", "gpu2"], "sequential", True, False),
        (["gpu1", "gpu2"], "concurrent", True, False),
        (["gpu2", "gpu2"], "sequential", False, False),
        (["gpu2", "gpu2"], "concurrent", True, True),
        (["", ""], "sequential", False, False),
        (["", "gpu2"], "swap", False, False),
    ],
)
def test_sides_on_two_machines_answer_at_once_and_uncontended(
    machines: Sequence[str], schedule: Schedule, at_once: bool, contended: bool
) -> None:
    duel = Duel([session(machine) for machine in machines], schedule)
    assert (duel.at_once([0, 1]), duel.contended([0, 1])) == (at_once, contended)


def answered(machines: Sequence[str], tokens: int) -> Duel:
    duel = Duel([session(machine) for machine in machines])
    for side in (0, 1):
        duel.answers[side] = Answer(info=duel.sessions[side].info)
        duel.answers[side].token_ids = [1] * tokens
    return duel


async def test_a_lens_says_what_it_sends_between_machines_before_it_does() -> None:
    assert on_the_line(answered(["", ""], 256)) == ""
    assert on_the_line(answered(["", "gpu2"], 256)) == "125.0 MiB of logits go over the line to gpu2"
    assert (
        on_the_line(answered(["gpu1", "gpu2"], 256))
        == "250.0 MiB of logits go over the line to gpu1 and gpu2"
    )
    found = await look(answered(["", "gpu2"], 10_000))
    assert isinstance(found, NoLens) and "4.77 GiB over the line to gpu2" in found.message
