"""The profiles of a long run. Pure."""

from collections.abc import Sequence

from msgspec.structs import replace

from engine.config.profile import Profile
from engine.errors import InputError


def distinct(profiles: Sequence[Profile]) -> tuple[Profile, ...]:
    """The profiles with distinct names: `a`, `a #2`. InputError where there are none."""
    if not profiles:
        raise InputError("no profile named", "such as: quantduel bench smollm2-bf16 smollm2-nf4")
    names = [profile.name for profile in profiles]
    counts = [names[: index + 1].count(name) for index, name in enumerate(names)]
    return tuple(
        replace(profile, name=f"{profile.name} #{count}") if count > 1 else profile
        for profile, count in zip(profiles, counts, strict=True)
    )
