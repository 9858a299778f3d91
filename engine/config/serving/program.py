"""How the programs that serve are told what to do: one struct each, and a table of them.

Owns no process. A new one is a module with a `Program`, its name in `serve.Server`, and a line in `PROGRAMS`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from engine.config.methods import Method
from engine.config.serving.serve import Serve
from engine.config.sources import Engine


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A server that is to be started."""

    serve: Serve
    model: str
    """A folder, or a hub id."""
    name: str
    """What the server is to call it."""
    port: int
    key: str
    dtype: str = "auto"
    revision: str | None = None
    """Of a hub id."""
    trust_remote_code: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """One program."""

    engine: Engine
    """How it is asked."""
    title: str
    """As its makers write it."""
    module: str
    """What its Python runs with `-m`."""
    reads: tuple[type[Method], ...]
    """Methods whose folders it reads."""
    unreadable: Mapping[str, str]
    """What a folder names as its `quant_method` that it does not read, and why."""
    own: frozenset[str]
    """Flags that are QuantDuel's to give, and others that would hide the server from it."""
    arguments: Callable[[Wanted], tuple[str, ...]]
    environment: Callable[[Wanted], dict[str, str]]
    health: str
    """A path that answers 200 once the model is loaded."""
    message: Callable[[str], str]
    """What a line of its log says, without time and place; empty for what says nothing."""
    memory: str
    """Why its memory is neither planned nor compared."""

    def taken(self, arguments: tuple[str, ...]) -> str | None:
        """The first of a user's arguments that is not his to give."""
        return next((each for each in arguments if flag(each) in self.own), None)


def flag(argument: str) -> str:
    """`--tensor_parallel_size=2`, `-tp=2` and `-n2` without value, as dashes write it."""
    name = argument.partition("=")[0].partition(".")[0]
    return name.replace("_", "-") if name.startswith("--") else name.rstrip("0123456789")
