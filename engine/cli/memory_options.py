"""Options about memory that a duel takes: a limit for each side's worker, and the schedule that fits."""

from collections.abc import Sequence
from typing import NamedTuple

import click

from engine.cli.options import MemorySize
from engine.cli.terminal import say
from engine.config.profile import Profile
from engine.plan import advice
from engine.session.schedule import AskedSchedule, Schedule

SIDES = "AB"


class SideLimit(NamedTuple):
    """Bytes that a side's worker may take; side None is both."""

    side: int | None
    limit_bytes: int


class SideMemorySize(click.ParamType[SideLimit]):
    """`400MiB` for both sides, `A=400MiB` for one."""

    name = "size"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> SideLimit:
        if isinstance(value, SideLimit):
            return value
        letter, equals, size = str(value).rpartition("=")
        if equals and letter.upper() not in {"A", "B"}:
            self.fail(f"{letter!r} is no side: expected A=SIZE, B=SIZE or SIZE", param, ctx)
        side = SIDES.index(letter.upper()) if equals else None
        return SideLimit(side, MemorySize().convert(size, param, ctx))


def side_limits(given: Sequence[SideLimit]) -> list[int | None]:
    """What A's and B's workers may take; the last word of a side holds."""
    limits: list[int | None] = [None, None]
    for side, limit_bytes in given:
        for number in range(len(SIDES)) if side is None else [side]:
            limits[number] = limit_bytes
    return limits


def chosen_schedule(
    asked: AskedSchedule, profiles: Sequence[Profile], limits: Sequence[int | None]
) -> Schedule:
    """The schedule that was asked for; `auto` swaps where both models do not fit at once, and says so."""
    if asked != "auto":
        return asked
    whole = {limit for limit in limits if limit is not None}
    shared = whole.pop() if len(whole) == 1 and None not in limits else None
    if advice.fit_together(profiles, shared):
        return "sequential"
    say("both models do not fit into memory together: swapping, one is loaded at a time", err=True)
    return "swap"
