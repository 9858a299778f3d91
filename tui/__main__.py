"""The console script `quantduel`: the commands of the command line, and the screen as the default one."""

import click

from engine import cli

DEFAULT_A, DEFAULT_B = "smollm2-bf16", "smollm2-nf4"


@click.command("quantduel")
@click.argument("a", default=DEFAULT_A)
@click.argument("b", default=DEFAULT_B)
def play(a: str, b: str) -> int:
    """Open the duel on the screen."""
    from engine import profile

    profiles = profile.find(a), profile.find(b)  # a wrong name ends here, before the screen opens

    from tui.app import QuantDuelApp

    app = QuantDuelApp(*profiles)
    app.run()
    return app.return_code or 0


def main() -> None:
    """Do what the arguments say."""
    cli.main(play)


if __name__ == "__main__":
    main()
