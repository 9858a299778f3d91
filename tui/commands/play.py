"""`quantduel [A] [B] …`: the duel on the screen, as the settings file and the arguments have it."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Unpack, cast

import click

from engine import paths
from engine.cli.options import Settings, assigned, more_sides, schedule_option, settings_options
from engine.cli.profile_name import PROFILE
from engine.config import user_config
from engine.config.profile import Profile
from engine.config.profiles import CODE_KEYS, changed, find, origin
from engine.config.user_config import Config
from engine.duel.overrides import Overrides
from engine.errors import InputError
from engine.session.schedule import AskedSchedule

if TYPE_CHECKING:
    from tui.app import QuantDuelApp
    from tui.launch import Launch


class _Options(Settings):
    schedule: AskedSchedule | None
    theme: str | None
    low_bandwidth: bool
    prompt: str


def _themes(context: click.Context, param: click.Parameter, begun: str) -> list[str]:
    """The colours whose names begin so."""
    from tui.theme import names

    return [name for name in names() if name.startswith(begun)]


class _Default(click.Command):
    """A command that is called without a name."""

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_usage(ctx.command_path.strip(), " ".join(self.collect_usage_pieces(ctx)))


@click.command("quantduel", cls=_Default)
@click.argument("a", type=PROFILE, required=False)
@click.argument("b", type=PROFILE, required=False)
@more_sides
@click.option("-p", "--prompt", metavar="TEXT", default="", help="Ask this as soon as all are loaded.")
@settings_options
@schedule_option(default=None)
@click.option("--low-bandwidth", is_flag=True, help="For slow lines: five pictures a second, no animation.")
@click.option(
    "--theme", metavar="NAME", shell_complete=_themes, help="The colours; Ctrl+P, Theme shows them all."
)
def play(a: str | None, b: str | None, more: tuple[str, ...], **options: Unpack[_Options]) -> int:
    """Open the duel on the screen, with up to six sides. `quantduel --help` lists the commands."""
    from tui import terminal

    gc.disable()  # until the first picture: nothing before it leaves garbage, and it is a fifth sooner
    terminal.guard()
    profiles, launch = _asked((a, b, *more), options)  # a wrong name ends here
    terminal.require()
    app = _app(profiles, launch, options)
    app.run()
    return app.return_code or 0


def check(arguments: Sequence[str] = ()) -> None:
    """InputError, or click's own, where `quantduel ARGUMENTS` would not open the screen."""
    with play.make_context("quantduel", list(arguments)) as context:
        options, given = cast(_Options, context.params), context.params
        _app(*_asked((given["a"], given["b"], *given["more"]), options), options)


def _app(profiles: Sequence[Profile], launch: Launch, options: _Options) -> QuantDuelApp:
    """What runs; InputError where the user's settings name what the screens do not know."""
    from tui.app import QuantDuelApp

    gc.freeze()
    app = QuantDuelApp(profiles[0], profiles[1], launch=launch)
    app.configure(options["theme"] or "")
    return app


def _asked(given: Sequence[str | None], options: _Options) -> tuple[tuple[Profile, ...], Launch]:
    """What the command line asks for, and the user's settings where it says nothing."""
    config = user_config.read()
    first, second, *more = given
    names = first or config.defaults.a, second or config.defaults.b, *(name for name in more if name)
    try:
        return _chosen(names, config, options, explains=_is_first_start(given[0], given[1], options))
    except InputError:
        for side, asked, name in zip("ab", given, names, strict=False):
            with user_config.blaming("defaults", side) if not asked else nullcontext():
                find(name, allowed=CODE_KEYS)
        raise


def _is_first_start(a: str | None, b: str | None, options: _Options) -> bool:
    """Whether nothing is asked for, and nobody has used the screen here."""
    asked = a or b or options["prompt"] or options["schedule"] or assigned(options)
    return not asked and not paths.duels().exists() and not paths.user_config().exists()


def _chosen(
    names: tuple[str, ...], config: Config, options: _Options, *, explains: bool = False
) -> tuple[tuple[Profile, ...], Launch]:
    """The sides' profiles as they are loaded, and what holds on top of them."""
    from tui.launch import Launch

    for name in names if config.defaults.settings else ():
        found = find(name, allowed=CODE_KEYS)
        with user_config.blaming("defaults", "settings", settings=config.defaults.settings):
            changed(found, config.defaults.settings, where=str(paths.user_config()))
    settings = {**config.defaults.settings, **assigned(options)}
    profiles = tuple(_profile(name, settings) for name in names)
    launch = Launch(
        named=names,
        more=profiles[2:],
        overrides=Overrides.of_settings(settings),
        schedule=options["schedule"] or config.defaults.schedule,
        prompt=options["prompt"],
        low_bandwidth=options["low_bandwidth"] or config.low_bandwidth,
        remarks=tuple(remark for name in dict.fromkeys(names) if (remark := origin.remark(name))),
        config=config,
        explains=explains,
        keep=user_config.keep,
    )
    return profiles, launch


def _profile(name: str, settings: dict[str, object]) -> Profile:
    """The profile with those of the settings that its load needs; ProfileError where one of them is wrong."""
    found = find(name, allowed=settings)
    if not settings:
        return found
    changed(found, settings)
    return changed(found, Overrides.without_requests(settings))
