"""What a method is shown while it quantizes: the `calibration` section of a profile.

Owns the schema and the names of the sets. Reads and tokenizes nothing: a worker does, in
`engine/worker/quantize/calibrate.py`.
"""

from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

from engine import paths
from engine.config.faults import nearest

HUB_SETS = ("wikitext2", "c4", "c4-new", "ptb", "ptb-new")
PYTHON_DOCS = "python-docs"
SETS = (PYTHON_DOCS, *HUB_SETS)
FILE_TYPES = (".txt", ".jsonl", ".parquet")

Text = Annotated[str, Meta(min_length=1)]


class Calibration(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Text whose activations decide how weights are rounded: `samples` pieces of `length` tokens."""

    dataset: str | tuple[Text, ...] = PYTHON_DOCS
    """`wikitext2`, `c4`, `c4-new`, `ptb`, `ptb-new` from the hub; `python-docs`, which comes with Python;
    a file (.txt, .jsonl, .parquet); or a list of texts."""
    samples: Annotated[int, Meta(ge=1, le=100_000)] = 128
    """Pieces of text."""
    length: Annotated[int, Meta(ge=16, le=131_072)] = 512
    """Tokens in a piece; not more than the model's window."""
    seed: Annotated[int, Meta(ge=0, le=2**62)] = 0
    """Of the order in which texts are taken."""

    def __post_init__(self) -> None:
        if not self.dataset:
            raise ValueError("dataset: expected at least one text")
        if isinstance(self.dataset, str) and self.dataset not in SETS and self.file is None:
            names = ", ".join(SETS)
            hint = (
                nearest(self.dataset, SETS)
                or f"choose from {names}, a file ({', '.join(FILE_TYPES)}), or a list"
            )
            raise ValueError(f"dataset: no calibration set named {self.dataset!r}; {hint}")

    @property
    def file(self) -> Path | None:
        """The file it names, where it names one."""
        is_file = isinstance(self.dataset, str) and self.dataset.lower().endswith(FILE_TYPES)
        return paths.expanded(str(self.dataset)) if is_file else None

    @property
    def name(self) -> str:
        """What to call it in a line: the set, the file's name, or how many texts."""
        if isinstance(self.dataset, tuple):
            return "1 text" if len(self.dataset) == 1 else f"{len(self.dataset)} texts"
        return self.file.name if self.file else self.dataset
