"""How long `quantduel` takes to its first picture: `python benchmarks/first_paint.py [RUNS]`.

Each run starts the whole process in a pseudo-terminal of 120 × 36 and stops when the prompt's text has been
written. Printed are the median and the range, with the time a bare interpreter takes next to it.
"""

import fcntl
import os
import pty
import select
import signal
import statistics
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

RUNS = 10
COMMAND = [sys.executable, "-m", "tui", "smollm2-bf16", "smollm2-nf4"]
PROMPT = b"Enter sends"  # part of the prompt's placeholder
TIMEOUT_S = 30.0
ROOT = Path(__file__).parents[1]


def first_paint_s() -> float:
    """Seconds from the process's start to the first frame that shows the prompt."""
    began_s = time.perf_counter()
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        os.environ.update(TERM="xterm-256color", COLORTERM="truecolor")
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # who starts it twice has compiled it once
        os.execv(COMMAND[0], COMMAND)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 36, 120, 0, 0))
    try:
        return _seen_s(terminal, began_s) - began_s
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(terminal)


def _seen_s(terminal: int, began_s: float) -> float:
    written = b""
    while time.perf_counter() - began_s < TIMEOUT_S:
        if select.select([terminal], [], [], 0.1)[0]:
            written += os.read(terminal, 1 << 16)
            if PROMPT in written:
                return time.perf_counter()
    raise TimeoutError("the prompt was never painted: " + written[-500:].decode(errors="replace"))


def interpreter_s() -> float:
    """Seconds that the bare interpreter takes."""
    began_s = time.perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    return time.perf_counter() - began_s


def main(runs: int) -> None:
    """Print medians; the first run warms the disk and does not count."""
    first_paint_s()
    paints = [first_paint_s() for _ in range(runs)]
    bare = statistics.median(interpreter_s() for _ in range(runs))
    median = statistics.median(paints)
    print(f"first paint: median {median * 1000:.0f} ms of {runs} runs ", end="")
    print(f"({min(paints) * 1000:.0f}–{max(paints) * 1000:.0f} ms)")
    print(f"bare interpreter: {bare * 1000:.0f} ms; after it: {(median - bare) * 1000:.0f} ms")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else RUNS)
