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
    and what is still open after it. A tail that may be half a character waits for the next token; so does a
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
        if self.hides(token_id):
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

    def hides(self, token_id: int) -> bool:
        """Whether a token is special: it has a name and no text."""
        return token_id in self._hidden

    def name(self, token_id: int) -> str:
        """A token as the vocabulary has it, such as `<|im_end|>`."""
        return self._tokenizer.convert_ids_to_tokens(token_id) or ""

    def flush(self) -> str:
        """What was held back; half a character comes out as U+FFFD."""
        piece = self._decode(self._window)[self._shown :]
        self._shown += len(piece)
        return piece

    def _is_byte(self, token_id: int) -> bool:
        return bool(_BYTE_TOKEN.fullmatch(self.name(token_id)))

    def _decode(self, token_ids: list[int]) -> str:
        return self._tokenizer.decode(token_ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)


class StopStrings:
    """Ends a text before the first stop string; holds back what may become one.

    A stop string is looked for in what is shown, and in the same with the names of special tokens in it.
    """

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._stops = stops
        self._held = ""
        self._names: list[tuple[int, int]] = []  # stretches of what is held that are not to be shown
        self.reached = False

    def push(self, piece: str, name: str = "") -> str:
        """What may be shown of the text so far, now that `piece` and a special token of that name came.

        Nothing once a stop string was reached.
        """
        if self.reached or not self._stops:
            return "" if self.reached else piece
        text = self._held + piece + name
        if name:
            self._names.append((len(text) - len(name), len(text)))
        shown = self._shown(text)
        ends = [*self._found(text), *map(self._place, self._found(shown))]
        self.reached = bool(ends)
        open_from = self._place(len(shown) - self._possible_start(shown))
        return self._let_out(text, min(ends or [len(text) - self._possible_start(text), open_from]))

    def flush(self) -> str:
        """What was held back and became no stop string."""
        return "" if self.reached else self._let_out(self._held, len(self._held))

    def _let_out(self, text: str, count: int) -> str:
        """The first `count` characters less the names in them; the rest is held."""
        shown = self._shown(text[:count])
        self._names = [(max(0, start - count), end - count) for start, end in self._names if end > count]
        self._held = text[count:]
        return shown

    def _shown(self, text: str) -> str:
        """The text less the names in it."""
        for start, end in reversed(self._names):
            text = text[:start] + text[end:]
        return text

    def _place(self, shown: int) -> int:
        """Where a character of what is shown stands in the text with the names."""
        for start, end in self._names:
            shown += end - start if start <= shown else 0
        return shown

    def _found(self, text: str) -> list[int]:
        return [place for stop in self._stops if (place := text.find(stop)) >= 0]

    def _possible_start(self, text: str) -> int:
        """Length of the longest end of `text` that begins a stop string."""
        longest = min(len(text), max(map(len, self._stops)) - 1)
        tails = (n for n in range(longest, 0, -1) if any(stop.startswith(text[-n:]) for stop in self._stops))
        return next(tails, 0)
