"""The screen on real workers of the demo model: killed, reloaded, cancelled."""

import os
import signal
from collections.abc import Callable

from engine.config.profile import Profile
from tests.tui.program import STORY
from tests.tui.replay import Stage, wait_until
from tui.app import QuantDuelApp

TOKENS = 300  # of a story without an end: time enough to act in
PROFILE = f"""
model: {{source: demo}}
quantization: {{method: llama_cpp}}  # its worker needs no torch: no long start
generation: {{max_new_tokens: {TOKENS}}}
"""


async def test_killed_reloaded_cancelled(make_profile: Callable[..., Profile]) -> None:
    app = QuantDuelApp(make_profile("left", PROFILE), make_profile("right", PROFILE))
    async with app.run_test(size=(120, 36)) as pilot:
        play = Stage(app, pilot, [])
        await wait_until(lambda: play.duel._bridge is not None)
        await play.ready()
        await _kill_one_of_two(play)
        await _reload(play)
        await _cancel(play)


async def _kill_one_of_two(play: Stage) -> None:
    left, right = play.duel.sides
    await play.ask(STORY)
    await wait_until(lambda: left.figures and left.figures.metrics.new_tokens > 0, "A has begun")
    os.kill(play.duel.bridge.duel.sessions[0].pid or 0, signal.SIGKILL)
    await play.settled()
    assert (left.state, right.state) == ("failed", "ready")
    assert right.figures is not None and right.figures.metrics.new_tokens == TOKENS
    await wait_until(lambda: "SIGKILL" in play.text(0), "the pane says so")
    assert play.text(0).count("SIGKILL") == 1


async def _reload(play: Stage) -> None:
    await play.pilot.press("ctrl+r")
    await wait_until(lambda: play.duel.sides[0].is_loading)
    await play.ready()
    assert play.duel.sides[0].loaded


async def _cancel(play: Stage) -> None:
    await play.pilot.press("ctrl+l")  # the long answers would fill the context
    await play.ask(STORY)
    await wait_until(lambda: any(side.is_turning for side in play.duel.sides), "asked")
    await wait_until(
        lambda: not all(side.is_turning and not side.figures for side in play.duel.sides), "begun"
    )
    assert any(side.is_turning for side in play.duel.sides), [play.text(0), play.text(1)]
    await play.pilot.press("escape")
    await play.settled()
    states = {side.state for side in play.duel.sides}  # on a fast machine the first may be done already
    assert "cancelled" in states and states <= {"cancelled", "ready"}
    assert all(side.loaded for side in play.duel.sides)
