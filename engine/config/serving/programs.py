"""The table of programs that serve."""

from collections.abc import Mapping

from engine.config.serving.program import Program
from engine.config.serving.serve import Serve, Server
from engine.config.serving.vllm import VLLM

PROGRAMS: Mapping[Server, Program] = {"vllm": VLLM}


def program(serve: Serve) -> Program:
    """The one that this section names."""
    return PROGRAMS[serve.engine]
