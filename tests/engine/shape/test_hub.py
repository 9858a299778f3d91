"""The shape of a hub model by its headers alone: a real server is the hub, a fresh process asks it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import save

from engine.config.sources import SHAPES
from tests.worker.hub_server import Repo, serving

PLAN = [sys.executable, "-c", "from engine.cli import main; main()", "plan", "org/model"]
WEIGHTS = {"model.embed_tokens.weight": torch.zeros((512, 128), dtype=torch.bfloat16)}


def plan(endpoint: str, home: Path) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    settings = {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "*"}
    command = [*PLAN, "--json"]
    return subprocess.run(
        command, env=inherited | settings, capture_output=True, text=True, timeout=60, check=False
    )


def test_headers_come_without_the_weights(tmp_path: Path) -> None:
    files = {"config.json": (SHAPES / "tiny.json").read_bytes(), "model.safetensors": save(WEIGHTS)}
    with serving({"org/model": Repo(files)}) as hub:
        done = plan(hub.url, tmp_path)
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)["plans"]
    assert {term["name"]: term["bytes"] for term in found["weights"]}["embedding"] == 2 * 512 * 128
    assert "the hub's headers" in found["origin"]
    kept = [file for file in tmp_path.rglob("*") if file.is_file() and file.stat().st_size > 100_000]
    assert not kept  # nothing as large as the weights lies there


def test_a_hub_that_is_away_is_one_line(tmp_path: Path) -> None:
    done = plan("http://127.0.0.1:9", tmp_path)  # nobody listens on the discard port
    assert done.returncode == 3 and "does not answer" in done.stderr
    assert "Traceback" not in done.stderr and len(done.stderr.splitlines()) <= 2
