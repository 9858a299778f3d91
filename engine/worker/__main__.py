"""A worker's first moments: follow the parent, take the wire, say so, then serve. Nothing here imports torch.

Started by the engine's client as `sys.executable -P -m engine.worker`.
"""

import gc
import os

from engine.protocol import Started
from engine.worker import environment, older
from engine.worker.wire import Wire, follow_parent


def main() -> None:
    """Serve one model until stdin ends."""
    follow_parent()
    wire = Wire()
    wire.emit(Started(pid=os.getpid()))
    environment.set_environment()
    older.adapt()
    gc.disable()  # what is imported stays: looking through it for garbage takes a fifth of the start
    from engine.worker.serve import serve

    gc.freeze()
    gc.enable()
    serve(wire)


if __name__ == "__main__":
    main()
