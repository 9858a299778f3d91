"""Why a worker's process ended, as the failure that a front end shows.

Concludes from the exit code, from what the worker did wrong, and from the kernel's count of its kills. Knows
neither requests nor models.
"""

import signal

from engine.machine import oom_kill
from engine.protocol.failure import GPU_FAULT_EXIT_CODE, Failed, FailureKind
from engine.session.worker_process import WorkerProcess

_ABORTS = ("bad_alloc", "memory allocation of ")


def last_words(
    worker: WorkerProcess, ending: FailureKind | None, oom_kills: int | None, *, is_limited: bool = False
) -> Failed:
    """Of a worker that has ended. `ending` is why this side ended it, if it did; `oom_kills` are the kernel's
    out-of-memory kills before it was started, None where they are not counted; `is_limited` where the user
    limits its memory.
    """
    log = f"; log: {worker.log.path}" if worker.log.path else ""
    match ending:
        case "cancelled":
            return Failed(kind="cancelled", message="cancelled")
        case "unresponsive":
            message = "had not stopped yet and was killed"
            return Failed(kind="unresponsive", message=message, hint="load it again")
    hint = f"load it again{log}"
    if _ran_out(worker, oom_kills, is_limited):
        message = "the worker ran out of memory and was killed"
        return Failed(kind="out_of_memory", message=message, hint=hint)
    return Failed(kind="worker_lost", message=f"the worker {_end(worker, oom_kills)}", hint=hint)


def _ran_out(worker: WorkerProcess, oom_kills: int | None, is_limited: bool) -> bool:
    """Whether the process ended because memory did: the kernel counts its kills, C++ and Rust name the
    reason, and within a limit OpenMP ends a process that has no room for a thread's stack.
    """
    if worker.exit_code == -signal.SIGKILL and not worker.fault and oom_kills is not None:
        return (oom_kill.count() or 0) > oom_kills
    said = {-signal.SIGABRT: _ABORTS, 1: ("libgomp: Thread creation failed",) if is_limited else ()}
    reasons = said.get(worker.exit_code or 0, ())
    return any(reason in line for reason in reasons for line in worker.log.tail)


def _end(worker: WorkerProcess, oom_kills: int | None) -> str:
    code = worker.exit_code
    if worker.fault:
        return f"{worker.fault} and was killed"
    if code == -signal.SIGKILL:
        by_hand = "the kernel counts no out-of-memory kill, so by somebody's hand"
        both = "by hand, or by the kernel, out of memory"
        return f"was killed (SIGKILL: {both if oom_kills is None else by_hand})"
    if code == GPU_FAULT_EXIT_CODE:
        return "ended after a fault of its GPU"
    if code is not None and code < 0:
        return f"died of {_signal_name(-code)}"
    return f"ended with exit code {code}{worker.log.last_words}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
