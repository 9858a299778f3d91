"""llama.cpp's server in this very process: a GGUF file as it is, its weights packed, through xllamacpp.

Owns the server's settings and the process's memory. It listens on the loopback device, at a port that the
system chooses, with a key of its own.
"""

import os
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from engine import paths
from engine.config.methods import LlamaCpp
from engine.config.profile import Profile
from engine.config.sources import Engine, GgufFile
from engine.errors import LoadError
from engine.machine.cpu_time import busy_s, used_s
from engine.machine.hardware import host_memory
from engine.plan import llama_cpp
from engine.plan.terms import total
from engine.protocol.answers import BUSY_CORES
from engine.protocol.loading import Staged
from engine.protocol.model import Memory, ModelInfo
from engine.protocol.wire import Event
from engine.session.schedule import physical_cores
from engine.shape import find

LOOK_S = 0.5  # the kernel counts in hundredths of a second
CLEAR_REFS, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


@dataclass(slots=True)
class LocalServer:
    """The server, up."""

    root: str
    key: str
    threads: int
    weights_bytes: int
    kv_cache_bytes: int
    device_name: str
    server: Any
    engine: Engine = "llama-server"
    title: str = "llama.cpp"
    device: str = "cpu"
    label: str = ""
    parameters: int = 0
    notes: tuple[str, ...] = ()
    _looked: tuple[float, float] = field(default_factory=lambda: (time.monotonic(), _others_s()))

    @classmethod
    def started(cls, profile: Profile, threads: int | None, emit: Callable[[Event], None]) -> "LocalServer":
        """Load the file and listen; LoadError where it cannot be."""
        emit(Staged(stage="resolve", subject=profile.model.source))
        file = _file(profile, emit)
        shape = find.of_gguf(file)
        method = profile.quantization
        if not isinstance(method, LlamaCpp):
            raise LoadError(f"{profile.label} is not for llama.cpp")
        context = method.cache_tokens(shape.architecture.context_length)
        threads = threads or spare_cores()
        emit(Staged(stage="read", subject=file.name))
        import xllamacpp

        wanted, key = xllamacpp.CommonParams(), secrets.token_hex(16)
        wanted.model.path = str(file)
        wanted.hostnames, wanted.port, wanted.api_keys = ["127.0.0.1"], 0, [key]
        wanted.n_parallel, wanted.n_ctx = 1, context
        wanted.cpuparams.n_threads = wanted.cpuparams_batch.n_threads = threads
        wanted.cpuparams.poll = wanted.cpuparams_batch.poll = 0  # threads that spin slow everything down
        if profile.cache.dtype == "int8":
            wanted.cache_type_k = wanted.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_Q8_0
        wanted.endpoint_slots, wanted.ui = True, False
        try:
            server = xllamacpp.Server(wanted)
        except Exception as error:
            raise LoadError(
                f"llama.cpp cannot load {file.name}: {error}", "the worker's log has the details"
            ) from None
        return cls(
            root=server.listening_address,
            key=key,
            threads=threads,
            weights_bytes=total(llama_cpp.weights(shape)),
            kv_cache_bytes=total(llama_cpp.cache(shape, context, profile.cache.dtype)),
            device_name=f"llama.cpp on {threads} thread{'' if threads == 1 else 's'}",
            server=server,
        )

    def memory(self, info: ModelInfo | None) -> Memory:
        """What this process holds; the peak is since the answer before."""
        process, (total, free, _) = psutil.Process().memory_info().rss, host_memory()
        peak = max(process, _peak_bytes())
        _reset_peak()
        return Memory(
            weights_bytes=(info.weights_bytes if info else None) or self.weights_bytes,
            kv_cache_bytes=self.kv_cache_bytes,
            peak_bytes=peak,
            process_bytes=process,
            device_used_bytes=total - free,
            device_total_bytes=total,
            process_source="resident set",
        )

    def look(self) -> None:
        """Begin to count what other processes use."""
        self._looked = (time.monotonic(), _others_s())

    def busy_notes(self) -> tuple[str, ...]:
        """That other processes kept cores busy since `look`: llama.cpp's threads are fixed at load."""
        looked_s, began_s = self._looked
        others = (_others_s() - began_s) / max(1e-9, time.monotonic() - looked_s)
        free = max(1, round(physical_cores() - others))
        if free >= self.threads:
            return ()
        return (f"{BUSY_CORES}: {self.threads} threads shared {free} free cores",)


def spare_cores() -> int:
    """Cores that other processes leave, seen over half a second: one thread too many slows all of them."""
    began_s = _others_s()
    time.sleep(LOOK_S)
    return max(1, round(physical_cores() - (_others_s() - began_s) / LOOK_S))


def _others_s() -> float:
    """CPU seconds that all other processes have used."""
    return busy_s() - used_s(os.getpid())


def _file(profile: Profile, emit: Callable[[Event], None]) -> Path:
    if isinstance(profile.source, GgufFile):
        return paths.expanded(profile.source.path)
    from engine.worker.checkpoints import demo

    return demo.gguf(emit)


def _peak_bytes() -> int:
    """The resident set's highest, by the kernel; 0 where it does not say."""
    try:
        line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return 0
    return int(line.split()[1]) * 1024


def _reset_peak() -> None:
    try:
        CLEAR_REFS.write_text("5")  # proc(5): resets VmHWM to the current resident set
    except OSError:
        return  # the peak stays that of the whole process
