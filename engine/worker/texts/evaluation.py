"""Evaluation texts as token ids: Python's documentation, files, the test parts of public sets.

Owns the sets' rows and how they are joined, as the GPTQ and AWQ papers' code does it. Reads the hub through
`sets`; knows tokenizers, not models.
"""

from pathlib import Path

from transformers import PreTrainedTokenizerBase

from engine.config import text_files
from engine.config.texts import PYTHON_DOCS
from engine.errors import InputError
from engine.evaluation.settings import require_text, text_name
from engine.protocol import Tokenize, Tokenized
from engine.worker.texts.sets import HUB, HubSet, hub_rows, python_docs
from engine.worker.texts.tokens import beginning as beginning_of

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


def tokenize(tokenizer: PreTrainedTokenizerBase, command: Tokenize) -> Tokenized:
    """The text a command names, tokenized in one piece; LoadError where it cannot be read."""
    text = whole(command.text) if command.content is None else command.content
    ids = token_ids(tokenizer, text, command.tokens)
    beginning = tuple(beginning_of(tokenizer))
    if len(ids) + len(beginning) < 2:
        raise InputError(f"the text {text_name(command.text)} has too few tokens to score any")
    return Tokenized(request=command.request, token_ids=tuple(ids), beginning=beginning)


def whole(name: str) -> str:
    """All of a text: a set's rows joined as its users join them, empty rows included; a file's texts."""
    if name == PYTHON_DOCS:
        return "\n\n".join(python_docs(held_out=True))
    if wanted := HUB_TESTS.get(name):
        rows = hub_rows(f"the text {name}", wanted)
        return wanted.between.join(rows[: ROWS.get(name)])
    return text_files.joined(Path(require_text(name)))


def token_ids(tokenizer: PreTrainedTokenizerBase, text: str, tokens: int | None) -> list[int]:
    """The first `tokens` ids of a text, without what the tokenizer puts before it; None is all of them."""
    wanted = len(text) if tokens is None else tokens * CHARACTERS_PER_TOKEN
    while True:
        ids: list[int] = tokenizer(text[:wanted], add_special_tokens=False, verbose=False)["input_ids"]
        if wanted >= len(text) or len(ids) >= (tokens or 0) + MARGIN_TOKENS:
            return ids[:tokens]
        wanted *= 2
