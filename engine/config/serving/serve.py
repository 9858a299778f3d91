"""The section `serve` of a profile: a server that is started for a side, and ends with it.

Owns its words and what contradicts itself among them. Knows no program's flags, starts nothing.
"""

import re
from typing import Annotated, Literal

from msgspec import Meta, Struct

from engine.config.worker_place import ENVIRONMENT_NAME

Server = Literal["vllm"]
Parts = Annotated[int, Meta(ge=1, le=4096)]
MOST_ARGUMENTS = 100
_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*|[0-9A-Fa-f:.]+")


class Serve(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A server that QuantDuel starts for this side, for the model in `model.source`, and ends with it
    ([served models](served.md)). Its program is in a Python of its own: `environment` or `python` says which.
    """

    engine: Server = "vllm"
    """Which program serves."""
    environment: str | None = None
    """A named environment that has the program."""
    python: str | None = None
    """The path of a Python that has it."""
    tensor_parallel: Parts = 1
    """GPUs that share every layer."""
    pipeline_parallel: Parts = 1
    """Groups of layers, each on GPUs of its own."""
    nodes: Parts = 1
    """Machines, this one included; the others are started by hand."""
    master: str | None = None
    """This machine's name or address, as the other `nodes` reach it."""
    ray: str | None = None
    """A Ray cluster to compute in: `auto`, or the address of its head, `HOST:PORT`."""
    args: tuple[str, ...] = ()
    """More arguments, as the program takes them: `[--max-model-len, "4096", --enforce-eager]`."""

    def __post_init__(self) -> None:
        self._require_one_python()
        self._require_one_way_to_others()
        if len(self.args) > MOST_ARGUMENTS or any("\0" in each for each in self.args):
            raise ValueError(f"args: expected at most {MOST_ARGUMENTS} texts")

    def _require_one_python(self) -> None:
        if (self.environment is None) == (self.python is None):
            raise ValueError("expected either environment or python: which Python has the program")
        if self.environment is not None and not ENVIRONMENT_NAME.fullmatch(self.environment):
            raise ValueError("environment: expected a name of letters, digits, dots, dashes and underscores")
        if self.python is not None and (not self.python or "\0" in self.python):
            raise ValueError("python: expected the path of a Python")

    def _require_one_way_to_others(self) -> None:
        if self.ray is not None and self.nodes > 1:
            raise ValueError("ray: stands next to nodes, and a Ray cluster knows its machines itself")
        if self.ray is not None and self.ray != "auto" and not _is_address(self.ray):
            raise ValueError("ray: expected auto, or the address of a Ray cluster's head, HOST:PORT")
        if self.master is not None and not _HOST.fullmatch(self.master):
            raise ValueError("master: expected this machine's name or address")
        if (self.nodes > 1) != (self.master is not None):
            raise ValueError(
                "master: goes with nodes, and nodes with master: how the others reach this machine"
            )
        if self.gpus % self.nodes:
            product = f"tensor_parallel × pipeline_parallel is {self.gpus}"
            raise ValueError(f"nodes: {product}, which {self.nodes} machines cannot share equally")

    @property
    def gpus(self) -> int:
        """On all machines together; on a CPU these are processes."""
        return self.tensor_parallel * self.pipeline_parallel

    def __hash__(self) -> int:
        """Profiles are keys."""
        return hash(tuple(getattr(self, name) for name in self.__struct_fields__))


def _is_address(text: str) -> bool:
    host, _, port = text.rpartition(":")
    return bool(_HOST.fullmatch(host)) and port.isdecimal() and 0 < int(port) < 1 << 16
