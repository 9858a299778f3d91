"""How a model marks its thoughts: the pair of marks that its vocabulary or its chat template has.

Knows tokenizers and text; must not know models. What is between the marks is the engine's business.
"""

import re

from transformers import PreTrainedTokenizerBase

from engine.protocol.model import ThinkMarks

CLOSE = re.compile(r"([<\[])([|]?)/([\w:]*think[\w:]*)([|]?)([>\]])", re.IGNORECASE)


def marks(tokenizer: PreTrainedTokenizerBase, template: str) -> tuple[str, str] | None:
    """The marks around thoughts, such as `<think>` and `</think>`; None where the model has none."""
    names = [token.content for token in tokenizer.added_tokens_decoder.values()]
    known = "\n".join([*names, template])
    for found in CLOSE.finditer(known):
        opening = "".join(found.groups())
        if opening in known:
            return opening, found[0]
    return None


def of_prompt(found: tuple[str, str] | None, text: str) -> ThinkMarks | None:
    """The marks, and whether a prompt ends within thoughts, so that the answer begins with them."""
    if found is None:
        return None
    opening, closing = found
    return ThinkMarks(open=opening, close=closing, within=text.rstrip().endswith(opening))
