"""Names of keys, keys of the user's own, and help that is made of the bindings themselves."""

from pathlib import Path

import pytest

from engine.config import profiles, strict_yaml
from engine.config.user_config import TEMPLATE, Config
from engine.errors import ProfileError
from tests.tui.conftest import Stager
from tests.tui.replay import wait_until
from tui.app import QuantDuelApp
from tui.commands.play import _chosen, play
from tui.duel.keys import KEYS
from tui.launch import Chosen, Launch
from tui.output.driver import LowBandwidthDriver
from tui.screens import key_names
from tui.screens.help import HelpScreen
from tui.screens.settings import SettingsDialog
from tui.widgets.key_bar import KeyBar


def test_every_screen_s_keys_have_names_of_their_own() -> None:
    names = [name for page in key_names._pages() for name in key_names.keys(page)]
    assert {"duel.settings", "duel.bench", "blind.vote-left", "lens.divergence"} <= set(names)
    assert len(names) == len(set(names))
    key_names.check({"duel.settings": "ctrl+y"}, Path("none.yaml"))
    (example,) = (line for line in TEMPLATE.splitlines() if line.startswith("# keymap:"))
    key_names.check(strict_yaml.value(example.partition(":")[2]), Path("none.yaml"))  # type: ignore[arg-type]


def test_a_wrong_name_is_told_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("keymap:\n  duel.piick: f9\n")
    with pytest.raises(ProfileError, match=r":2: keymap.duel.piick: no .*did you mean duel.pick"):
        key_names.check({"duel.piick": "f9"}, file)


@pytest.mark.parametrize(
    ("keymap", "says"),
    [
        ({"duel.settings": "f9"}, "f9 is duel.turn's key"),
        ({"duel.settings": "ctrl+y", "duel.pick": "ctrl+y"}, r"ctrl\+y is duel.settings's key"),
        ({"duel.settings": "ctl+y"}, "'ctl\\+y' is no key"),
        ({"duel.settings": "strg"}, "'strg' is no key"),
    ],
)
def test_a_key_that_cannot_be_is_refused(keymap: dict[str, str], says: str) -> None:
    with pytest.raises(ProfileError, match=says):
        key_names.check(keymap, Path("none.yaml"))


def test_two_commands_can_change_their_keys() -> None:
    key_names.check({"duel.settings": "f9", "duel.turn": "ctrl+e,ctrl+y"}, Path("none.yaml"))


async def test_a_key_of_the_users_own_does_it_and_is_shown(stage: Stager) -> None:
    chosen = Launch(config=Config(keymap={"duel.settings": "ctrl+y"}))
    async with stage(launch=chosen) as play:
        play.app.configure("")
        await play.ready()
        await play.pilot.press("ctrl+y")
        await wait_until(lambda: isinstance(play.app.screen, SettingsDialog))
        await play.pilot.press("escape", "f1")
        await wait_until(lambda: isinstance(play.app.screen, HelpScreen))
        keys = {key.name: key.keys for key in play.app.screen._keys}
        assert keys["duel.settings"] == "^y"
        assert {binding.id for binding in play.duel.BINDINGS} <= set(keys)


async def test_the_footer_has_every_key_of_the_duel(stage: Stager) -> None:
    async with stage(size=(80, 24)) as play:
        await play.ready()
        await play.pilot.pause()
        bar = play.duel.query_one(KeyBar)
        await wait_until(lambda: len(bar.query("FooterKey")) == len([key for key in KEYS if key.show]))
        assert [str(key.description) for key in bar.query("FooterKey") if key.region.right > 80] == []


async def test_what_is_chosen_on_the_screen_is_kept(stage: Stager) -> None:
    kept: dict[str, object] = {}
    async with stage(launch=Launch(keep=kept.__setitem__)) as play:
        await play.ready()
        assert kept == {}
        play.app.theme = "nord"
        await play.pilot.press("ctrl+t")
        await wait_until(lambda: kept == {"theme": "nord", "defaults.schedule": "concurrent"})
        assert any("at the next start" in note.message for note in play.app._notifications)
        play.app.post_message(Chosen("theme", "gruvbox"))
        await wait_until(lambda: kept["theme"] == "gruvbox")


@pytest.mark.parametrize(("asked", "configured"), [(True, False), (False, True)])
def test_a_slow_line_is_the_command_lines_or_the_files(asked: bool, configured: bool) -> None:
    options = play.make_context("play", ["--low-bandwidth"] * asked).params
    _, launch = _chosen(("random:tiny", "random:tiny"), Config(low_bandwidth=configured), options)  # type: ignore[arg-type]
    app = QuantDuelApp(*[profiles.find("random:tiny")] * 2, launch=launch)
    assert app.animation_level == "none"
    assert app.get_driver_class() is LowBandwidthDriver
