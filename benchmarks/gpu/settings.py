"""What a run of the checks reads from its environment, or refuses, and where its files are."""

import math
import os
import sys
import time
from pathlib import Path


def device(said: str) -> str:
    """One that every step can be run on."""
    return said if said in {"cuda", "cuda:0", "cpu"} else sys.exit(f"KIT_DEVICE={said}: cuda, cuda:0 or cpu")


def seconds(name: str, said: str) -> float:
    """A positive number."""
    try:
        number = float(said)
    except ValueError:
        number = 0
    return number if 0 < number < math.inf else sys.exit(f"{name}={said}: a number of seconds, such as 560")


DEVICE = device(os.environ.get("KIT_DEVICE", "cuda"))
HAS_GPU = DEVICE != "cpu"
WITH_CUDNN = os.environ.get("KIT_CUDNN") == "1"
SHAPE = os.environ.get("KIT_SHAPE", "llama-3.1-8b")
SECONDS = seconds("KIT_SECONDS", os.environ.get("KIT_SECONDS", "560"))  # for everything
STARTED = float(os.environ.get("KIT_STARTED", time.time()))
OUT = Path(os.environ.get("OUT", "/tmp/out"))
MADE = Path(os.environ.get("QUANTDUEL_HOME", "/tmp/qd")) / "made"
"""Checkpoints of random packed weights: `SHAPE-gptq4`, `SHAPE-awq4`."""
