"""What `pick` tries: a model in full precision as the reference, and methods that fit here, cheap ones first.

Owns the list of methods and their order. A method that a profile of the model names is taken from there, so
that its name is what a user goes on with; else it has its defaults. Plans come first: nothing is loaded.
"""

from collections.abc import Iterator
from typing import NamedTuple

from msgspec.structs import replace

from engine.config import profiles
from engine.config.methods import (
    AutoRound,
    Awq,
    BitsAndBytes,
    Calibrated,
    Checkpointed,
    Fp8,
    Full,
    Gptq,
    GroupSize,
    Method,
    Rtn,
    Stored,
)
from engine.config.profile import Profile
from engine.errors import InputError, LoadError
from engine.plan.local import checkpoint_is_there, planned
from engine.shape import find
from engine.shape.boundary import explained
from engine.units import bytes_text

METHODS: tuple[Method, ...] = (
    *(BitsAndBytes(bits=8), BitsAndBytes(), Fp8(), Rtn(bits=8), Rtn()),
    *(Awq(), Gptq(), AutoRound()),
)
"""What quantizes while it loads or in seconds, then what reads a calibration text: minutes to hours."""
GROUP_SIZES: tuple[GroupSize, ...] = (128, 64, 32, 16)


class Candidate(NamedTuple):
    """A method for the model."""

    profile: Profile
    command: str
    """What a user writes for it after `quantduel chat`."""

    @property
    def is_dear(self) -> bool:
        """Whether making it takes a calibration that has not been run yet."""
        return isinstance(self.profile.quantization, Calibrated) and not checkpoint_is_there(self.profile)


class Declined(NamedTuple):
    """A candidate that is not tried, and why."""

    name: str
    why: str


def reference(given: Profile) -> Profile:
    """The model in full precision: a profile that says so, or the given one without its method."""
    if isinstance(given.quantization, Full | Stored) and profiles.file_of(given.name):
        return given
    full = [each for each in _same_model(given) if isinstance(each.quantization, Full)]
    halves = [each for each in full if each.model.dtype in {"auto", "bfloat16", "float16"}]
    if halves:
        return halves[0]
    return replace(given, quantization=Full()) if not isinstance(given.quantization, Stored) else given


def candidates(of: Profile) -> list[Candidate]:
    """Every method for the reference's model, from cheap to dear."""
    same = _same_model(of)
    return [_named(of, method, same) for method in METHODS]


def fitting(found: list[Candidate], most_bytes: int | None) -> Iterator[Candidate | Declined]:
    """Each candidate, or why it is not tried: here, or in `most_bytes` of memory, it does not fit."""
    for each in found:
        why = _obstacle(each.profile, most_bytes)
        yield Declined(each.profile.name, why) if why else each


def _obstacle(profile: Profile, most_bytes: int | None) -> str:
    """Why a profile is not tried; nothing where it may be, or where no plan can be made."""
    try:
        plan = planned(profile)
    except LoadError:
        return ""
    if plan.missing_package:
        return plan.missing_package
    if plan.verdict == "does not fit":
        return f"does not fit: {bytes_text(plan.needed_bytes)} needed for {plan.needed_for} it"
    if most_bytes is not None and plan.running_bytes > most_bytes:
        return f"takes {bytes_text(plan.running_bytes)}, of {bytes_text(most_bytes)} that are allowed"
    return ""


def _named(of: Profile, method: Method, same: list[Profile]) -> Candidate:
    alike = [each for each in same if _is_alike(each.quantization, method)]
    if alike:
        profile = min(alike, key=lambda each: (len(each.name), each.name))
        return Candidate(_on_the_device_of(of, profile), profile.name)
    if isinstance(method, Checkpointed):
        method = replace(method, group_size=_group_size(of))
    tag = method.__struct_config__.tag
    options = f"--set quantization.method={tag}"
    if _bits(method) is not None:
        options += f" --set quantization.bits={_bits(method)}"
    if isinstance(method, Checkpointed):
        options += f" --set quantization.group_size={method.group_size}"
    made = replace(of, name=f"{of.name} {method.label(of.model.dtype)}", quantization=method)
    return Candidate(made, f"{of.name} {options}")


def _group_size(of: Profile) -> GroupSize:
    """The largest that divides the model's layers, as its headers describe them; else a whole row."""
    try:
        with explained(of.model.source):
            shape = find.of(of).architecture
    except LoadError:
        return GROUP_SIZES[0]
    widths = (shape.hidden, shape.intermediate, shape.heads * shape.value_size)
    return next((size for size in GROUP_SIZES if not any(width % size for width in widths)), -1)


def _is_alike(one: Method, other: Method) -> bool:
    return type(one) is type(other) and _bits(one) == _bits(other)


def _bits(method: Method) -> int | None:
    return getattr(method, "bits", None)


def _same_model(of: Profile) -> list[Profile]:
    return [each for each in _all() if each.has_model_of(of) and each.cache == of.cache]


def _all() -> Iterator[Profile]:
    for name in profiles.available():
        try:
            yield profiles.find(name)
        except InputError:
            continue


def _on_the_device_of(of: Profile, profile: Profile) -> Profile:
    return replace(profile, model=replace(profile.model, device=of.model.device))
