"""Which engine a server is: the profile says, or the server is asked once, path by path."""

from collections.abc import Callable, Mapping

from engine.config.faults import nearest
from engine.config.profile import Profile
from engine.config.sources import Engine
from engine.errors import LoadError
from engine.worker.served.adapter import Adapter
from engine.worker.served.connection import Connection
from engine.worker.served.llama_server import LlamaServer
from engine.worker.served.ollama import Ollama
from engine.worker.served.openai import OpenAI
from engine.worker.served.sglang import SGLang
from engine.worker.served.vllm import Vllm

ADAPTERS: Mapping[Engine, Callable[[], Adapter]] = {
    "vllm": Vllm,
    "llama-server": LlamaServer,
    "sglang": SGLang,
    "ollama": Ollama,
    "openai": OpenAI,
}
SIGNS: tuple[tuple[str, str, Engine], ...] = (
    ("/version", "version", "vllm"),
    ("/props", "default_generation_settings", "llama-server"),
    ("/get_server_info", "model_path", "sglang"),
    ("/api/version", "version", "ollama"),
)
"""A path, a key of its answer, and whose that is."""
MOST_NAMED = 8


def adapter(connection: Connection, wanted: Engine) -> Adapter:
    """The adapter of the engine that the profile names, or that the server turns out to be."""
    return ADAPTERS[_recognized(connection) if wanted == "auto" else wanted]()


def model(connection: Connection, engine: Adapter, profile: Profile) -> str:
    """The name of the model that is asked for; LoadError where the server has another, or several."""
    wanted, names = profile.remote.model, engine.models(connection)
    if wanted is not None:
        if names and wanted not in names:
            hint = nearest(wanted, names) or f"it serves {_listed(names)}"
            raise LoadError(f"{profile.source_address} serves no model named {wanted!r}", hint)
        return wanted
    if not names:
        raise LoadError(
            f"{profile.source_address} does not say which models it serves",
            "name the model with remote.model",
        )
    if len(names) > 1:
        hint = f"name one with remote.model: {_listed(names)}"
        raise LoadError(f"{profile.source_address} serves {len(names)} models", hint)
    return names[0]


def _recognized(connection: Connection) -> Engine:
    return next((engine for path, key, engine in SIGNS if key in connection.find(path)), "openai")


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more
