"""Plans of this machine: reads a profile's headers and the store, asks the hardware, and calls `plan`.

Also knows what else would fit: the profile's smaller siblings, and a shorter context.
"""

import dataclasses
from collections.abc import Iterator

from msgspec.structs import replace

from engine.checkpoints import store
from engine.config import environments, profiles
from engine.config.methods import BitsAndBytes, Full, Method, Savable, Stored
from engine.config.profile import Profile
from engine.config.serving.programs import program
from engine.config.serving.serve import Serve
from engine.errors import InputError, LoadError
from engine.machine import hardware, packages, torch_build
from engine.machine.hardware import Hardware
from engine.plan import peaks
from engine.plan.planning import Wish, plan
from engine.plan.terms import Plan, Suggestion, total
from engine.shape import find
from engine.shape.boundary import explained
from engine.shape.model_shape import ModelShape
from engine.units import bytes_text

ELSEWHERE = "runs on another machine, whose memory is not known here"
MOST_SUGGESTIONS = 3
SHORTEST_CONTEXT = 256
USUAL_SHARE = 0.85  # of the free memory for weights; the rest for cache and activations
ORDER = {"fits": 0, "tight": 1}
VARIANTS: dict[str, Method] = {
    "--set quantization.method=bitsandbytes --set quantization.bits=8": BitsAndBytes(bits=8),
    "--set quantization.method=bitsandbytes": BitsAndBytes(),
}


def planned(
    profile: Profile, wish: Wish | None = None, machine: Hardware | None = None, *, ask_hub: bool = True
) -> Plan:
    """The profile's plan here, with what would fit where it does not; LoadError where none can be made."""
    if profile.worker.is_elsewhere:
        raise LoadError(ELSEWHERE, f"quantduel plan {profile.name} asks there")
    machine, wish = machine or hardware.detect(), wish or Wish()
    with explained(profile.model.source):
        shape = find.of(profile, ask_hub=ask_hub)
        found = plan(profile, shape, machine, _known_here(profile, wish))
    if profile.serve is not None:
        raise _weights_alone(profile.serve, found)
    if lacking := _lacking(profile, shape):
        found = replace(found, missing_package=str(lacking), notes=(*found.notes, str(lacking)))
    if found.verdict != "does not fit":
        return found
    would_fit = (*_shorter(profile, found, shape, wish, machine), *siblings(profile, wish, machine))
    return replace(found, notes=(*found.notes, largest_text(found)), would_fit=would_fit)


def _weights_alone(serve: Serve, found: Plan) -> LoadError:
    """What can be said of a server that is started; and that there is no plan."""
    weights = f"its weights take {bytes_text(found.weights_bytes)}"
    return LoadError(f"{weights}; {program(serve).memory}", "serve.args can bound what it takes")


def _lacking(profile: Profile, shape: ModelShape) -> LoadError | None:
    """Which package, or which environment, is missing here for a load."""
    place = profile.runs_in
    if place.environment is not None:
        return environments.missing(place.environment)
    return packages.missing(peaks.package(profile.quantization, shape)) if place.is_own else None


def _plan(profile: Profile, wish: Wish, machine: Hardware) -> Plan:
    """The plan by headers that are here; LoadError too where they do not add up to a plan."""
    with explained(profile.model.source):
        return plan(profile, find.of(profile, ask_hub=False), machine, _known_here(profile, wish))


def siblings(profile: Profile, wish: Wish, machine: Hardware) -> list[Suggestion]:
    """Profiles of the same model that fit here, the largest first: they lose the least."""
    fitting = [found for found in _plans_of_model(profile, wish, machine) if found.verdict in ORDER]
    fitting.sort(key=lambda found: (ORDER[found.verdict], -found.weights_bytes))
    return [_named(found) for found in fitting[:MOST_SUGGESTIONS]]


def smaller(profile: Profile, wish: Wish, machine: Hardware) -> list[Suggestion]:
    """Profiles of the same model that fit and need less; the one that needs least where none fits.

    LoadError where the profile has no plan itself.
    """
    own = _plan(profile, wish, machine)
    fitting = [each for each in siblings(profile, wish, machine) if each.needs_bytes < own.needed_bytes]
    if fitting:
        return fitting
    least = min(_plans_of_model(profile, wish, machine), key=lambda found: found.needed_bytes, default=own)
    return [_named(least)] if least.needed_bytes < own.needed_bytes else []


def _plans_of_model(profile: Profile, wish: Wish, machine: Hardware) -> Iterator[Plan]:
    """Of every profile of the same model with another method; for a bare model of methods without one."""
    for other in _same_model(profile):
        try:
            yield _plan(other, wish, machine)
        except LoadError:
            continue


def checkpoint_is_there(profile: Profile) -> bool:
    """Whether the store has what the profile's method makes; found without hashing the model's content."""
    return not isinstance(profile.quantization, Savable) or store.made_of(profile) is not None


def _known_here(profile: Profile, wish: Wish) -> Wish:
    """With what the store has, and what the torch that loads it was built for, where that is this one."""
    return dataclasses.replace(
        wish,
        checkpoint_is_there=wish.checkpoint_is_there or checkpoint_is_there(profile),
        torch_has_cuda=profile.runs_in.is_own and torch_build.built_for().startswith("CUDA"),
    )


def _same_model(profile: Profile) -> list[Profile]:
    found = []
    for name in profiles.available():
        try:
            other = profiles.find(name)
        except InputError:
            continue
        if (
            other.has_model_of(profile)
            and other.name != profile.name
            and other.quantization != profile.quantization
        ):
            found.append(replace(other, model=replace(other.model, device=profile.model.device)))
    return found or _variants(profile)


def _variants(profile: Profile) -> list[Profile]:
    """The model itself by methods that quantize on load, as a user would ask for them."""
    return [
        replace(profile, name=f"{profile.name} {options}", quantization=method)
        for options, method in VARIANTS.items()
        if isinstance(profile.quantization, Full | Stored)
    ]


def _shorter(
    profile: Profile, found: Plan, shape: ModelShape, wish: Wish, machine: Hardware
) -> list[Suggestion]:
    """The longest context that fits, halving; nothing where the cache is not what is in the way."""
    context = found.context // 2
    while context >= SHORTEST_CONTEXT and found.needed_for == "answering":
        shorter = plan(profile, shape, machine, Wish(context, wish.batch, wish.limit_bytes, True))
        if shorter.verdict in ORDER:
            command = f"--context {context}"
            return [
                Suggestion(what=f"a context of {context}", needs_bytes=shorter.needed_bytes, command=command)
            ]
        context //= 2
    return []


def _named(found: Plan) -> Suggestion:
    how = {"fits": "fits", "tight": "fits tightly", "does not fit": "needs least"}[found.verdict]
    return Suggestion(
        what=f"{found.profile} ({found.label}), which {how}",
        needs_bytes=found.needed_bytes,
        command=found.profile,
    )


def largest_text(found: Plan) -> str:
    """How large a model would fit here, roughly: the memory after the libraries over the bits of a weight."""
    left = max(0, found.memory.free_bytes - total(found.runtime)) * USUAL_SHARE
    sizes = (f"{left * 8 / bits / 1e9:.2g} B parameters at {bits} bits" for bits in (16, 8, 4.5))
    return f"{bytes_text(found.memory.free_bytes)} hold about " + ", ".join(sizes)
