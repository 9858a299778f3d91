"""What is asked of another machine without loading a model there: a plan of it, and what it can run.

A question starts the launched command, is answered by its far end, and ends it.
"""

from typing import TypeVar

import msgspec
from msgspec.structs import replace

from engine.config.profile import Profile
from engine.config.worker_place import Worker
from engine.errors import LoadError
from engine.machine.doctor import Diagnosis
from engine.plan.planning import Wish
from engine.plan.terms import Plan
from engine.protocol.failure import Failed
from engine.protocol.far_end import Answered, Diagnose, Foresee, Question
from engine.protocol.loading import Staged
from engine.session import launch
from engine.session.launched import LaunchedWorker, far_last_words

Answer = TypeVar("Answer")

QUIET_S = 60.0  # who asks waits for an answer, and for no queue
UNHEARD = "where `quantduel worker` begins late there, as in a queue, loading the profile waits for it"


async def planned(profile: Profile, wish: Wish) -> Plan:
    """The profile's plan on the machine that would run it; LoadError where there is none."""
    question = Foresee(profile=profile, context=wish.context, batch=wish.batch, limit_bytes=wish.limit_bytes)
    found, host = await _asked(profile.worker, question, Plan)
    memory = replace(found.memory, device=f"{found.memory.device} on {host}")
    return replace(found, device=f"{found.device} on {host}", memory=memory)


async def diagnosed(worker: Worker) -> tuple[Diagnosis, str]:
    """What the machine at the other end can run, and its name; LoadError where it does not say."""
    return await _asked(worker, Diagnose(), Diagnosis)


async def _asked(worker: Worker, question: Question, kind: type[Answer]) -> tuple[Answer, str]:
    if absent := launch.lacking_at(worker):
        raise _error(absent)
    try:
        line = await LaunchedWorker.started("question", {}, launch.command(worker))
    except OSError as error:
        raise _error(launch.not_started(error)) from error
    line.quiet_s = QUIET_S
    line.send(question)
    try:
        async for event in line.events():
            if isinstance(event, Staged):  # that nothing has come
                raise LoadError(f"`{worker.host_word}` has said nothing for {QUIET_S:.0f} s", UNHEARD)
            if isinstance(event, Failed):
                raise _error(event)
            if isinstance(event, Answered):
                return msgspec.json.decode(event.content, type=kind), line.host
        raise _error(far_last_words(line, worker.launch_words))
    except msgspec.DecodeError as error:
        raise LoadError(f"{line.host} answered something that cannot be read: {error}") from error
    finally:
        await line.buried()


def _error(failed: Failed) -> LoadError:
    return LoadError(failed.message, failed.hint)
