"""The console script: what happens before the screen opens."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.config.user_config import Config, Defaults
from engine.duel.overrides import Overrides
from engine.errors import InputError
from tests.tui.conftest import Stager
from tests.tui.replay import wait_until
from tui.commands.play import _chosen
from tui.commands.play import play as command
from tui.launch import Launch

ROOT = Path(__file__).parents[2]
TUI = [sys.executable, "-m", "tui"]


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["smollm2-bf61"], "smollm2-bf16"),
        (["smollm2-bf16", "no/such/profile.yaml"], "no/such/profile.yaml"),
        (["random:nothing"], "no shape named"),
        (["--set", "temperature=warm"], "expected a number"),
        (["--seed", "-1"], "generation.seed"),
        (["--schedule", "together"], "'together' is not one of"),
        (["--promt", "hi"], "--prompt"),
        (["serve", "--port", "0", "smollm2-bf61"], "smollm2-bf16"),
        (["serve", "smollm2-bf16", "--port", "x"], "'x' is not a valid integer"),
    ],
)
def test_a_wrong_name_ends_before_the_screen_opens(names: list[str], says: str) -> None:
    result = subprocess.run([*TUI, *names], capture_output=True, text=True, cwd=ROOT, check=False)
    assert result.returncode == 2
    assert says in result.stderr
    assert result.stdout == ""
    assert "\x1b" not in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("theme: nope", ":1: theme: no theme named 'nope'"),
        ("keymap: {duel.setings: f11}", "did you mean duel.settings?"),
        ("defaults: {a: smollm2-bf61}", "smollm2-bf16"),
        ("defaults: {settings: {temprature: 1}}", "did you mean temperature?"),
    ],
)
def test_settings_with_which_no_screen_opens_are_reported(tmp_path: Path, text: str, says: str) -> None:
    (file := tmp_path / "config/config.yaml").parent.mkdir()
    file.write_text(text)
    for asked, code in (("show", 2), ("path", 0)):
        result = subprocess.run(
            [*TUI, "config", asked],
            env=os.environ | {"QUANTDUEL_HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            cwd=ROOT,
            check=False,
        )
        assert (result.returncode, says in result.stderr) == (code, code == 2)


def test_without_a_terminal_the_screen_says_so_and_ends() -> None:
    result = subprocess.run(
        [*TUI, "random:tiny", "random:tiny"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert (result.returncode, result.stdout) == (2, "")
    assert "the screen needs a terminal, and stdin and stdout and stderr are none" in result.stderr


@pytest.mark.parametrize("term", ["dumb", ""])
@pytest.mark.parametrize("piped", [{}, {"stdin": subprocess.DEVNULL}, {"stdout": subprocess.DEVNULL}])
def test_a_terminal_that_cannot_draw_is_refused(term: str, piped: dict[str, int]) -> None:
    master, slave = os.openpty()
    streams = {"stdin": slave, "stdout": slave, "stderr": slave, **piped}
    env = os.environ | {"TERM": "xterm" if piped else term}
    process = subprocess.Popen([*TUI, "random:tiny", "random:tiny"], cwd=ROOT, env=env, **streams)
    assert process.wait(30) == 2
    os.close(slave)
    said = os.read(master, 1 << 12)
    os.close(master)
    assert said.startswith(b"quantduel: the screen needs a terminal")


def test_help_shows_the_screen_and_the_commands() -> None:
    result = subprocess.run([*TUI, "--help"], capture_output=True, text=True, cwd=ROOT, check=True)
    assert "the duel on the screen" in result.stdout
    assert "doctor" in result.stdout


def test_the_first_picture_needs_no_torch_and_no_engine_process() -> None:
    code = "import sys, tui.app; print(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    large = {"torch", "pynvml", "psutil", "markdown_it", "_hashlib", "statistics"}
    late = large | {"engine.session.client", "engine.duel.duel", "tui.duel.bridge"}
    assert not late & set(result.stdout.split())


def test_the_command_line_chooses_what_holds_on_the_screen() -> None:
    words = ["smollm2-nf4", "--seed", "7", "--set", "model.dtype=float32", "--set", "prompt.system=Be brief."]
    config = Config(defaults=Defaults(b="smollm2-nf4", schedule="swap", settings={"top_k": 5, "seed": 1}))
    with command.make_context("quantduel", words) as context:
        options = {key: value for key, value in context.params.items() if key not in {"a", "b"}}
        names = context.params["a"], context.params["b"] or config.defaults.b
        (a, b), launch = _chosen(names, config, options)
    assert launch.schedule == "swap" and launch.overrides.on(a).generation.top_k == 5
    assert (a.name, b.name) == launch.named == ("smollm2-nf4", "smollm2-nf4")
    assert a.model.dtype == "float32" and a.generation.seed == 0
    assert launch.overrides.on(b).generation.seed == 7
    assert launch.overrides.on(b).prompt.system == "Be brief."


async def test_what_was_chosen_is_asked_with(stage: Stager) -> None:
    chosen = Launch(
        overrides=Overrides({"generation.seed": 7, "prompt.system": "Be brief."}),
        schedule="concurrent",
        prompt="Three facts",
    )
    async with stage(launch=chosen) as play:
        await wait_until(lambda: all(session.asked for session in play.sessions))
        await play.settled()
        assert play.sessions[0].asked[0][-1].content == "Three facts"
        assert [session.generations[0].seed for session in play.sessions] == [7, 7]
        assert {session.how[0]["prompt"].system for session in play.sessions} == {"Be brief."}
        assert play.duel.bridge.schedule == "concurrent"


async def test_a_theme_is_chosen_by_name(stage: Stager) -> None:
    async with stage() as play:
        play.app.choose_theme("quantduel-light")
        assert play.app.theme == "quantduel-light"
        with pytest.raises(InputError, match="did you mean nord"):
            play.app.choose_theme("nrod")
