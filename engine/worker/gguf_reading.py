"""Makes transformers' reading of GGUF files bearable: each is parsed once, not three times, with progress.

Owns a temporary patch of three functions: the file parser (asked anew for config, tokenizer and weights), the
table of tensor names (asked anew for every module, most of the time a load takes), and the progress bar.
"""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from engine.protocol import Staged
from engine.worker.progress import Progress, Report, ReportedBar
from engine.worker.replaced import replaced


@contextmanager
def parsed_once(report: Report, detail: str = "") -> Iterator[None]:
    """Within it a GGUF file must not change. Outside everything is as before."""
    import gguf
    from transformers import modeling_gguf_pytorch_utils

    def bar(*args: Any, **options: Any) -> ReportedBar:
        progress = Progress(report, "read", 0, "tensors", detail)
        return ReportedBar(*args, show=progress.reach, **options)

    report(Staged(stage="read", detail=detail or "parsing the GGUF file"))
    with (
        replaced(gguf, "GGUFReader", functools.cache(gguf.GGUFReader)),
        replaced(gguf, "get_tensor_name_map", functools.cache(gguf.get_tensor_name_map)),
        replaced(modeling_gguf_pytorch_utils, "tqdm", bar),
    ):
        yield
