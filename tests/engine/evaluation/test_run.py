"""Evaluations with real workers on tiny random models: the figures, where the logits go, and how it ends."""

import csv
import io
import json
import math
import os
from contextlib import aclosing
from pathlib import Path

import msgspec
import psutil
import pytest

from engine import cli
from engine.config import profile
from engine.errors import InputError
from engine.evaluation import run, text
from engine.evaluation.report import Report, Row
from engine.evaluation.run import Evaluation
from engine.evaluation.settings import Settings
from engine.jobs import sheet as sheets
from engine.jobs.events import Advanced
from engine.jobs.profiles import distinct
from engine.stats.fidelity import Kld

TINY = "random-tiny-bf16"
WINDOW = 64


def settings(*names: str) -> Settings:
    profiles = distinct([profile.find(name) for name in names])
    return Settings(profiles=profiles, window=WINDOW, tokens=256, decode_steps=0)


def shared_files() -> list[str]:
    """What this process still holds of logits."""
    links = [os.path.realpath(link) for link in Path("/proc/self/fd").iterdir()]
    return [link for link in links if "quantduel-logits" in link]


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """One run through the command line, where the logits go over the disk as if two models did not fit."""
    out = tmp_path_factory.mktemp("eval") / "found.json"
    args = ["eval", TINY, "random-tiny-nf4", "--window", str(WINDOW), "--tokens", "256", "--alone"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "HELD_BYTES", 0)
        assert cli.run([*args, "--out", str(out), "--format", "csv"]) == 0
    assert shared_files() == []
    return json.loads(out.read_text())


def test_a_quantized_model_has_a_distance_a_size_and_speeds(document: dict) -> None:
    reference, (row,) = document["reference"], document["candidates"]
    kld = row["kld"]
    assert 0 < kld["p50"] <= kld["p95"] <= kld["p99"] <= kld["p999"] <= kld["max"] and kld["stderr"] > 0
    assert row["complete"] and 0 < row["same_top"] < 100 and row["rms_dp"] > 0
    assert row["weights_bytes"] < reference["weights_bytes"]
    assert row["read_tok_s"] > 0 and row["decode_tok_s"] > 0
    assert reference["kld"] is None and reference["perplexity"] > 1
    assert len(document["notes"]) == 1 and "went over the disk" in document["notes"][0]


def test_the_convention_stands_beside_the_figures(document: dict) -> None:
    convention = document["convention"]
    assert convention["scored_tokens"] == document["reference"]["tokens"] == 4 * 32
    assert convention["tokens"] == 256 and convention["windows"] == 4
    assert "windows of 64, no overlap, their second half scored (128)" in convention["line"]
    assert "python-docs" in convention["line"] and "no calibration reads" in convention["line"]


async def test_leaving_early_keeps_the_figures_and_leaves_nothing_behind() -> None:
    """Here the logits are too many to be held: the reference reads along, and both workers are alive."""
    before = set(psutil.Process().children())
    evaluation = Evaluation(settings(TINY, TINY), held_bytes=0)
    async with aclosing(evaluation.run()) as events:
        async for event in events:
            if isinstance(event, Advanced) and "#2: 64 of" in event.words:
                assert len(shared_files()) == 1
                break
    report = evaluation.report
    (row,) = report.candidates
    assert (row.tokens, row.complete) == (64, False)
    assert row.kld is not None and row.kld.max == 0 and row.same_top == 100
    assert row.perplexity == report.reference.perplexity
    assert "not finished: 64 of 128 tokens scored" in sheets.text(text.sheet(report), "table")
    assert shared_files() == []
    assert set(psutil.Process().children()) <= before


def test_what_is_too_large_for_the_disk_is_refused_with_the_figure_needed() -> None:
    failure = run.too_large(tokens=1000, total_bytes=8 << 30, bound_bytes=4 << 30)
    assert failure.kind == "out_of_memory" and "8.00 GiB" in failure.message and "4.00 GiB" in failure.message
    assert failure.hint == "--tokens 500 would fit"


REPORT = Report(
    convention=None,
    reference=Row(profile="a", label="bf16", tokens=4, perplexity=12.5, perplexity_stderr=0.25),
    candidates=(
        Row(profile="far", kld=Kld(mean=0.25, stderr=0.0125, p50=0.1, p95=1, p99=2, p999=3, max=4)),
        Row(profile="broken"),
        Row(
            profile="near|er",
            kld=Kld(mean=0.03125, stderr=0.001, p50=0.01, p95=1, p99=2, p999=3, max=4),
            same_top=97.5,
            same_top_stderr=0.5,
        ),
    ),
)


def test_the_table_ranks_by_divergence() -> None:
    lines = sheets.text(text.sheet(REPORT), "md").splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert [row.split(" | ")[0] for row in rows[2:]] == [
        "| a (reference)",
        "| near\\|er",
        "| far",
        "| broken",
    ]
    assert "0.0312 ± 0.0010" in rows[3] and "97.50 ± 0.50 %" in rows[3] and "12.50 ± 0.25" in rows[2]


def test_csv_has_bare_numbers_in_the_order_that_was_asked_for() -> None:
    rows = list(csv.DictReader(io.StringIO(sheets.text(text.sheet(REPORT), "csv"))))
    assert [row["profile"] for row in rows] == ["a", "far", "broken", "near|er"]
    assert float(rows[3]["kld_mean"]) == 0.03125 and rows[0]["kld_mean"] == ""


def test_a_broken_model_is_null_in_json() -> None:
    broken = msgspec.structs.replace(REPORT, reference=Row(profile="a", perplexity=math.inf))
    assert json.loads(sheets.text(text.sheet(broken), "json"))["reference"]["perplexity"] is None


def test_a_reference_alone_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["eval", TINY]) == 2
    assert "at least one candidate" in capsys.readouterr().err
    with pytest.raises(InputError):
        Evaluation(settings(TINY))
    assert cli.run(["eval", TINY, TINY, "--stride", "600"]) == 2
    assert "expected at most 512" in capsys.readouterr().err


def test_a_text_that_cannot_be_read_is_told_before_a_model_is_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (file := tmp_path / "TEXT.TXT").write_bytes(b"caf\xe9")
    assert cli.run(["eval", "no/model", "no/model", "--text", str(file)]) == 2
    assert capsys.readouterr().err == f"quantduel: the text file {file}:1: is not UTF-8 text\n"
