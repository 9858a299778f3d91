"""Why a worker ended, and what to try."""

from engine.config import profiles
from engine.protocol.failure import Failed
from engine.session.client import Session
from engine.units import MIB


async def test_a_limited_worker_ends_in_a_result_that_says_what_to_try() -> None:
    session = Session(profiles.find("smollm2-fp32"), memory_limit_bytes=400 * MIB)
    try:
        events = [event async for event in session.load()]
    finally:
        await session.close()
    failed = events[-1]
    assert isinstance(failed, Failed) and failed.kind == "out_of_memory"
    assert "400.0 MiB allowed" in failed.message and "planned for" in failed.message
    assert "smollm2-" in failed.hint
