"""`quantduel completion`: what a shell needs to complete commands, options and the names of profiles."""

import click
from click import shell_completion

from engine.cli import terminal
from engine.errors import ExitCode

VARIABLE = "_QUANTDUEL_COMPLETE"  # by which the script asks: engine.paths reads it
PLACES = {
    "bash": "echo 'eval \"$(quantduel completion bash)\"' >> ~/.bashrc",
    "zsh": "echo 'eval \"$(quantduel completion zsh)\"' >> ~/.zshrc",
    "fish": "quantduel completion fish > ~/.config/fish/completions/quantduel.fish",
}


@click.command(short_help="Print shell completion for bash, zsh or fish.")
@click.argument("shell", type=click.Choice(list(PLACES)))
def completion(shell: str) -> ExitCode:
    """Print the script that completes commands, options and profiles in SHELL.

    \b
      echo 'eval "$(quantduel completion bash)"' >> ~/.bashrc
      echo 'eval "$(quantduel completion zsh)"' >> ~/.zshrc
      quantduel completion fish > ~/.config/fish/completions/quantduel.fish
    """
    kind = shell_completion.get_completion_class(shell)
    if kind is not None:
        terminal.data(kind(click.Group("quantduel"), {}, "quantduel", VARIABLE).source())
    return ExitCode.DONE
