"""What of a profile does not go together where a server has the model: one that is asked, or is started.

Pure: sections in, and out comes the key that is wrong, what is wrong with it, and what to do.
"""

from typing import Protocol

from engine.config.methods import Method, Savable, Stored, tag
from engine.config.runtime import CacheDtype
from engine.config.serving.programs import program
from engine.config.serving.serve import Serve
from engine.config.sources import CACHE_FLAGS, GgufFile, Random, Remote, Served, Source
from engine.config.worker_place import Worker


class Sections(Protocol):
    """A profile, as far as servers are concerned."""

    @property
    def source(self) -> Source: ...
    @property
    def quantization(self) -> Method: ...
    @property
    def worker(self) -> Worker: ...
    @property
    def remote(self) -> Remote: ...
    @property
    def serve(self) -> Serve | None: ...


Misfit = tuple[str, str, str]
"""A key, the problem, a hint."""


def misfit(found: Sections, template: str, device: str, cache: CacheDtype) -> Misfit | None:
    """The first thing that does not go together; None where everything does."""
    is_address = isinstance(found.source, Served)
    if not is_address and found.remote != Remote():
        return "remote", "is for a server, and model.source is no address of one", ""
    if is_address and found.serve is not None:
        problem = "starts a server, and model.source is the address of one that runs already"
        return "serve", problem, "leave out serve, or name the model in model.source"
    if is_address and not isinstance(found.quantization, Stored):
        problem = "a server's model is as the server loaded it: start the server with another"
        return "quantization.method", problem, "leave out quantization"
    if cache != "auto" and (is_address or found.serve):
        return "cache.dtype", "a server holds its cache as it is started", _cache_hint(found)
    if (is_address or found.serve) and template not in {"chat", "raw"}:
        return "prompt.template", "a server fills its own template", "expected chat or raw"
    return None if found.serve is None else _of_started(found, found.serve, device)


def _cache_hint(found: Sections) -> str:
    """How to have the server hold its cache in 8 bits."""
    if found.serve is None:
        return f"start it with {found.remote.cache_flag}"
    return f"serve.args: [{', '.join(CACHE_FLAGS[found.serve.engine].split())}]"


def _of_started(found: Sections, serve: Serve, device: str) -> Misfit | None:
    told = program(serve)
    if found.worker.environment is not None or found.worker.python is not None:
        return (
            "worker",
            f"stands next to serve, and {told.title} runs in serve's own Python",
            "leave out worker",
        )
    if isinstance(found.source, Random):
        return "model.source", f"random weights are no files that {told.title} could read", ""
    is_packed = isinstance(found.source, GgufFile) and not isinstance(found.quantization, Savable)
    how = "gguf" if is_packed else tag(found.quantization)
    if is_packed or not isinstance(found.quantization, told.reads):
        why = told.unreadable.get(how, f"{how} is not among what it reads")
        return "quantization.method", f"{told.title} does not read {how}", why
    if (taken := told.taken(serve.args)) is not None:
        hint = "keys of serve and of model stand for such flags; the address and the key are QuantDuel's"
        return "serve.args", f"{taken.partition('=')[0]} is not among the arguments that can be given", hint
    return _of_devices(device, serve)


def _of_devices(device: str, serve: Serve) -> Misfit | None:
    if device == "split":
        return "model.device", "a server spreads a model by serve.tensor_parallel", "leave out model.device"
    if device.startswith("cuda:") and serve.gpus > 1:
        return "model.device", f"names one GPU, and serve takes {serve.gpus}", "leave out model.device"
    return None
