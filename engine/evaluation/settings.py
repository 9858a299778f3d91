"""What an eval will read and score: profiles, text, windows; and the name of the convention they make.

Pure. Knows neither sessions nor results.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from engine import paths
from engine.config.faults import nearest
from engine.config.methods import Calibrated
from engine.config.profile import Profile
from engine.config.texts import FILE_TYPES, HUB_SETS, PYTHON_DOCS
from engine.errors import InputError

Scored = Literal["half", "all"]
Begins = Literal["each window", "the text", "nothing"]

TEXTS = (PYTHON_DOCS, "wikitext2", "c4", "ptb")
TEXT_NAMES = {
    PYTHON_DOCS: "python-docs (every eighth topic, which no calibration reads)",
    "wikitext2": "wikitext2, test part",
    "c4": "c4, the validation part's first 1100 texts",
    "ptb": "ptb, test part",
}
PAPERS_WINDOW = 2048
LAYER_WINDOWS = 8  # of the text are read for each layer
DECODE_STEPS = 16
DECODE_BEFORE, DECODE_AFTER = 3, 2  # short answers that are timed before the text is read, and after it
PASS_TOKENS = 2048
"""Tokens of a window in one forward pass: the memory of a longer window is bounded by it."""


class Settings(Struct, frozen=True, kw_only=True):
    """Everything the figures depend on besides the machine."""

    profiles: tuple[Profile, ...]
    """The reference, then the candidates; their names are distinct."""
    text: str = PYTHON_DOCS
    """One of TEXTS, or a file (.txt, .jsonl, .parquet)."""
    window: int = 512
    """Tokens read at once."""
    stride: int | None = None
    """From the beginning of a window to that of the next; None is the window: no overlap."""
    scored: Scored = "half"
    """Of each window: tokens with half a window before them, or all; never a token twice."""
    tokens: int | None = None
    """Of the text, from its beginning; None is all of it."""
    top_k: int = 0
    """Of the reference's logits only those of so many likeliest tokens are handed over; 0 is all."""
    decode_steps: int = DECODE_STEPS
    """Tokens of each short answer that decode speed is measured with as well; 0 measures none."""
    by_layer: bool = False
    """Also read with the reference's model and one layer of each candidate at a time."""
    by_depth: bool = False
    """Also take the figures by how many tokens of the window come before a position."""

    def __post_init__(self) -> None:
        if self.window < 2:
            raise ValueError("window: expected at least 2 tokens")
        if self.stride is not None and not 1 <= self.stride <= self.window:
            raise ValueError(f"stride: expected 1 to {self.window}, the window")
        if self.tokens is not None and self.tokens < 2:
            raise ValueError("tokens: expected at least 2")

    @property
    def step(self) -> int:
        """The stride in tokens."""
        return self.stride or self.window

    @property
    def begins(self) -> Begins:
        """What the tokenizer's own beginning (BOS) stands before, where it has one.

        The papers' convention has it once, before the whole text; anything else before each window.
        """
        return "the text" if self.scored == "all" and self.step == self.window else "each window"


class Span(Struct, frozen=True):
    """A window: tokens `start` to `end` of the text are read, those from `first` on are scored."""

    start: int
    first: int
    end: int


