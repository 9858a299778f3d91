"""The console script `quantduel`: the commands of the command line, and the screen as the default one."""

import gc

COMMANDS = {
    "replay": "Play a kept or exported duel on the screen, without a model.",
    "demo": "Play the duel that comes with QuantDuel: nothing is downloaded.",
    "serve": "The screen in a browser of this machine.",
    "config": "Show or edit your settings file.",
}


def main() -> None:
    """Do what the arguments say."""
    gc.disable()  # imports leave no garbage, and are sooner done where nobody looks for it
    from engine import cli
    from tui.commands.play import play

    gc.freeze()
    gc.enable()
    cli.main(play, {name: cli.Own(words, f"tui.commands.{name}") for name, words in COMMANDS.items()})


if __name__ == "__main__":
    main()
