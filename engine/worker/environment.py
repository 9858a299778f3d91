"""Keeps libraries quiet: no progress bars, no advice; errors alone reach the log.

Owns the environment variables and log levels of torch's and transformers' kin, and where torch keeps compiled
code. Knows nothing of models.
"""

import logging
import os
import traceback
from pathlib import Path

from engine import paths, private

ENVIRONMENT = {
    "GOMP_SPINCOUNT": "20000",  # about 0.2 ms of spinning, longer than the gap between two matmuls
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "OMP_WAIT_POLICY": "PASSIVE",  # threads that spin for long slow everything down where others need a core
    "TOKENIZERS_PARALLELISM": "false",
    "TQDM_DISABLE": "1",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
}
NOWHERE = Path("/proc/self")
_TALKATIVE = (
    "bitsandbytes",
    "torchao",
    "transformers",
    "huggingface_hub",
    "accelerate",
    "filelock",
    "httpx",
    "httpx2",
)


def set_environment() -> None:
    """Before torch and transformers are imported; a user's own setting stands."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for name, folder in _code_folders().items():
        os.environ.setdefault(name, str(folder))
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.ERROR)


def _code_folders() -> dict[str, Path]:
    """Where torch and Triton keep what they compile: in our cache, not in a shared temporary folder.

    Where ours cannot be made or trusted, it is one where nobody can write: code that would be compiled runs
    uncompiled. It has to exist, because torch makes a missing one as it is imported.
    """
    try:
        folder = private.code_folder(paths.cache() / "inductor", paths.cache())
    except OSError:
        traceback.print_exc()  # into the log
        folder = NOWHERE
    return {"TORCHINDUCTOR_CACHE_DIR": folder, "TRITON_CACHE_DIR": folder / "triton"}
