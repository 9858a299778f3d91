"""What a run of the checks reads from its environment, and where its files are."""

import os
import time
from pathlib import Path

DEVICE = os.environ.get("KIT_DEVICE", "cuda")
HAS_GPU = DEVICE != "cpu"
WITH_CUDNN = os.environ.get("KIT_CUDNN") == "1"
SHAPE = os.environ.get("KIT_SHAPE", "llama-3.1-8b")
SECONDS = float(os.environ.get("KIT_SECONDS", "560"))  # for everything
STARTED = float(os.environ.get("KIT_STARTED", time.time()))
OUT = Path(os.environ.get("OUT", "/tmp/out"))
MADE = Path(os.environ.get("QUANTDUEL_HOME", "/tmp/qd")) / "made"
"""Checkpoints of random packed weights: `SHAPE-gptq4`, `SHAPE-awq4`."""
