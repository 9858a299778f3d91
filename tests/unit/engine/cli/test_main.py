"""The command group: help, the default command, the error printer and the exit codes."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from engine import cli
from engine.errors import GenerationError, LoadError

CALL = [sys.executable, "-c", "from engine.cli import main; main()"]


@click.command()
@click.argument("sides", nargs=-1)
@click.option("--loud", is_flag=True)
def playing(sides: tuple[str, ...], loud: bool) -> None:
    """Stands for the screens."""
    click.echo(f"play {sides} {loud}")


def test_help_fits_on_a_screen_and_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["--help"]) == 0
    shown = capsys.readouterr().out
    assert len(shown.splitlines()) <= 36
    assert max(map(len, shown.splitlines())) <= 100
    assert all(f"  {command} " in shown for command in cli.COMMANDS)


def walked(
    command: click.Command, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        with click.Context(command) as ctx:
            for name in command.list_commands(ctx):
                found = command.get_command(ctx, name)
                assert found is not None
                yield from walked(found, (*path, name))


def test_lists_of_commands_have_a_whole_line_each(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for path, command in walked(cli.build_group()):
        if isinstance(command, click.Group):
            assert cli.run([*path, "--help"]) == 0
            rows = capsys.readouterr().out.partition("Commands:\n")[2].splitlines()
            assert len(rows) == len(command.list_commands(click.Context(command))), path
            assert not [row for row in rows if row.endswith("...")], path


def test_help_says_if_and_names_every_value() -> None:
    for path, command in walked(cli.build_group()):
        assert not re.search(r"\d where\b", command.help or ""), path
        for param in command.params:
            shown = param.make_metavar(click.Context(command))
            assert not re.search(r"RANGE|INTEGER|FLOAT|\.\.\.", shown), (path, param.name)


@pytest.mark.parametrize("command", [*cli.COMMANDS, "profiles list", "profiles show", "profiles check"])
def test_every_command_has_its_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([*command.split(), "--help"]) == 0
    assert f"Usage: quantduel {command}" in capsys.readouterr().out


def test_the_version_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("quantduel ")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ([], "play () False"),
        (["smollm2-bf16", "smollm2-nf4"], "play ('smollm2-bf16', 'smollm2-nf4') False"),
        (["--loud", "org/duell"], "play ('org/duell',) True"),
        (["random:tiny", "--loud"], "play ('random:tiny',) True"),
        (["no-such-thing"], "play ('no-such-thing',) False"),
    ],
)
def test_what_is_no_command_goes_to_the_default_one(
    args: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(args, playing) == 0
    assert capsys.readouterr().out.strip() == said


def test_help_for_a_command_that_there_is_not_is_not_the_screens(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["chess", "--help"], playing) == 2
    assert capsys.readouterr().err.startswith("quantduel: no command named 'chess'")
    assert cli.run(["smollm2-bf16", "--help"], playing) == 0


@pytest.mark.parametrize("default", [None, playing])
def test_a_misspelt_command_gets_the_nearest_one(
    default: click.Command | None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["duell", "a", "b"], default) == 2
    said = capsys.readouterr().err.splitlines()
    assert said == ["quantduel: no command named 'duell'", "  did you mean the command `duel`?"]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["duel", "a"], "Missing argument 'B'"),
        (["duel", "a", "b", "--bogus"], "No such option"),
        (["duel", "a", "b"], "expected one of -p TEXT and --prompt-file FILE"),
        (["duel", "smollm2-bf16", "smollm2-nf5", "-p", "x"], "no profile named 'smollm2-nf5'"),
        (["duel", "random:tiny", "random:tiny", "-p", " "], "the prompt is empty"),
        (["duel", "random:tiny", "random:tiny", "-p", "x", "--set", "temperature"], "expected KEY=VALUE"),
        (
            ["duel", "random:tiny", "random:tiny", "-p", "x", "--set", "temprature=1"],
            "did you mean temperature?",
        ),
        (["duel", "random:tiny", "random:tiny", "-p", "x", "--max-new-tokens", "0"], "of at least 1, not 0"),
        (["duel", "random:tiny", "random:tiny", "-p", "x", "--seed", "-1"], "of at least 0, not -1"),
        (["duel", "random:tiny", "random:tiny", "--prompt-file", "/none"], "/none: no such file"),
        (["chat", "random:nothing"], "no shape named 'nothing'"),
        (["profiles", "show", "none.yaml"], "none.yaml: no such file"),
    ],
)
def test_bad_input_is_one_clear_line_and_exit_code_2(
    args: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(args) == 2
    out, err = capsys.readouterr()
    assert not out
    assert err.startswith("quantduel: ") and said in err
    assert "Traceback" not in err and len(err.splitlines()) <= 2


@pytest.mark.parametrize(
    ("error", "code"),
    [(LoadError("no model", "try"), 3), (GenerationError("no answer"), 4), (KeyboardInterrupt(), 130)],
)
def test_errors_end_with_their_exit_code(error: BaseException, code: int) -> None:
    @click.command()
    def failing() -> None:
        raise error

    assert cli.run([], failing) == code


def test_a_folder_that_is_gone_is_told_as_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert cli.run([], click.command()(lambda: bool(Path("x").absolute()))) == 2
    assert "the folder that this was started in is gone" in capsys.readouterr().err


def test_untrusted_text_in_an_error_is_shown_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["profiles", "show", "\x1b[31mred"]) == 2
    assert "\x1b" not in capsys.readouterr().err


def test_a_reader_that_leaves_early_is_no_error() -> None:
    listing = subprocess.Popen(
        [*CALL, "profiles", "list"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert listing.stdout and listing.stderr
    listing.stdout.close()
    assert listing.stderr.read() == ""
    listing.stderr.close()
    assert listing.wait() == 0


@pytest.mark.parametrize(
    "args",
    [
        ["bench", "random:tiny", "--out"],
        ["eval", "random:tiny", "random-tiny-nf4", "--out"],
        ["leaderboard", "--export"],
    ],
)
def test_a_file_that_is_there_stays_without_force(
    args: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.csv").write_text("…")
    assert cli.run([*args, str(tmp_path / "thesis.csv")]) == 2
    assert "exists already\n  --force replaces it" in capsys.readouterr().err
    assert (tmp_path / "thesis.csv").read_text() == "…"


def test_force_says_what_it_forces(capsys: pytest.CaptureFixture[str]) -> None:
    for command, said in (("bench", "Overwrite the file"), ("duel", "Load a model even if")):
        cli.run([command, "--help"])
        assert said in capsys.readouterr().out
