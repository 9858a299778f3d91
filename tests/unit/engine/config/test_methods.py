"""The options of the methods."""

import msgspec
import pytest

from engine.config.methods import AutoRound, BitsAndBytes, Full, Method, tag


def test_labels() -> None:
    assert BitsAndBytes(bits=4, quant_type="fp4", double_quant=True).label("bfloat16") == "fp4+dq"
    assert BitsAndBytes(bits=8).label("float16") == "int8"
    assert Full().label("float16") == "fp16"


def test_a_method_is_chosen_by_its_tag() -> None:
    method = msgspec.convert({"method": "bitsandbytes", "bits": 8}, Method)
    assert tag(method) == "bitsandbytes" and method == BitsAndBytes(bits=8)


@pytest.mark.parametrize("options", [{"bits": 8, "quant_type": "nf4"}, {"bits": 4, "threshold": 6.0}])
def test_options_of_the_other_width_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError, match="with `bits"):
        msgspec.convert({"method": "bitsandbytes", **options}, Method)


def test_autoround_packs_zero_points_of_2_and_4_bits_alone() -> None:
    for bits in (2, 4):
        assert not msgspec.convert({"method": "autoround", "bits": bits, "sym": False}, AutoRound).sym
    for bits in (3, 8):
        assert AutoRound(bits=bits).label("bfloat16") == f"autoround{bits}"
        with pytest.raises(msgspec.ValidationError, match="sym: false goes with"):
            msgspec.convert({"method": "autoround", "bits": bits, "sym": False}, AutoRound)
