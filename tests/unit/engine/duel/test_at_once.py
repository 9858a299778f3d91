"""Who answers at the same time: sides that share nothing need not wait for each other."""

from collections.abc import Sequence

import pytest

from engine.config.profile import Model, Profile
from engine.duel.duel import Duel
from engine.protocol import ModelInfo, Weights
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
