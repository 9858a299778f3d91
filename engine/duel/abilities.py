"""What cannot be done with the sides as they are, and why: the one place that says so.

Pure. Goes by what a side can, never by which program serves it, and names that.
"""

from collections.abc import Sequence
from typing import Literal

from engine.config.profile import Profile
from engine.protocol.model import ModelInfo, ServedModel

Ability = Literal["lens", "eval", "quantize"]


def why_not(ability: Ability, profiles: Sequence[Profile], infos: Sequence[ModelInfo | None]) -> str:
    """A sentence; empty where it can be done, or where nothing is known yet. Sides in the same order."""
    if ability == "quantize":
        is_nothing = bool(profiles) and all(profile.is_served for profile in profiles)
        return "A server's model is quantized where it is served" if is_nothing else ""
    found = (info.served for info in infos if info and info.served)
    if ability == "eval":
        return next((f"{each.engine} does not score given texts" for each in found if not each.scores), "")
    return next((unseen(each) for each in found if unseen(each)), "")


def unseen(served: ServedModel) -> str:
    """Why the lens cannot look at it: it must score ids given to it, and tell two tokens a position."""
    is_seen = bool(served.scores) and served.ids and served.top_k > 1
    return "" if is_seen else f"{served.engine} does not score an answer's tokens"
