"""Kinds of models by methods: are the engine's greedy tokens in float32 those of transformers' `generate`?

    python -m benchmarks.architectures [KIND ...]

The kinds are tiny models of random weights; prompts are read in several chunks, and a second turn goes on
after the first. A cell says `equal`, why the side is refused before it answers, or which tokens are others
(exit 1). Each method has a process of its own, as it has in a duel: GPTQModel changes transformers' classes.
"""

import multiprocessing
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch
from transformers import logging

from engine.machine import packages
from tests.worker.architectures import KINDS, METHODS, verdict, write


def main(kinds: list[str]) -> int:
    """Print the table; 1 where anything is neither equal nor refused."""
    methods = [name for name, method in METHODS.items() if not packages.missing(packages.library(method))]
    with tempfile.TemporaryDirectory() as parent:
        folders = [write(kind, Path(parent, str(number))) for number, kind in enumerate(kinds)]
        columns = [_in_own_process(method, kinds, folders) for method in methods]
    print(f"| kind | {' | '.join(methods)} |\n|{'---|' * (len(methods) + 1)}")
    for kind, *cells in zip(kinds, *columns, strict=True):
        print(f"| {kind} | {' | '.join(cells)} |")
    return int(any("instead of" in cell for cells in columns for cell in cells))


def _in_own_process(method: str, kinds: list[str], folders: list[Path]) -> list[str]:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return list(process.map(_cell, [method] * len(kinds), kinds, folders))


def _cell(method: str, kind: str, folder: Path) -> str:
    torch.set_num_threads(1)
    logging.disable_progress_bar()
    said = verdict(kind, method, folder)
    print(f"{kind}, {method}: {said}", file=sys.stderr)
    return said


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or list(KINDS)))
