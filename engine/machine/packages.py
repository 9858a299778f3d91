"""Which optional packages a load needs and whether they are installed, known before anything is loaded.

Asks the import system where a package is and never imports one. Owns the commands that install them.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

from engine.config.methods import AutoRound, BitsAndBytes, Checkpointed, Gguf, LlamaCpp, Method, original
from engine.errors import LoadError

ALWAYS = ("torch", "transformers", "accelerate", "safetensors")
ALONE = frozenset({"xllamacpp"})  # what loads models without any of those
NAMES = {
    "gptqmodel": "GPTQModel",
    "compressed_tensors": "compressed-tensors",
    "auto_round": "auto-round",
}  # where it is not the module's
ALSO = {"auto_round": ("gptqmodel",)}  # what runs that which a package makes
EXTRAS = {
    "gptqmodel": "gptq",
    "compressed_tensors": "gptq",
    "auto_round": "autoround",
    "xllamacpp": "llama-cpp",
}  # where it is not `local`

ORIGINALS = ("autoawq", "auto-gptq")  # each in an environment of its name


def library(method: Method) -> str:
    """The package that does a method's work, by the name it is imported by."""
    match method:
        case BitsAndBytes():
            return "bitsandbytes"
        case Gguf():
            return "gguf"
        case LlamaCpp():
            return "xllamacpp"
        case AutoRound():
            return "auto_round"
        case _ if isinstance(method, Checkpointed):
            return original(method) or "gptqmodel"
        case _:
            return "transformers"


def missing(library: str) -> LoadError | None:
    """Which package is missing here for a load through this library, and what installs it; None for none."""
    wanted = (library,) if library in ALONE else (*ALWAYS, *ALSO.get(library, ()), library)
    return next((absent(name) for name in wanted if find_spec(name) is None), None)


def absent(package: str) -> LoadError:
    """What to say where a package is missing."""
    if package in ORIGINALS:
        hint = f"`quantduel env create {package}` makes an environment that has it"
        return LoadError(f"needs {package}, which this Python does not have", hint)
    extra = EXTRAS.get(package, "local")
    return LoadError(f"needs {NAMES.get(package, package)}, which is not installed", install_command(extra))


def install_command(extra: str = "local") -> str:
    """The command that installs QuantDuel's optional packages into this interpreter."""
    root = Path(__file__).parents[2]
    what = f"-e '{root}[{extra}]'" if (root / "pyproject.toml").is_file() else f"'quantduel[{extra}]'"
    return f"{sys.executable} -m pip install {what}"
