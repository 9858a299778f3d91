"""The settings dialog with the keyboard alone, on recorded sessions, and what it writes."""

from collections.abc import Callable
from pathlib import Path

import pytest
from textual import events
from textual.widgets import Input, Static

from engine.config import profiles
from engine.config.profile import Profile
from engine.duel.overrides import NOTHING, Overrides
from engine.errors import ProfileError
from tests.tui.conftest import Stager
from tests.tui.replay import Stage, wait_until
from tui.screens.save_profile import SaveProfileDialog
from tui.screens.settings import SettingsDialog
from tui.settings.form import SETTINGS, Form, differences
from tui.widgets.top_bar import TopBar

SMALL = (80, 24)


async def opened(play: Stage) -> SettingsDialog:
    await play.ready()
    await play.pilot.press("ctrl+e")
    await wait_until(lambda: isinstance(play.app.screen, SettingsDialog))
    await play.pilot.pause()
    assert isinstance(play.app.screen, SettingsDialog)
    return play.app.screen


async def test_what_is_typed_holds_for_both_from_the_next_prompt_on(stage: Stager) -> None:
    async with stage(size=SMALL) as play:
        await opened(play)
        await play.pilot.press(*"0.7", "up", *"Be kind", "ctrl+j", *"Be brief")
        await play.pilot.press(
            *["tab"] * 6, *"42", "tab", *"2560", "tab", *'"X"', "tab", "right", "tab", "right", "right"
        )
        await play.pilot.press("enter")
        await wait_until(lambda: play.app.screen is play.duel)
        await play.ask("hi")
        await play.settled()
        for session in play.sessions:
            asked, prompt = session.generations[0], session.how[0]["prompt"]
            assert (asked.temperature, asked.seed, asked.max_new_tokens, asked.stop) == (
                0.7,
                42,
                2560,
                ("X",),
            )
            assert (prompt.system, prompt.thinking) == ("Be kind\nBe brief", "on")
        assert play.duel.bridge.schedule == "concurrent"
        assert "temperature 0.7 · seed 42" in play.duel.query_one(TopBar).render().plain


async def test_what_is_typed_fast_is_taken_whole(stage: Stager) -> None:
    async with stage(size=SMALL) as play:
        await opened(play)
        for key in (*"0.25", *["tab"] * 5, "end", *["backspace"] * 2, *"34", "enter"):
            play.app.post_message(events.Key(key, key if len(key) == 1 else None))
        await wait_until(lambda: play.duel.bridge.duel.generation.temperature == 0.25)
        assert play.duel.bridge.duel.generation.seed == 34


async def test_a_value_that_cannot_be_is_told_and_not_taken(stage: Stager) -> None:
    async with stage(size=SMALL) as play:
        dialog = await opened(play)
        await play.pilot.press(*"x", "enter")
        fault = dialog.query_one("#settings-fault", Static)
        assert "generation.temperature: expected a number, not 'x'" in str(fault.render())
        assert play.app.screen is dialog
        await play.pilot.press("escape")
        assert play.duel.bridge.duel.overrides == NOTHING


async def test_reset_goes_back_to_what_the_profiles_say(stage: Stager) -> None:
    async with stage(size=SMALL) as play:
        await opened(play)
        await play.pilot.press("1", "enter")
        await wait_until(lambda: play.duel.bridge.duel.generation.temperature == 1)
        await opened(play)
        await play.pilot.press("ctrl+r", "enter")
        await wait_until(lambda: play.duel.bridge.duel.overrides == NOTHING)


async def test_saving_writes_a_copy_and_asks_before_it_replaces(
    stage: Stager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.paths.user_profiles", lambda: tmp_path)
    shipped = profiles.available()["smollm2-bf16"]
    before = shipped.read_bytes()
    async with stage(size=SMALL) as play:
        for temperature in ("0.5", "0.9"):
            await opened(play)
            await play.pilot.press(*temperature, "ctrl+s")
            await wait_until(lambda: isinstance(play.app.screen, SaveProfileDialog))
            await play.pilot.pause()
            assert play.app.screen.query_one(Input).value == "smollm2-bf16"
            await play.pilot.press("enter")
            if temperature == "0.9":
                hint = play.app.screen.query_one("#hint", Static)
                assert "exists already" in str(hint.render())
                assert profiles.read(tmp_path / "smollm2-bf16.yaml").generation.temperature == 0.5
                await play.pilot.press("enter")
            await wait_until(lambda: play.app.screen is play.duel)
    assert profiles.read(tmp_path / "smollm2-bf16.yaml").generation.temperature == 0.9
    assert shipped.read_bytes() == before


def pair(make: Callable[..., Profile]) -> tuple[Profile, Profile]:
    model = "model: {source: 'random:tiny'}\n"
    a = make("a", model + "prompt: {system: Be kind}\ngeneration: {seed: 3}")
    return a, make("b", model + "generation: {temperature: 0.5}")


def test_sides_that_differ_are_marked(make_profile: Callable[..., Profile]) -> None:
    form = Form(pair(make_profile), NOTHING)
    marks = {setting.label: form.mark(setting, NOTHING) for setting in SETTINGS}
    assert marks["system prompt"].text == "≠ B: none" and marks["system prompt"].differs
    assert marks["temperature"].text == "≠ B's profile: 0.5" and not marks["temperature"].differs
    assert differences(pair(make_profile), NOTHING) == ["system prompt"]
    assert differences(pair(make_profile), Overrides({"prompt.system": "Both"})) == []


def test_only_what_was_changed_is_chosen(make_profile: Callable[..., Profile]) -> None:
    form = Form(pair(make_profile), NOTHING)
    assert form.chosen(form.shown) == NOTHING
    assert form.chosen({**form.shown, "generation.seed": "4"}).values == {"generation.seed": 4}
    assert form.chosen({**form.shown, "prompt.system": ""}).values == {"prompt.system": None}
    form = Form(pair(make_profile), Overrides({"prompt.system": None}))
    assert form.chosen(form.shown).values == {"prompt.system": None}
    with pytest.raises(ProfileError, match=r"generation\.stop"):
        form.chosen({**form.shown, "generation.stop": '"'})
