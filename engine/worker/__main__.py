"""A worker's first moments: follow the parent, take the wire, say so, then serve. Nothing here imports torch:
what the first command is for decides whether anything does.

Started by the engine's client as `sys.executable -P -m engine.worker`.
"""

import gc
import os

from engine.protocol.loading import Load, Started
from engine.protocol.wire import Task
from engine.worker import environment, older
from engine.worker.wire import Wire, follow_parent


def main() -> None:
    """Serve one model until stdin ends."""
    follow_parent()
    wire = Wire()
    wire.emit(Started(pid=os.getpid()))
    environment.set_environment()
    if _is_asked_elsewhere(wire.first_command()):
        from engine.worker.served.serve import serve as served

        served(wire)
        return
    older.adapt()
    gc.disable()  # what is imported stays: looking through it for garbage takes a fifth of the start
    from engine.worker.serve import serve

    gc.freeze()
    gc.enable()
    serve(wire)


def _is_asked_elsewhere(command: Task) -> bool:
    """Whether a server computes what is asked, and no torch."""
    return isinstance(command, Load) and not command.profile.needs_torch


if __name__ == "__main__":
    main()
