"""Token ids as text, piece by piece: whole characters only, and in the end exactly what the tokenizer says.

Knows one tokenizer; must not know models or why an answer ends, only which strings must not be shown.
"""

import re

from transformers import PreTrainedTokenizerBase

INCOMPLETE = "\N{REPLACEMENT CHARACTER}"
_BYTE_TOKEN = re.compile(r"<0x[0-9A-F]{2}>")  # SentencePiece's fallback for what is not in the vocabulary


class Detokenizer:
    """Text of a growing list of ids, in constant time per token.

    Only a short window is decoded: the last token whose text is out (its presence keeps leading spaces right)
    and what is still open behind it. A tail that may be half a character waits for the next token; so does a
    run of byte tokens, because tokenizers judge its bytes together.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._hidden = set(tokenizer.all_special_ids) | {
            id for id, token in tokenizer.added_tokens_decoder.items() if token.special
        }
        self._window: list[int] = []
        self._shown = 0  # characters of the window's text that are out

    def push(self, token_id: int) -> str:
        """The text this token completes."""
        if token_id in self._hidden:
            return ""
        before = list(self._window)
        self._window.append(token_id)
        if self._is_byte(token_id):
            return ""
        text = self._decode(self._window)
        complete = text.removesuffix(INCOMPLETE)
        piece = complete[self._shown :]
        self._shown += len(piece)
        alone = self._decode([token_id])
        if complete == text or self._decode(before) + alone == text:  # a character ends before this token
            self._window, self._shown = [token_id], len(alone) - (len(text) - len(complete))
        return piece

    def flush(self) -> str:
        """What was held back; half a character comes out as U+FFFD."""
        piece = self._decode(self._window)[self._shown :]
        self._shown += len(piece)
        return piece

    def _is_byte(self, token_id: int) -> bool:
        return bool(_BYTE_TOKEN.fullmatch(self._tokenizer.convert_ids_to_tokens(token_id) or ""))

    def _decode(self, token_ids: list[int]) -> str:
        return self._tokenizer.decode(token_ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)


class StopStrings:
    """Ends a text before the first stop string; holds back what may become one."""

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._stops = stops
        self._held = ""
        self.reached = False

    def push(self, piece: str) -> str:
        """What may be shown of the text so far; nothing once a stop string was reached."""
        if self.reached or not self._stops:
            return "" if self.reached else piece
        text = self._held + piece
        ends = [place for stop in self._stops if (place := text.find(stop)) >= 0]
        self.reached = bool(ends)
        show = min(ends) if ends else len(text) - self._possible_start(text)
        self._held = "" if ends else text[show:]
        return text[:show]

    def flush(self) -> str:
        """What was held back and became no stop string."""
        held, self._held = self._held, ""
        return held

    def _possible_start(self, text: str) -> int:
        """Length of the longest end of `text` that begins a stop string."""
        longest = min(len(text), max(map(len, self._stops)) - 1)
        tails = (n for n in range(longest, 0, -1) if any(stop.startswith(text[-n:]) for stop in self._stops))
        return next(tails, 0)
