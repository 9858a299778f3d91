"""What workers are given to read: passages in parts whose logits may be handed over at once, and texts."""

from pathlib import Path

from msgspec.structs import replace

from engine.config import text_files
from engine.errors import InputError
from engine.protocol.model import ModelInfo
from engine.protocol.scores import Passage, kept_row_bytes
from engine.protocol.wire import LONGEST_LINE_BYTES
from engine.stats.lower_bound import USUAL_TOP
from engine.units import bytes_text

PIECE_BYTES = 128 << 20  # of logits that are handed over at once
LINE_BYTES = 4 << 30  # of logits that go over lines to other machines unasked


def content(file: Path) -> str:
    """A text file of this machine, for a worker elsewhere; InputError for none or too long a one."""
    text = text_files.joined(file)
    size_bytes, most_bytes = len(text.encode()), LONGEST_LINE_BYTES // 4  # JSON may write a byte as several
    if size_bytes > most_bytes:
        message = f"{file} has {bytes_text(size_bytes)}, and {bytes_text(most_bytes)} go to another machine"
        raise InputError(message, "give a file with less text")
    return text


def kept(info: ModelInfo, top_k: int = 0) -> int:
    """Of how many likeliest tokens a model's logits are handed over; 0 is all, which no server tells."""
    if info.served:
        return min(top_k or USUAL_TOP, info.served.top_k)
    return top_k if top_k < info.vocabulary else 0


def row_bytes(info: ModelInfo, top_k: int = 0) -> int:
    """The logits of one position, as they are handed over."""
    count = kept(info, top_k)
    return kept_row_bytes(count) if count else info.vocabulary * info.logit_bytes


def parts(passage: Passage, positions: int) -> list[Passage]:
    """A passage in parts of at most `positions` scored positions."""
    end = len(passage.token_ids)
    firsts = range(passage.first, end, positions)
    return [
        replace(
            passage,
            token_ids=passage.token_ids[: min(first + positions, end)],
            first=first,
            continues=first > passage.first,
        )
        for first in firsts
    ]
