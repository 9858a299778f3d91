"""What a test will ask: the profiles, and how long answers may be. Pure."""

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta, Struct
from msgspec.structs import replace

from engine.config.profile import Generation, Profile, Prompt
from engine.errors import InputError
from engine.testing.questions import Question

NEW_TOKENS = 256


class Settings(Struct, frozen=True, kw_only=True):
    """Everything that answers depend on besides the questions and the machine."""

    profiles: tuple[Profile, ...]
    """A, then those that are compared with it; their names are distinct."""
    max_new_tokens: Annotated[int, Meta(ge=1)] = NEW_TOKENS
    """Longest answer to a question that says nothing of it."""


def generation(question: Question, max_new_tokens: int) -> Generation:
    """Greedy, with one seed: the sampling settings of profiles are left out."""
    return Generation(max_new_tokens=question.max_new_tokens or max_new_tokens, stop=question.stop)


def prompt(question: Question, profile: Profile) -> Prompt:
    """How a question becomes a model's text: as the profile says, unless the question says it itself."""
    found = profile.prompt
    if question.template == "raw":  # plain text has no place for a system message
        found = replace(found, template="raw", system=None)
    elif question.template:
        found = replace(found, template=question.template)
    return found if question.system is None else replace(found, system=question.system)


def require_pair(profiles: Sequence[Profile]) -> None:
    """InputError where there is nobody to compare."""
    if len(profiles) < 2:
        raise InputError("expected two models at least", "quantduel test A B --set arithmetic")
