"""`quantduel duel` and `quantduel prompt` with real workers: torch's, and llama.cpp's where any will do."""

import json
import os
import signal
import subprocess
import sys
from contextlib import redirect_stderr
from pathlib import Path

import psutil
import pytest

from engine import cli
from engine.cli import loading
from engine.cli.loading import LoadedSide, ProgressLine
from tests.tui.program import STORY

SHORT = ["--max-new-tokens", "6"]
PACKED = "smollm2-q4-llama-cpp"  # its worker needs no torch: no long start
CALL = [sys.executable, "-c", "from engine.cli import main; main()"]


def test_json_is_one_document_with_both_sides(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "prompts.jsonl"
    talk = [("user", "Hi"), ("assistant", "Hello"), ("user", "How are you?")]
    messages = [{"role": role, "content": content} for role, content in talk]
    file.write_text(json.dumps({"prompt": "Hi"}) + "\n\n" + json.dumps({"messages": messages}) + "\n")
    args = [
        "duel",
        "random-tiny-bf16",
        "random-tiny-nf4",
        "--prompt-file",
        str(file),
        "--json",
        "--show-prompt",
        "--lens",
    ]
    assert cli.run([*args, *SHORT, "--seed", "3", "--set", "temperature=0.5"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    first, second = json.loads(out)
    assert first["input"]["identical"] and len(first["input"]["sha256"]) == 64
    assert second["input"]["tokens"] > first["input"]["tokens"]
    assert first["generation"]["seed"] == 3 and first["generation"]["temperature"] == 0.5
    assert [side["profile"] for side in first["sides"]] == ["random-tiny-bf16", "random-tiny-nf4"]
    for side in (*first["sides"], *second["sides"]):
        _check_side(side)
    _check_lens(first)
    a, b = (side["model"]["weights"] for side in first["sides"])
    assert b["linear_bytes"] < 0.5 * a["linear_bytes"]
    assert a["embedding_bytes"] == b["embedding_bytes"]


def _check_lens(turn: dict) -> None:
    readings, diverges_at = turn["lens"]["readings"], turn["first_divergence"]
    assert turn["lens"]["result"] == "lens"
    assert [[t["token_id"] for t in r["tokens"]] for r in readings] == [s["token_ids"] for s in turn["sides"]]
    assert readings[0]["mean_kld"] > 0 and len(readings[0]["tokens"][0]["views"][1]["top"]) == 5
    if diverges_at is not None:
        assert turn["lens"]["verdict"]["index"] == diverges_at


def _check_side(side: dict[str, object]) -> None:
    metrics, memory, model = side["metrics"], side["memory"], side["model"]
    assert isinstance(metrics, dict) and isinstance(memory, dict) and isinstance(model, dict)
    assert side["error"] is None and side["finish_reason"] in {"length", "stop"}
    assert metrics["new_tokens"] == len(side["token_ids"]) <= 6  # type: ignore[arg-type]
    assert metrics["ttft_ms"] > 0 and metrics["contended"] is False
    assert memory["weights_bytes"] == sum(model["weights"].values())
    assert memory["kv_cache_bytes"] > 0 and memory["process_bytes"] > memory["weights_bytes"]
    assert side["load_s"] and model["device"] and model["kernel"] and side["rendered_prompt"]
    assert "torch" in model["versions"]


def test_one_side_without_a_model_leaves_the_other_working(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.yaml").write_text(
        "model: {source: ./nothing-here.gguf}\nquantization: {method: llama_cpp}\n"
    )
    assert cli.run(["duel", str(tmp_path / "broken.yaml"), PACKED, "-p", "Hi", "--json", *SHORT]) == 3
    out, err = capsys.readouterr()
    failed, answered = json.loads(out)["sides"]
    assert failed["error"]["kind"] == "not_loaded" and "nothing-here" in failed["error"]["message"]
    assert failed["metrics"] is None and failed["text"] == ""
    assert answered["error"] is None and answered["metrics"]["new_tokens"] > 0
    assert err.startswith("quantduel: broken: ")


def test_a_model_lost_while_the_other_loads_is_reported(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    load, before = loading._load, set(psutil.Process().children())

    async def lose_the_first(side: LoadedSide, progress: ProgressLine) -> None:
        for worker in set(psutil.Process().children()) - before:
            worker.kill()
        await load(side, progress)

    monkeypatch.setattr(loading, "_load", lose_the_first)
    assert cli.run(["duel", PACKED, PACKED, "-p", "Hi", "--json", *SHORT]) == 4
    out, err = capsys.readouterr()
    lost, answered = json.loads(out)["sides"]
    assert lost["error"]["kind"] == "worker_lost" and "was killed" in err
    assert answered["error"] is None and answered["metrics"]["new_tokens"] > 0


def test_text_shows_answers_figures_and_the_comparison(capsys: pytest.CaptureFixture[str]) -> None:
    args = ["duel", PACKED, PACKED, "-p", "Hi", "--schedule", "concurrent"]
    assert cli.run([*args, *SHORT]) == 0
    shown = capsys.readouterr().out
    assert shown.index(f"A  {PACKED}  (q4_1, ") < shown.index(f"B  {PACKED}  (q4_1, ")
    assert shown.count("TTFT ") == 3 and shown.count("weights ") == 3
    assert "B q4_1 against A q4_1: decode ×" in shown
    assert "same input: " in shown
    assert "same answer: all 6 tokens" in shown


def test_ctrl_c_ends_the_workers_and_keeps_what_was_shown() -> None:
    args = ["duel", PACKED, PACKED, "-p", STORY, "--max-new-tokens", "2000"]
    running = subprocess.Popen([*CALL, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert running.stdout and running.stderr
    first = running.stdout.read(40)
    workers = psutil.Process(running.pid).children(recursive=True)
    assert workers
    os.kill(running.pid, signal.SIGINT)
    running.stdout.read()
    errors = running.stderr.read()
    assert running.wait(30) == 130
    running.stdout.close()
    running.stderr.close()
    assert first.startswith(f"A  {PACKED}".encode())
    assert b"Traceback" not in errors
    _, alive = psutil.wait_procs(workers, timeout=5)
    assert not alive


def test_a_duel_that_is_not_kept_says_so_between_the_answers(
    tmp_path: Path,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "cache").symlink_to(home / "cache")  # with the model
    (tmp_path / "data" / "duels.sqlite3").mkdir(parents=True)  # where a file should be
    monkeypatch.setenv("QUANTDUEL_HOME", str(tmp_path))
    with redirect_stderr(sys.stdout):  # a terminal is both
        assert cli.run(["duel", PACKED, PACKED, "-p", STORY, "--max-new-tokens", "60"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("this duel is not kept") == 1
    assert "\n\nquantduel: this duel is not kept: " in shown


def test_the_prompt_can_be_seen_as_the_model_reads_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["prompt", PACKED, "-p", "Hi there", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert "Hi there" in shown["text"] and shown["token_ids"]
