"""The devices' line, and what a long load tells, on recorded sessions."""

import pytest

from engine.config.user_config import Alerts, Config
from engine.machine import vitals
from tests.tui.conftest import Stager
from tests.tui.replay import wait_until
from tui.launch import Launch
from tui.widgets import vitals as widget
from tui.widgets.vitals import Vitals


async def test_every_device_is_in_the_line(stage: Stager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(widget, "EVERY_S", 0.01)
    monkeypatch.setattr(vitals, "lines", lambda: ["cuda:0 H100  87 %", "cuda:1 H100  2 %"])
    async with stage(size=(80, 24)) as play:
        line = play.duel.query_one(Vitals)
        await wait_until(lambda: "cuda:0 H100  87 %  ·  cuda:1 H100  2 %" in str(line.render()))
        assert line.region.height == 1


async def test_a_load_and_a_turn_are_told(stage: Stager, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    config = Config(alerts=Alerts(after_s=0, bell=False, title=False))
    async with stage(launch=Launch(config=config), a={"load_hold": 3}) as play:
        monkeypatch.setattr(play.app.alerts, "_write", told.append)
        play.sessions[0].go.set()
        await wait_until(lambda: told == ["\x1b]9;QuantDuel: loaded\x07"])
        await play.ask("hi")
        await play.settled()
        await wait_until(lambda: told[1:] == ["\x1b]9;QuantDuel: both have answered\x07"])
