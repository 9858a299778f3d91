"""What to say when memory does not suffice: a load refused before it begins, and named ways out.

Only headers on this machine are read; where there are none, nothing is refused and little advised.
"""

from collections.abc import Sequence

from msgspec.structs import replace

from engine.config.profile import Profile
from engine.errors import LoadError
from engine.machine import hardware
from engine.machine.hardware import Hardware
from engine.plan.local import planned, smaller
from engine.plan.planning import Wish
from engine.plan.terms import Plan, Suggestion, total
from engine.protocol.failure import Failed
from engine.units import bytes_text

FORCE = "--force loads it anyway"


def refusal(
    profile: Profile, limit_bytes: int | None = None, machine: Hardware | None = None
) -> Failed | None:
    """Why a load cannot possibly succeed here; None where it might, and where that is not known.

    Only what is certain counts: a package that is missing, the weights, and the libraries next to them.
    Nothing is loaded or downloaded.
    """
    machine = machine or hardware.detect()
    wish = Wish(limit_bytes=limit_bytes)
    try:
        found = planned(profile, wish, machine, ask_hub=False)
    except LoadError:
        return None
    if found.missing_package:
        subject = "" if profile.runs_in.environment else f"{profile.name} "
        return Failed(kind="not_loaded", message=f"{subject}{found.missing_package}")
    certain, free = _certain_bytes(found), found.memory.free_bytes
    if certain <= free:
        return None
    message = (
        f"{profile.name} does not fit: its weights and libraries need {bytes_text(certain)}, "
        f"{bytes_text(free)} free on {found.memory.device}"
        + (f" (by {found.memory.limited_by})" if found.memory.limited_by else "")
    )
    return Failed(kind="out_of_memory", message=message, hint=f"{_ways_out(found.would_fit)}; {FORCE}")


def fit_together(
    wanted: Sequence[Profile], limit_bytes: int | None = None, machine: Hardware | None = None
) -> bool:
    """Whether profiles fit next to each other on their devices; True where that is not known."""
    machine = machine or hardware.detect()
    if _takes_from_others(wanted, machine):
        return False
    needed: dict[str, int] = {}
    free: dict[str, int] = {}
    for profile in wanted:
        if profile.worker.is_elsewhere or profile.is_served:  # it takes nothing from the others
            continue
        try:
            found = planned(profile, Wish(limit_bytes=limit_bytes), machine, ask_hub=False)
        except LoadError:
            return True
        device = found.memory.device
        needed[device] = needed.get(device, 0) + found.needed_bytes
        free[device] = found.memory.free_bytes
    if "split" in needed:  # over the GPUs that the others use, too
        needed["split"] = sum(size for device, size in needed.items() if device != "cpu")
    return all(needed[device] <= free[device] for device in needed)


def _takes_from_others(wanted: Sequence[Profile], machine: Hardware) -> bool:
    """Whether a server that is started takes a GPU, all of it and in advance, that another side is to use."""
    gpus = [
        (profile.serve, profile.model.device.replace("auto", "cuda").replace("cuda:0", "cuda"))
        for profile in wanted
        if machine.gpus and _may_use_gpu(profile)
    ]
    devices = [device for _, device in gpus]
    takes_all = "split" in devices or any(serve and serve.gpus > 1 for serve, _ in gpus)
    return any(serve and (devices.count(device) > 1 or takes_all) for serve, device in gpus) and len(gpus) > 1


def _may_use_gpu(profile: Profile) -> bool:
    """Whether a side loads a model here, by torch or in a server, and is not kept to the CPU."""
    is_loaded = profile.needs_torch or profile.serve is not None
    return is_loaded and profile.model.device != "cpu" and not profile.worker.is_elsewhere


def advised(failed: Failed, profile: Profile, limit_bytes: int | None = None) -> Failed:
    """A shortage with named ways out added to its hint."""
    wish, machine = Wish(limit_bytes=limit_bytes), hardware.detect()
    try:
        own, found = planned(profile, wish, machine, ask_hub=False), smaller(profile, wish, machine)
    except LoadError:
        return failed
    ways = "; ".join(part for part in (_ways_out(found) if found else "", failed.hint) if part)
    plan = f"{bytes_text(own.needed_bytes)} is planned for {own.needed_for} it"
    return replace(failed, message=f"{failed.message} ({plan})", hint=ways)


def _certain_bytes(found: Plan) -> int:
    """Weights and what must be loaded with them; where a checkpoint is still to be made, its source."""
    loaded = found.weights_bytes + total(found.runtime)
    source = [term.bytes for term in found.quantizing if term.name == "source in full precision"]
    on_host = found.memory.device == "cpu"
    return max([loaded, *(size + total(found.runtime) for size in source if on_host)])


def _ways_out(found: Sequence[Suggestion]) -> str:
    if not found:
        return "no smaller profile of this model fits here: another model, device or machine is needed"
    return "try " + ", ".join(f"{each.command} ({bytes_text(each.needs_bytes)} needed)" for each in found)
