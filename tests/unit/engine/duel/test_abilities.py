"""What cannot be done with served sides, by what they can."""

import pytest
from msgspec.structs import replace

from engine.config import profiles
from engine.duel.abilities import Ability, why_not
from engine.protocol.model import ServedModel
from tests.unit.engine.bench.samples import INFO, TINY

SERVED = profiles.of_model("http://127.0.0.1:9/v1")


@pytest.mark.parametrize(
    ("ability", "can", "said"),
    [
        ("lens", {"scores": "token", "ids": True, "top_k": 20}, ""),
        ("lens", {"scores": "passage", "top_k": 20}, "any does not score an answer's tokens"),
        ("lens", {"scores": "token", "ids": True, "top_k": 1}, "any does not score an answer's tokens"),
        ("eval", {"scores": "passage"}, ""),
        ("eval", {}, "any does not score given texts"),
        ("quantize", {}, ""),
    ],
)
def test_a_side_that_cannot_is_the_reason(ability: Ability, can: dict[str, object], said: str) -> None:
    model = replace(INFO, served=ServedModel(engine="any", address="gpu2:8000", **can))
    found = why_not(ability, [TINY, SERVED], [INFO, model])
    assert said in found and bool(said) is bool(found)


def test_nothing_is_said_before_it_is_known_and_servers_alone_have_nothing_to_make() -> None:
    assert why_not("lens", [SERVED, TINY], [None, None]) == ""
    assert "where it is served" in why_not("quantize", [SERVED, SERVED], [None, None])
