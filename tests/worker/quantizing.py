"""Quantizing in processes of their own, started quickly and killed: a fork server has the imports.

All but GPTQModel's, which starts threads: a fork would inherit their locks, and wait on them for ever.
"""

import multiprocessing
import os
from multiprocessing.context import ForkServerContext, ForkServerProcess
from multiprocessing.queues import SimpleQueue
from pathlib import Path

from engine.config.profile import Profile
from engine.protocol.loading import Staged

PRELOADED = [
    "engine.worker.quantize.ensure",
    "engine.worker.checkpoints.random_model",
    *("bitsandbytes", "datasets", "gguf", "networkx", "requests", "setuptools"),
    *("torch._dynamo", "torch._inductor"),
]


def context() -> ForkServerContext:
    """Processes that begin with everything heavy imported."""
    os.environ.update(GPTQMODEL_CPU_WORKERS="2", GPTQMODEL_OFFLINE="1", CI="1")
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(PRELOADED)
    return found


class Quantizing:
    """One process that makes a profile's checkpoint in the store below `home`."""

    def __init__(self, profile: Profile, home: Path) -> None:
        started = context()
        self._told: SimpleQueue[Staged | bool] = started.SimpleQueue()
        self.process: ForkServerProcess = started.Process(target=_make, args=(profile, home, self._told))
        self.process.start()

    def next(self) -> Staged | bool:
        """The next progress, or at the end whether the checkpoint was there already."""
        return self._told.get()

    def all(self) -> list[Staged | bool]:
        """Everything it tells, to its end."""
        told = [self.next()]
        while isinstance(told[-1], Staged):
            told.append(self.next())
        return told


def _make(profile: Profile, home: Path, told: "SimpleQueue[Staged | bool]") -> None:
    os.environ["QUANTDUEL_HOME"] = str(home)
    with Path(os.devnull).open("w") as nothing:
        os.dup2(nothing.fileno(), 1)
    import torch

    from engine.worker.quantize import ensure

    torch.set_num_threads(2)
    told.put(ensure.ensure(profile, told.put).cached)
