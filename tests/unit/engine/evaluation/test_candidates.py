"""What is tried for a model, in which order, and what is not."""

from pathlib import Path

import pytest

from engine.config import profiles
from engine.evaluation import candidates
from engine.evaluation.candidates import Candidate, Declined


def test_profiles_of_the_model_give_the_names_from_cheap_to_dear() -> None:
    for name in ("demo", "smollm2-nf4", "smollm2-bf16"):
        reference = candidates.reference(profiles.find(name))
        assert reference.name == "smollm2-bf16"
        found = candidates.candidates(reference)
        names = ["int8", "nf4", "fp8", "rtn8", "rtn4", "awq4", "gptq4", "autoround4"]
        assert [each.command for each in found] == [f"smollm2-{name}" for name in names]


def test_a_model_without_profiles_is_named_by_options(tmp_path: Path) -> None:
    reference = candidates.reference(profiles.find("random:qwen2.5-7b"))
    by_name = {each.profile.name: each for each in candidates.candidates(reference)}
    rtn = by_name["random:qwen2.5-7b rtn4"]
    options = "--set quantization.method=rtn --set quantization.bits=4 --set quantization.group_size=128"
    assert rtn.command == f"random:qwen2.5-7b {options}" and not rtn.is_dear
    assert by_name["random:qwen2.5-7b gptq4"].is_dear
    fp8 = by_name["random:qwen2.5-7b fp8"]
    assert fp8.command == "random:qwen2.5-7b --set quantization.method=fp8" and not fp8.is_dear


def test_groups_divide_the_models_layers() -> None:
    demo = candidates.reference(profiles.find("demo"))
    assert candidates._group_size(demo) == 64  # 576 wide


def test_what_does_not_fit_is_declined_with_its_size() -> None:
    reference = candidates.reference(profiles.find("demo"))
    found = list(candidates.fitting(candidates.candidates(reference), most_bytes=1 << 20))
    assert found and all(isinstance(each, Declined) for each in found)
    assert found[0].name == "smollm2-int8" and "of 1.0 MiB that are allowed" in found[0].why  # type: ignore[union-attr]
    assert all(
        isinstance(each, Candidate) for each in candidates.fitting(candidates.candidates(reference)[:2], None)
    )


@pytest.mark.parametrize("name", ["smollm2-fp32"])
def test_a_profile_in_full_precision_is_its_own_reference(name: str) -> None:
    assert candidates.reference(profiles.find(name)).name == name


def test_a_model_of_another_machine_is_tried_there() -> None:
    far = profiles.changed(profiles.find("smollm2-bf16"), {"worker.launch": "ssh gpu2 quantduel worker"})
    found = candidates.candidates(far)
    assert {each.profile.worker for each in found} == {far.worker}
    assert all("--set quantization.method" in each.command for each in found)
