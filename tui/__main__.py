"""The console script `quantduel`: the commands of the command line, and the screen as the default one."""

import gc

import click

DEFAULT_A, DEFAULT_B = "smollm2-bf16", "smollm2-nf4"


@click.command("quantduel")
@click.argument("a", default=DEFAULT_A)
@click.argument("b", default=DEFAULT_B)
def play(a: str, b: str) -> int:
    """Open the duel on the screen."""
    from engine.config import origin, profile
    from tui import terminal

    terminal.guard()
    profiles = profile.find(a), profile.find(b)  # a wrong name ends here, before the screen opens
    remarks = [remark for name in dict.fromkeys((a, b)) if (remark := origin.remark(name))]

    terminal.require()

    gc.disable()  # imports leave no garbage: without the search for it the first picture is a fifth sooner
    from tui.app import QuantDuelApp

    gc.freeze()
    gc.enable()
    app = QuantDuelApp(*profiles, remarks=remarks)
    app.run()
    return app.return_code or 0


def main() -> None:
    """Do what the arguments say."""
    from engine import cli

    cli.main(play)


if __name__ == "__main__":
    main()
