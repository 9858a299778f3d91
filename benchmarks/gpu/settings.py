"""What a run of the checks reads from its environment, and where its files are."""

import os
import time
from pathlib import Path

DEVICE = os.environ.get("KIT_DEVICE", "cuda")
HAS_GPU = DEVICE != "cpu"
SHAPE = os.environ.get("KIT_SHAPE", "llama-3.1-8b")
SECONDS = float(os.environ.get("KIT_SECONDS", "470"))  # for everything
STARTED = float(os.environ.get("KIT_STARTED", time.time()))
OUT = Path(os.environ.get("OUT", "/tmp/out"))
MADE = Path(os.environ.get("QUANTDUEL_HOME", "/tmp/qd")) / "made"
"""Checkpoints of random packed weights: `SHAPE-gptq4`, `SHAPE-awq4`."""
