"""Evaluation texts as token ids. Knows tokenizers, not models; `whole` owns the texts."""

from transformers import PreTrainedTokenizerBase

from engine.errors import InputError
from engine.evaluation.settings import text_name
from engine.protocol.scores import Tokenize, Tokenized
from engine.worker.texts.tokens import beginning as beginning_of
from engine.worker.texts.whole import token_ids as ids_of
from engine.worker.texts.whole import whole


def tokenize(tokenizer: PreTrainedTokenizerBase, command: Tokenize) -> Tokenized:
    """The text a command names, tokenized in one piece; LoadError where it cannot be read."""
    text = whole(command.text) if command.content is None else command.content
    ids = token_ids(tokenizer, text, command.tokens)
    beginning = tuple(beginning_of(tokenizer))
    if len(ids) + len(beginning) < 2:
        raise InputError(f"the text {text_name(command.text)} has too few tokens to score any")
    return Tokenized(request=command.request, token_ids=tuple(ids), beginning=beginning)


def token_ids(tokenizer: PreTrainedTokenizerBase, text: str, tokens: int | None) -> list[int]:
    """The first `tokens` ids of a text, without what the tokenizer puts before it; None is all of them."""

    def tokenized(part: str) -> list[int]:
        ids: list[int] = tokenizer(part, add_special_tokens=False, verbose=False)["input_ids"]
        return ids

    return ids_of(tokenized, text, tokens)
