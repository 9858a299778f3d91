"""What a report costs, when a gate says nothing, and logits that no disk can hold."""

import math

import pytest

from engine.config import profiles
from engine.evaluation import run
from engine.evaluation.baseline import Baseline
from engine.evaluation.gate import Gate
from engine.evaluation.report import Row
from engine.evaluation.settings import Settings
from engine.evaluation.side import Side
from engine.stats.fidelity import Scores
from engine.stats.verdict import Limits
from tests.unit.engine.evaluation.test_verdicts import CONVENTION, KLD


def test_what_is_too_large_for_the_disk_is_refused_with_the_figure_needed() -> None:
    failure = run.too_large(tokens=1000, total_bytes=8 << 30, bound_bytes=4 << 30)
    assert failure.kind == "out_of_memory" and "8.00 GiB" in failure.message and "4.00 GiB" in failure.message
    assert failure.hint == "--tokens 500 would fit"


def test_a_report_has_each_candidates_row_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    row = Side.row

    def counted(side: Side, reference: Scores | None) -> Row:
        made.append(side.profile.name)
        return row(side, reference)

    monkeypatch.setattr(Side, "row", counted)
    full, quantized = (profiles.find(f"random-tiny-{name}") for name in ("bf16", "nf4"))
    kept = Baseline(CONVENTION, full.name, {quantized.name: KLD}, {quantized.name: 8})
    settings = Settings(profiles=(full, quantized), window=64, tokens=8000)
    job = run.Evaluation(settings, gate=Gate(baseline=kept, with_noise=True))
    for side in (job._reference, *job._candidates):
        side.scores.add([-1.0], [3], [0.5])
    found = job.report
    assert made.count(quantized.name) == made.count(full.name) == 1
    (note,) = found.notes
    assert note.startswith(f"{quantized.name}: its KLD is exact here and a bound by 8 tokens")
    made.clear()
    assert job.failure is None and made == []  # nothing of the noise is known yet


def test_a_noise_floor_above_the_limits_fails_an_eval_once_it_is_measured() -> None:
    full, quantized = (profiles.find(f"random-tiny-{name}") for name in ("bf16", "nf4"))
    settings = Settings(profiles=(full, quantized), window=64, tokens=8000)
    job = run.Evaluation(settings, gate=Gate(Limits(max_kld=0.1), with_noise=True))
    for side in (job._reference, *job._read_along[:1]):
        side.scores.add([-1.0], [3], [0.5])
    assert job.failure is None
    job._read_along[0].complete = True
    assert job.failure and job.failure.message == "--max-kld 0.1 is below the noise floor, 0.5"


def test_a_baseline_of_another_model_by_the_references_name_fails_an_eval() -> None:
    full, quantized = (profiles.find(f"random-tiny-{name}") for name in ("bf16", "nf4"))
    settings = Settings(profiles=(full, quantized), window=64, tokens=8000)
    for then, tokens, is_same in (
        (1.004, 2048, True),
        (1.006, 2048, False),
        (1.006, 512, True),
        (1.02, 512, False),
    ):
        kept = Baseline(CONVENTION, full.name, {quantized.name: KLD}, perplexity=math.e * then)
        job = run.Evaluation(settings, gate=Gate(baseline=kept))
        job._reference.scores.add([-1.0] * tokens, [3] * tokens, [0.5] * tokens)
        assert job.failure is None
        job._reference.complete = True
        assert (job.failure is None) == is_same
    assert job.failure and "was 2.773 there and is 2.718 here" in job.failure.message
