"""Evaluation texts as they are: Python's documentation, files, the test parts of public sets.

Owns the sets' rows and how they are joined, as the GPTQ and AWQ papers' code does it, and how much of a
text is needed for so many tokens. Reads the hub through `sets`; knows neither tokenizers nor models.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from engine.config import text_files
from engine.config.texts import PYTHON_DOCS
from engine.evaluation.settings import require_text
from engine.worker.texts.sets import HUB, HubSet, hub_rows, python_docs

CHARACTERS_PER_TOKEN = 8  # a first guess at how much text is needed
MARGIN_TOKENS = 16  # where a text is cut, its last tokens may differ from those of the whole text

HUB_TESTS = {
    "wikitext2": HubSet("Salesforce/wikitext", "text", "\n\n", config="wikitext-2-raw-v1", split="test"),
    "c4": HubSet("allenai/c4", "text", " ", files="en/c4-validation.00000-of-00008.json.gz"),
    "ptb": HubSet(
        HUB["ptb"].repo,
        "sentence",
        " ",
        config=HUB["ptb"].config,
        revision=HUB["ptb"].revision,
        split="test",
    ),
}
ROWS = {"c4": 1100}


def whole(name: str) -> str:
    """All of a text: a set's rows joined as its users join them, empty rows included; a file's texts."""
    if name == PYTHON_DOCS:
        return "\n\n".join(python_docs(held_out=True))
    if wanted := HUB_TESTS.get(name):
        rows = hub_rows(f"the text {name}", wanted)
        return wanted.between.join(rows[: ROWS.get(name)])
    return text_files.joined(Path(require_text(name)))


def token_ids(tokenized: Callable[[str], Sequence[int]], text: str, tokens: int | None) -> list[int]:
    """The first `tokens` ids of a text, without what the tokenizer puts before it; None is all of them."""
    wanted = len(text) if tokens is None else tokens * CHARACTERS_PER_TOKEN
    while True:
        ids = tokenized(text[:wanted])
        if wanted >= len(text) or len(ids) >= (tokens or 0) + MARGIN_TOKENS:
            return list(ids[:tokens])
        wanted *= 2
