"""The console script `quantduel`: the commands of the command line, and the screen as the default one."""

import gc
from typing import Unpack

import click

from engine.cli.options import Settings, assigned, schedule_option, settings_options
from engine.config import origin, profile
from engine.config.profile import Profile
from engine.duel.overrides import Overrides
from engine.session.schedule import AskedSchedule
from tui.launch import Launch

DEFAULT_A, DEFAULT_B = "smollm2-bf16", "smollm2-nf4"


class _Options(Settings):
    schedule: AskedSchedule
    theme: str | None
    prompt: str


@click.command("quantduel")
@click.argument("a", default=DEFAULT_A)
@click.argument("b", default=DEFAULT_B)
@click.option("-p", "--prompt", metavar="TEXT", default="", help="Ask this as soon as both are loaded.")
@settings_options
@schedule_option
@click.option("--theme", metavar="NAME", help="The colours; Ctrl+P, Theme shows them all.")
def play(a: str, b: str, **options: Unpack[_Options]) -> int:
    """Open the duel on the screen. The commands that need none: `quantduel --help`."""
    from tui import terminal

    terminal.guard()
    profiles, launch = _chosen(a, b, options)  # a wrong name ends here, before the screen opens
    terminal.require()

    gc.disable()  # until the first picture: nothing before it leaves garbage, and it is a fifth sooner
    from tui.app import QuantDuelApp

    gc.freeze()
    app = QuantDuelApp(*profiles, launch=launch)
    if options["theme"]:
        app.choose_theme(options["theme"])
    app.run()
    return app.return_code or 0


def _chosen(a: str, b: str, options: _Options) -> tuple[tuple[Profile, Profile], Launch]:
    """The sides' profiles as they are loaded, and what holds on top of them."""
    settings = assigned(options)
    launch = Launch(
        named=(a, b),
        overrides=Overrides.of_settings(settings),
        schedule=options["schedule"],
        prompt=options["prompt"],
        remarks=tuple(remark for name in dict.fromkeys((a, b)) if (remark := origin.remark(name))),
    )
    return (_profile(a, settings), _profile(b, settings)), launch


def _profile(name: str, settings: dict[str, object]) -> Profile:
    """The profile with those of the settings that its load needs; ProfileError where one of them is wrong."""
    found = profile.find(name, code_allowed="model.trust_remote_code" in settings)
    profile.changed(found, settings)
    return profile.changed(found, Overrides.without_requests(settings))


def main() -> None:
    """Do what the arguments say."""
    from engine import cli

    cli.main(play)


if __name__ == "__main__":
    main()
