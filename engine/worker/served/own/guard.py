"""Runs a server, and ends it with what it started when stdin ends: `python guard.py GRACE_S PROGRAM …`, run
as a file, not imported.

Stdin is a pipe from the worker: it ends with the worker, in whatever way that dies. The server is asked to
end, and killed after the grace; then every process is that it left, wherever it went (on Linux orphans become
this process's children). Its temporary files are in a folder that goes with it. Exits with the server's code.
"""

import ctypes
import fcntl
import os
import select
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
PREFIX = "quantduel-view-"  # that of engine/checkpoints/views.py, which removes what a killed guard left
POLL_S = 0.05
SIGNALLED = 128  # and the number: how a shell says that a signal ended a program
MOST_SIGNALS = 64
MOMENT_S, LAST_S = 1.0, 8.0


def main(grace_s: float, command: list[str]) -> int:
    """The server's exit code, negative for a signal; 127 where it cannot be started."""
    heard, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    folder, held = _folder()
    codes: dict[int, int] = {}
    server = _started(command, folder)
    try:
        _wait(heard, server, codes)
        _end(server, grace_s, codes)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(held)
    return codes.get(server, -signal.SIGKILL)


def _folder() -> tuple[Path, int]:
    """A folder for temporary files, and the lock that says that it is in use."""
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return folder, descriptor


def _started(command: list[str], folder: Path) -> int:
    guard, server = os.getpid(), os.fork()
    if server:
        return server
    try:
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != guard:
                os._exit(1)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(1, 2)  # the worker reads both; the guard's own stderr stays open until everything has ended
        os.execvpe(command[0], command, {**os.environ, "TMPDIR": str(folder)})
    except OSError as error:
        os.write(1, f"{command[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(127)


def _wait(heard: int, server: int, codes: dict[int, int]) -> None:
    """Until the server ends, or stdin does, or a signal wants both to."""
    while server not in codes:
        ready, _, _ = select.select([0, heard], [], [])
        if 0 in ready and not os.read(0, 1 << 10):
            return
        if heard in ready and set(os.read(heard, 1 << 10)) - {signal.SIGCHLD}:
            return
        _reap(codes)


def _end(server: int, grace_s: float, codes: dict[int, int]) -> None:
    """Ask the server, then what it left; then kill, again and again, for what is killed leaves orphans."""
    if server not in codes:
        os.kill(server, signal.SIGTERM)
    _gone(codes, grace_s, unless=lambda: server in codes)
    _gone(codes, MOMENT_S)
    _signal(_children(), signal.SIGTERM)
    _gone(codes, MOMENT_S)
    began = killed = time.monotonic()
    while _reap(codes) and (now := time.monotonic()) < began + LAST_S:
        others = _children(spared=True) or {server} - set(codes)
        killed = now if others else killed
        _signal(others or (_children() if now > killed + 2 * MOMENT_S else set()), signal.SIGKILL)
        time.sleep(POLL_S)


def _gone(codes: dict[int, int], patience_s: float, unless: Callable[[], bool] = lambda: False) -> None:
    """Wait for the end of all children."""
    until = time.monotonic() + patience_s
    while _reap(codes) and not unless() and time.monotonic() < until:
        time.sleep(POLL_S)


def _signal(processes: set[int], number: int) -> None:
    for process in processes:
        os.kill(process, number)


def _reap(codes: dict[int, int]) -> bool:
    """Take the ends of children; whether there are any left."""
    while True:
        try:
            child, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return False
        if not child:
            return True
        codes[child] = os.waitstatus_to_exitcode(status)


def _children(*, spared: bool = False) -> set[int]:
    """By the kernel's table, empty where it has none; `spared` leaves out Python's resource trackers, which
    remove shared memory as soon as the others have ended.
    """
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            if int(parent) != os.getpid() or state == "Z":
                continue
            if not spared or b"resource_tracker" not in (folder / "cmdline").read_bytes():
                found.add(int(folder.name))
        except OSError:  # it has ended
            continue
    return found


if __name__ == "__main__":
    code = main(float(sys.argv[1]), sys.argv[2:])
    sys.exit(code if code >= 0 else SIGNALLED - code)
