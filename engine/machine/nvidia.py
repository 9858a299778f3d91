"""NVIDIA devices as CUDA shows them to a process started here: which it sees, in which order.

Owns the numbering: `cuda:1` is what torch calls `cuda:1`, whatever CUDA_VISIBLE_DEVICES says. Owns how a
worker is held to one device. Asks the driver through NVML, which counts by PCI bus and hides nothing. Knows
no torch, no figures and no models.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from engine import paths

ORDER = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}  # NVML's; CUDA's own default is the fastest first
MOST_DIGITS = 9  # of a device's number: Python refuses to read thousands


@dataclass(frozen=True, slots=True)
class Device:
    """A device that CUDA shows: a whole GPU, or a part of one (MIG)."""

    index: int
    """As torch counts: `cuda:index`."""
    uuid: str
    """`GPU-…` or `MIG-…`, which CUDA_VISIBLE_DEVICES takes, too."""
    handle: Any
    """NVML's, good for as long as the driver is open."""
    gpu: Any
    """The handle of the whole GPU, for what a part cannot be asked."""


@contextmanager
def driver() -> Iterator[Any]:
    """NVML, open; raises its NVMLError where there is no driver."""
    import pynvml

    pynvml.nvmlInit()
    try:
        yield pynvml
    finally:
        pynvml.nvmlShutdown()


def driver_cuda(nvml: Any) -> int:
    """The major version of CUDA that the driver is for, 12 or 13; 0 where it does not say."""
    try:
        return int(nvml.nvmlSystemGetCudaDriverVersion()) // 1000
    except nvml.NVMLError:
        return 0


def devices(nvml: Any) -> tuple[Device, ...]:
    """Those that CUDA shows, in its order."""
    wholes = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
    whole_uuids = [_text(nvml.nvmlDeviceGetUUID(handle)) for handle in wholes]
    by_uuid = dict(zip(whole_uuids, wholes, strict=True))
    parts = {uuid: _parts(nvml, handle) for uuid, handle in by_uuid.items()}
    owners = {part: uuid for uuid, listed in parts.items() for part in listed or ()}
    found: list[Device] = []
    for uuid in visible(paths.visible_devices(), whole_uuids, tuple(owners)):
        listed = parts.get(uuid)
        if listed == ():
            continue  # to be divided, and in no parts yet
        shown = listed[0] if listed else uuid  # of a GPU that is divided CUDA shows the first part
        gpu = by_uuid[owners.get(shown, shown)]
        handle = gpu if shown in by_uuid else nvml.nvmlDeviceGetHandleByUUID(shown)
        found.append(Device(len(found), shown, handle, gpu))
    return tuple(found)


def visible(entries: Sequence[str] | None, wholes: Sequence[str], parts: Sequence[str]) -> tuple[str, ...]:
    """UUIDs that CUDA_VISIBLE_DEVICES leaves, by CUDA's rules; all `wholes` where it is not set (None).

    An entry is an index, or a UUID or the beginning of one. The first that names no device ends the list; a
    device named twice leaves none (CUDA programming guide, environment variables).
    """
    if entries is None:
        return tuple(wholes)
    found: list[str] = []
    for entry in entries:
        uuid = _named(entry.strip(), wholes, parts)
        if uuid is None:
            break
        found.append(uuid)
    return tuple(found) if len(set(found)) == len(found) else ()


def environment(wish: str) -> dict[str, str]:
    """What a worker's environment says of devices, from a profile's `model.device`; nothing else is changed.

    One device for `auto`, `cuda` and `cuda:1`: there it is `cuda:0`; `paths.GPU` is its number outside.
    None for `cpu`, all that are visible for `split`, and where no driver answers: torch will say why.
    """
    if wish == "cpu":
        return {"CUDA_VISIBLE_DEVICES": ""}
    if wish == "split":
        return ORDER
    index = int(wish.partition(":")[2] or 0)
    uuid = _uuid(index)
    return ORDER if uuid is None else {**ORDER, "CUDA_VISIBLE_DEVICES": uuid, paths.GPU: str(index)}


def _uuid(index: int) -> str | None:
    import pynvml

    try:
        with driver() as nvml:
            found = devices(nvml)
            return found[index].uuid if index < len(found) else None
    except pynvml.NVMLError:
        return None


def _named(entry: str, wholes: Sequence[str], parts: Sequence[str]) -> str | None:
    if entry.isascii() and entry.isdecimal():
        return wholes[int(entry)] if len(entry) <= MOST_DIGITS and int(entry) < len(wholes) else None
    if not entry.startswith(("GPU-", "MIG-")):
        return None
    hits = [uuid for uuid in (*wholes, *parts) if uuid.startswith(entry)]
    return hits[0] if len(hits) == 1 else None


def _parts(nvml: Any, handle: Any) -> tuple[str, ...] | None:
    """UUIDs of a divided GPU's parts; None for a whole one."""
    try:
        if nvml.nvmlDeviceGetMigMode(handle)[0] != nvml.NVML_DEVICE_MIG_ENABLE:
            return None
        count = nvml.nvmlDeviceGetMaxMigDeviceCount(handle)
    except nvml.NVMLError:  # most GPUs cannot be divided, and say so like this
        return None
    return tuple(uuid for place in range(count) if (uuid := _part(nvml, handle, place)))


def _part(nvml: Any, handle: Any, place: int) -> str | None:
    try:
        return _text(nvml.nvmlDeviceGetUUID(nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, place)))
    except nvml.NVMLError:  # an empty place
        return None


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