class Convention(Struct, frozen=True, kw_only=True):
    """How a perplexity was taken: without it the number means nothing."""

    text: str
    """What was read."""
    window: int
    stride: int
    scored: Scored
    begins: Begins
    """Where the tokenizer's beginning (BOS) stands; `nothing` where it has none."""
    windows: int
    tokens: int
    """Of the text."""
    scored_tokens: int
    top_k: int = 0
    """Where not 0, of the reference's likeliest tokens alone: KLDs are bounds from below."""
    tokens_sha256: str = ""
    """Of the text's token ids, see `token_ids`; empty in reports of versions that did not say."""

    def is_like(self, other: "Convention") -> bool:
        """Whether it is the same reading of the same tokens, as far as both say which these are."""
        told = self.tokens_sha256 and other.tokens_sha256
        return self == (other if told else replace(other, tokens_sha256=self.tokens_sha256))

    @property
    def name(self) -> str:
        """Who else does it so, or nearly; empty where nobody known does."""
        if self.stride != self.window:
            return ""
        if self.scored == "half":
            return "nearly llama.cpp's convention"
        return "the convention of the GPTQ and AWQ papers" if self.window == PAPERS_WINDOW else ""

    @property
    def line(self) -> str:
        """The convention in a line."""
        overlap = "no overlap" if self.stride == self.window else f"stride {self.stride}"
        part = "their second half scored" if self.scored == "half" else "all tokens scored"
        bos = "no BOS" if self.begins == "nothing" else f"BOS before {self.begins}"
        parts = (
            f"{self.text}: {self.tokens} tokens",
            f"{self.windows} windows of {self.window}",
            overlap,
            f"{part} ({self.scored_tokens})",
            bos,
            self.name,
            f"KLD at least, by the reference's {self.top_k} likeliest tokens" if self.top_k else "",
        )
        return ", ".join(part for part in parts if part)


def spans(settings: Settings, tokens: int, lead: int) -> Iterator[Span]:
    """The windows of a text of `tokens` tokens, each after `lead` tokens of the tokenizer's own.

    A rest that fills no window is left out; a text shorter than a window is one window. None where the
    tokenizer's own fill a window.
    """
    length = settings.window - lead
    if length < 1:
        return
    step = min(settings.step, length)
    half = settings.window // 2 - lead if settings.scored == "half" else 0
    least = 0 if lead else 1  # a token needs something before it
    for start in range(0, max(1, tokens - length + 1), step):
        fresh = length - step if start else 0  # the window before has scored the others, or could have
        end = min(start + length, tokens)
        first = start + max(least, half, fresh)
        if first < end:
            yield Span(start, first, end)


def require_text(name: str) -> str:
    """The text a user means; InputError where there is no such set and no such file."""
    if name in TEXTS:
        return name
    file = paths.expanded(name)
    if file.suffix.lower() not in FILE_TYPES:
        hint = nearest(name, TEXTS) or f"choose from {', '.join(TEXTS)}, or a file ({', '.join(FILE_TYPES)})"
        raise InputError(f"no text named {name!r}", hint)
    if not file.is_file():
        raise InputError(f"no such file: {name}")
    return str(file.absolute())


def files_of(text: str) -> list[Path]:
    """The file that a text is, if it is one."""
    return [] if text in TEXTS else [Path(text)]


def text_name(text: str) -> str:
    """What to call it in a line."""
    return TEXT_NAMES.get(text, Path(text).name)


def calibration_notes(profile: Profile, text: str) -> list[str]:
    """What to know of a model that was calibrated with something near the text it is judged by."""
    method = profile.quantization
    if not isinstance(method, Calibrated):
        return []
    calibration = method.calibration
    if calibration.file is not None and str(calibration.file) == text:
        return ["it was calibrated with this very text, which flatters it"]
    if text in HUB_SETS and str(calibration.dataset).removesuffix("-new") == text:
        return [f"it was calibrated with another part of {text}"]
    return []


def require_one_machine(settings: Settings) -> None:
    """InputError where --by-layer is to load two models in one worker, and one is in none, or elsewhere."""
    for profile in settings.profiles if settings.by_layer else ():
        if not profile.needs_torch:
            raise InputError(f"by layer, one worker needs both models, and a server holds {profile.name}")
        if profile.worker.is_elsewhere:
            raise InputError(
                f"by layer, one worker needs both models, and {profile.name} runs on another machine"
            )


def require_pair(profiles: Sequence[Profile]) -> None:
    """InputError without a candidate."""
    if len(profiles) < 2:
        raise InputError("expected a reference and at least one candidate", "quantduel eval A B")
