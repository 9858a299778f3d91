"""Speeds up transformers' reading of GGUF files: each is parsed once, not three times, with progress.

Owns a temporary patch of three functions: the file parser (called again for config, tokenizer and weights),
the table of tensor names (built again for every module, most of the time of a load), and the progress bar.
And a patch of the map from tensors to modules, to learn which tensors are skipped.
"""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from engine.protocol.loading import Staged, Step
from engine.worker.progress import Progress, Report, ReportedBar
from engine.worker.replaced import replaced


class _Places(dict[str, str]):
    """The modules that a file's tensors belong to; notes the names that are looked up and not found."""

    def __init__(self, found: dict[str, str], unplaced: list[str]) -> None:
        super().__init__(found)
        self._unplaced = unplaced

    def __contains__(self, name: object) -> bool:
        is_placed = super().__contains__(name)
        if not is_placed and isinstance(name, str):
            self._unplaced.append(name)
        return is_placed


@contextmanager
def unplaced() -> Iterator[list[str]]:
    """The tensors that transformers skips while it reads a file, which its older reader does not report."""
    from transformers import modeling_gguf_pytorch_utils

    names: list[str] = []
    places = modeling_gguf_pytorch_utils.get_gguf_hf_weights_map

    def noting(*args: Any, **options: Any) -> _Places:
        return _Places(places(*args, **options), names)

    with replaced(modeling_gguf_pytorch_utils, "get_gguf_hf_weights_map", noting):
        yield names


@contextmanager
def parsed_once(report: Report, step: Step = "parse GGUF") -> Iterator[None]:
    """Within it a GGUF file must not change."""
    import gguf
    from transformers import modeling_gguf_pytorch_utils

    def bar(*args: Any, **options: Any) -> ReportedBar:
        progress = Progress(report, Staged(stage="read", step=step, unit="tensors"))
        return ReportedBar(*args, show=progress.reach, **options)

    report(Staged(stage="read", step=step))
    with (
        replaced(gguf, "GGUFReader", functools.cache(gguf.GGUFReader)),
        replaced(gguf, "get_tensor_name_map", functools.cache(gguf.get_tensor_name_map)),
        replaced(modeling_gguf_pytorch_utils, "tqdm", bar),
    ):
        yield
