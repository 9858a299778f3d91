"""Options that several commands share, and the profile they make of a name."""

from collections.abc import Callable, Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict, TypeVar, get_args

import click

from engine.cli.profile_name import PROFILE
from engine.cli.terminal import say
from engine.config import profiles, strict_yaml
from engine.config.profile import Profile
from engine.config.profiles import origin
from engine.duel.sides import LETTERS, all_of, require_few
from engine.errors import InputError
from engine.session.schedule import AskedSchedule, Schedule
from engine.units import parse_bytes

if TYPE_CHECKING:
    from engine.stats.verdict import Limits

Callback = TypeVar("Callback", bound=Callable[..., Any])

set_option = click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change a setting, such as temperature=0.7 or model.device=cpu. Can be given more than once.",
)


class MemorySize(click.ParamType[int]):
    """`400MiB`, `1.5GiB`: bytes."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return value if isinstance(value, int) else parse_bytes(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class SideLimit(NamedTuple):
    """Bytes that a side's worker may take; side None is all of them."""

    side: int | None
    limit_bytes: int


class SideMemorySize(click.ParamType[SideLimit]):
    """`400MiB` for all sides, `A=400MiB` for one."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> SideLimit:
        if isinstance(value, SideLimit):
            return value
        letter, equals, size = str(value).rpartition("=")
        sides = LETTERS[: 2 + len(ctx.params.get("more", ()) if ctx else ())]
        if equals and letter.upper() not in set(sides):
            known = ", ".join(f"{side}=SIZE" for side in sides)
            self.fail(f"{letter!r} is not a side: expected {known} or SIZE", param, ctx)
        side = sides.index(letter.upper()) if equals else None
        return SideLimit(side, MemorySize().convert(size, param, ctx))


def more_sides(callback: Callback) -> Callback:
    """C to F, after A and B; InputError where there are more."""
    return click.argument(
        "more", type=PROFILE, nargs=-1, metavar="[C] [D] [E] [F]", callback=_few, is_eager=True
    )(callback)


def _few(ctx: click.Context, param: click.Parameter, more: tuple[str, ...]) -> tuple[str, ...]:
    require_few(("A", "B", *more))
    return more


overwrite_option = click.option("--force", is_flag=True, help="Overwrite the file if it exists.")
force_option = click.option(
    "--force", is_flag=True, help="Load a model even if the plan says that it does not fit."
)
_OPTIONS = (
    click.option("--max-new-tokens", type=int, metavar="N", help="Maximum length of an answer, in tokens."),
    click.option("--seed", type=int, metavar="S", help="Sampling seed."),
    set_option,
)


def count_option(
    name: str, text: str, *, least: int = 1, default: int | None = None, metavar: str = "N"
) -> Callable[[Callback], Callback]:
    """A whole number, from `least` on; a default is shown."""
    is_shown, range_ = default is not None, click.IntRange(min=least)
    return click.option(name, type=range_, default=default, show_default=is_shown, metavar=metavar, help=text)


class FiniteRange(click.FloatRange):
    """Numbers of a range, but neither infinity nor NaN, which lies in every range."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number; BadParameter where it is none of these."""
        found: float = super().convert(value, param, ctx)
        if not isfinite(found):
            self.fail(f"{found} is not a finite number", param, ctx)
        return found


def _limit(name: str, metavar: str, text: str, most: float | None = None) -> Callable[[Callback], Callback]:
    range_ = FiniteRange(min=0, max=most)
    return click.option(name, type=range_, metavar=metavar, help=f"Good enough: {text}.")


_LIMITS = (
    _limit("--max-kld", "NATS", "a mean KLD of at most this"),
    _limit("--min-same-top", "PERCENT", "a same top of at least this", most=100),
    _limit("--max-ppl-ratio", "RATIO", "at most this ratio to the reference's perplexity"),
)


class LimitOptions(TypedDict):
    """What these options give a command."""

    max_kld: float | None
    min_same_top: float | None
    max_ppl_ratio: float | None


def limits_of(options: LimitOptions) -> "Limits | None":
    """The limits that were given; None where none was."""
    from engine.stats.verdict import Limits  # the first picture does not wait for it

    limits = Limits(
        max_kld=options["max_kld"],
        min_same_top=options["min_same_top"],
        max_ppl_ratio=options["max_ppl_ratio"],
    )
    return None if limits == Limits() else limits


def limit_options(callback: Callback) -> Callback:
    """--max-kld, --min-same-top and --max-ppl-ratio."""
    for option in reversed(_LIMITS):
        callback = option(callback)
    return callback


def schedule_option(default: AskedSchedule | None) -> Callable[[Callback], Callback]:
    """--schedule."""
    return click.option(
        "--schedule",
        type=click.Choice(["auto", *get_args(Schedule)]),
        default=default,
        show_default=default is not None,
        help="sequential: one after the other, unless on two machines; concurrent: all at once, and speeds "
        "on a shared device are marked contended; swap: one loaded at a time. auto is sequential, or swap "
        "if they do not fit.",
    )


class Settings(TypedDict):
    """What these options give a command."""

    max_new_tokens: int | None
    seed: int | None
    assignments: tuple[str, ...]


NOTHING_SET: Settings = {"max_new_tokens": None, "seed": None, "assignments": ()}


def settings_options(callback: Callback) -> Callback:
    """--max-new-tokens, --seed and --set; the command gets them as the keyword arguments of `Settings`."""
    for option in reversed(_OPTIONS):
        callback = option(callback)
    return callback


def chosen(name: str, given: Settings) -> Profile:
    """The profile of that name with the settings of the command line."""
    settings = assigned(given)
    found = profiles.find(name, allowed=settings)
    if remark := origin.remark(name):
        say(remark, err=True)
    return profiles.changed(found, settings) if settings else found


def assigned(given: Settings) -> dict[str, object]:
    """The settings of the command line, by key."""
    settings = dict(_assignment(text) for text in given["assignments"])
    if given["max_new_tokens"] is not None:
        settings["generation.max_new_tokens"] = given["max_new_tokens"]
    if given["seed"] is not None:
        settings["generation.seed"] = given["seed"]
    return settings


def _assignment(text: str) -> tuple[str, object]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise InputError(f"--set {text}: expected KEY=VALUE", "such as --set temperature=0.7")
    return key.strip(), strict_yaml.value(value)


def side_limits(given: Sequence[SideLimit], sides: int = 2) -> list[int | None]:
    """What each side's worker may take; the last word of a side holds."""
    limits: list[int | None] = [None] * sides
    for side, limit_bytes in given:
        for number in range(sides) if side is None else [side]:
            limits[number] = limit_bytes
    return limits


def chosen_schedule(
    asked: AskedSchedule, profiles: Sequence[Profile], limits: Sequence[int | None]
) -> Schedule:
    """The schedule that was asked for; `auto` swaps where the models do not fit at once, and says so."""
    if asked != "auto":
        return asked
    from engine.plan import advice

    whole = {limit for limit in limits if limit is not None}
    shared = whole.pop() if len(whole) == 1 and None not in limits else None
    if advice.fit_together(profiles, shared):
        return "sequential"
    which = all_of(len(profiles))
    say(f"{which} models do not fit into memory together: swapping, one is loaded at a time", err=True)
    return "swap"
