"""Limits below what rounding alone does."""

import pytest
from msgspec.structs import replace

from engine.config import profiles
from engine.evaluation import noise
from engine.evaluation.report import Row
from engine.stats.fidelity import Kld
from engine.stats.verdict import GOOD, Limits

ROW = Row(
    profile="full in float32",
    tokens=1000,
    kld=Kld(mean=0.0004, stderr=0.00001, p50=0, p95=0, p99=0, p999=0, max=1),
    same_top=98.9,
    same_top_stderr=0.3,
    perplexity_ratio=0.999,
    complete=True,
)


def test_the_twin_has_another_precision_and_nothing_quantized() -> None:
    bf16 = profiles.find("random-tiny-bf16")
    twin = noise.twin(bf16)
    assert twin and twin.model.dtype == "float32" and twin.name == "random-tiny-bf16 in float32"
    back = noise.twin(replace(bf16, model=replace(bf16.model, dtype="float32")))
    assert back and back.model.dtype == "bfloat16"
    assert noise.twin(profiles.find("random-tiny-nf4")) is None


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (GOOD, ""),
        (Limits(max_kld=0.0004), ""),
        (Limits(max_kld=0.0001), "--max-kld 0.0001 is below the noise floor, 0.0004"),
        (Limits(min_same_top=99.5), "--min-same-top 99.5 is above the noise floor, 98.9"),
        (Limits(max_ppl_ratio=0.5), "--max-ppl-ratio 0.5 is below the noise floor, 0.999"),
    ],
)
def test_a_limit_below_the_noise_is_refused(limits: Limits, expected: str) -> None:
    found = noise.refusal(limits, ROW)
    assert (found.message if found else "") == expected


def test_without_a_measurement_nothing_is_refused() -> None:
    assert noise.refusal(Limits(max_kld=0), Row(profile="x")) is None
    assert noise.line(Row(profile="x")) == "the noise floor was not measured"
    assert noise.line(ROW).startswith("noise floor, full in float32: KLD 0.000400 ± 0.000010, same top 98.90")
