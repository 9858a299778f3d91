"""Evaluations with real workers on tiny random models: the figures, where the logits go, and how it ends."""

import json
import os
from contextlib import aclosing
from pathlib import Path
from statistics import fmean

import psutil
import pytest

from engine import cli
from engine.config import profiles as known
from engine.evaluation import run, text, windows
from engine.evaluation.run import Evaluation
from engine.evaluation.settings import Settings
from engine.jobs import sheet as sheets
from engine.jobs.events import Advanced
from engine.jobs.profiles import distinct
from engine.machine import hardware
from engine.plan.planning import plan
from engine.shape import find

TINY = "random-tiny-bf16"
GEMMA = os.environ.get("QUANTDUEL_TEST_GEMMA", "")
WINDOW = 64


def settings(*names: str) -> Settings:
    profiles = distinct([known.find(name) for name in names])
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
    assert row["read_tok_s"] > 0 and row["decode_tok_s"] == fmean(row["decode_samples_tok_s"])
    assert len(row["decode_samples_tok_s"]) == 5  # before the text and after it
    assert reference["kld"] is None and reference["perplexity"] > 1
    assert len(document["notes"]) == 1 and "went through the disk" in document["notes"][0]


def test_the_convention_stands_next_to_the_figures(document: dict) -> None:
    convention = document["convention"]
    assert convention["scored_tokens"] == document["reference"]["tokens"] == 4 * 32
    assert convention["tokens"] == 256 and convention["windows"] == 4
    assert "windows of 64, no overlap, their second half scored (128)" in convention["line"]
    assert "python-docs" in convention["line"] and "no calibration reads" in convention["line"]


async def test_leaving_early_keeps_the_figures_and_leaves_nothing_behind() -> None:
    """Here the logits do not fit in memory: the reference reads along, and both workers are alive."""
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


def test_a_limit_below_the_noise_floor_is_refused_before_a_candidate_is_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "kept.json"
    args = ["eval", TINY, "random-tiny-nf4", "--window", str(WINDOW), "--tokens", "256", "--no-speed"]
    assert cli.run([*args, "--max-kld", "1e-9", "--out", str(out)]) == 2
    shown = capsys.readouterr()
    assert "--max-kld 1e-09 is below the noise floor" in shown.err
    assert f"noise floor, {TINY} in float32: KLD" in shown.out
    (candidate,) = json.loads(out.read_text())["candidates"]
    assert candidate["weights_bytes"] is None and candidate["error"] is None


async def test_what_would_send_too_much_between_machines_is_not_begun(tmp_path: Path) -> None:
    (tmp_path / "far.yaml").write_text(
        "model: {source: 'random:tiny'}\nworker: {launch: ssh gpu2 quantduel worker}\n"
    )
    evaluation = Evaluation(settings(TINY, str(tmp_path / "far.yaml")))
    evaluation.line_bytes = 1 << 10
    async with aclosing(evaluation.run()) as events:
        async for _ in events:
            pass
    (row,) = evaluation.report.candidates
    assert (
        row.error and "128 KiB over the line to ssh gpu2 quantduel worker, where 1 KiB" in row.error.message
    )
    assert row.error.hint.startswith("--tokens ") and "--line " in row.error.hint


@pytest.mark.thorough
def test_a_gate_stays_shut_where_the_baseline_read_less(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["eval", TINY, "random-tiny-nf4", "--window", "64", "--no-speed"]
    kept = tmp_path / "kept.json"
    assert cli.run([*args, "--tokens", "128", "--out", str(kept)]) == 0
    assert cli.run([*args, "--tokens", "256", "--baseline", str(kept)]) == 2
    assert "--baseline: 128 tokens there, 256 tokens here" in capsys.readouterr().err


@pytest.fixture(scope="module")
def by_depth(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, str]:
    """A model against itself, and itself with a cache in 8 bits: what is kept, and the gate's JUnit."""
    folder = tmp_path_factory.mktemp("by-depth")
    (folder / "rounded.yaml").write_text("model: {source: 'random:tiny'}\ncache: {dtype: int8}\n")
    args = ["eval", TINY, TINY, str(folder / "rounded.yaml"), "--window", "160", "--tokens", "320"]
    args += ["--scored", "all", "--by-depth", "--no-speed", "--no-noise", "--max-kld", "0.01"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windows, "PASS_TOKENS", 48)  # a window takes several passes
        files = ["--junit", str(folder / "out.xml"), "--out", str(folder / "kept.json")]
        assert cli.run([*args, *files]) == 0
    return json.loads((folder / "kept.json").read_text()), (folder / "out.xml").read_text()


def test_a_gate_opens_for_what_is_good_enough_and_says_so_in_junit(by_depth: tuple[dict, str]) -> None:
    document, junit = by_depth
    assert 'tests="2" failures="0" errors="0"' in junit
    assert document["verdicts"][0]["headline"] == "identical"
    margins = document["candidates"][0]["margins"]
    assert margins["kept"] == 1 and margins["lost"] == 0 and margins["decided"] > 0


def test_by_depth_a_cache_in_8_bits_is_away_from_its_reference_and_the_reference_is_not(
    by_depth: tuple[dict, str],
) -> None:
    document, _ = by_depth
    identical, rounded = document["candidates"]
    assert identical["kld"]["max"] == 0 and identical["same_top"] == 100
    assert 0 < rounded["kld"]["mean"] < 0.01 and rounded["label"] == "bf16+kv-int8"
    for row in (identical, rounded):
        depths = [(each["first"], each["last"], each["tokens"]) for each in row["depths"]]
        assert depths == [(0, 127, 254), (128, 159, 64)]
    assert not document["reference"]["depths"]


@pytest.mark.skipif(not GEMMA, reason="QUANTDUEL_TEST_GEMMA names no GGUF file of Gemma 3: CONTRIBUTING.md")
def test_gemma_s_k_quants_are_the_same_numbers_in_torch_and_in_llama_cpp(tmp_path: Path) -> None:
    """One KV head, windows of 512, 262 144 tokens: what is left is llama.cpp's rounding of activations."""
    pytest.importorskip("xllamacpp")
    names, out = [str(tmp_path / f"{method}.yaml") for method in ("gguf", "llama_cpp")], tmp_path / "out.json"
    for name in names:
        method = Path(name).stem
        Path(name).write_text(f"model: {{source: {GEMMA}}}\nquantization: {{method: {method}}}\n")
    assert cli.run(["eval", *names, "--tokens", "1024", "--no-speed", "--out", str(out)]) == 0
    reference, (row,) = (found := json.loads(out.read_text()))["reference"], found["candidates"]
    assert row["kld"]["mean"] < 0.02 and row["same_top"] > 90
    for side, name in zip((reference, row), names, strict=True):
        wanted = known.find(name)
        planned = plan(wanted, find.of(wanted), hardware.detect()).weights_bytes
        assert side["weights_bytes"] == pytest.approx(planned, rel=0.001)
