"""Blind turns."""

from engine.config.profile import Generation
from engine.votes.votes import (
    BlindAnswer,
    BlindTurn,
    Verdict,
)


def turn(a: str, b: str, verdict: Verdict | None, *, text: str = "an answer", **answer: object) -> BlindTurn:
    names = ("smollm2-nf4", "gptq")
    left = BlindAnswer(profile=a, label="x", names=names, text="one", finish_reason="stop")
    right = {"profile": b, "label": "y", "names": names, "text": text, "finish_reason": "stop"} | answer
    return BlindTurn(
        prompt="?", generation=Generation(), left=0, answers=(left, BlindAnswer(**right)), verdict=verdict
    )
