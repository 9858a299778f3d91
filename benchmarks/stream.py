"""What the screen costs the models: `python benchmarks/stream.py [A] [B]`.

Two workers answer the same prompt in turn, first for nobody (a headless duel) and then for the Textual app
that streams both answers, round after round with the order changing. Speeds are the workers' own stamps.
Printed is decode tok/s with the screen over headless, for each side: medians over rounds, and the range. The
app runs on Textual's headless driver at 120×36: all is laid out and rendered, nothing reaches a terminal.
"""

import argparse
import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from statistics import median

from textual.pilot import Pilot

from engine.config import profiles
from engine.config.profile import Generation
from engine.duel.duel import Duel
from engine.session.client import Session
from tui.app import QuantDuelApp
from tui.widgets.prompt import Prompt

QUESTION = "Write a long story about a lighthouse keeper and the sea."
SIZE = (120, 36)
TIMEOUT_S = 600.0


async def until(condition: Callable[[], bool]) -> None:
    """Wait, without keeping a core busy."""
    async with asyncio.timeout(TIMEOUT_S):
        while not condition():  # noqa: ASYNC110 - it looks at widgets, which have no event for this
            await asyncio.sleep(0.05)


def speeds(duel: Duel) -> list[float]:
    """Decode tok/s of both sides."""
    return [duel.answers[side].metrics.decode_tok_s or 0.0 for side in (0, 1)]


async def headless(app: QuantDuelApp, settings: Generation) -> list[float]:
    """Both sessions answer, and nobody looks."""
    duel = Duel(app.duel_screen.bridge.duel.sessions)
    async with aclosing(duel.ask(QUESTION, settings)) as events:
        async for _ in events:
            pass
    return speeds(duel)


async def on_screen(app: QuantDuelApp, pilot: Pilot[None]) -> list[float]:
    """The user asks, and the app shows both answers."""
    screen = app.duel_screen
    await pilot.press("ctrl+l")
    screen.query_one(Prompt).text = QUESTION
    await pilot.press("enter")
    await until(lambda: screen.bridge.answering or any(side.is_turning for side in screen.sides))
    await until(lambda: not screen.bridge.answering and not any(side.is_turning for side in screen.sides))
    return speeds(screen.bridge.duel)


async def race(
    names: list[str], rounds: int, steps: int, threads: int
) -> list[tuple[list[float], list[float]]]:
    """Speeds of each round: headless and on the screen."""
    a, b = (profiles.changed(profiles.find(name), {"max_new_tokens": steps}) for name in names)
    app = QuantDuelApp(a, b, lambda wanted: Session(wanted, threads=threads))
    found = []
    async with app.run_test(size=SIZE) as pilot:
        await until(lambda: app.duel_screen._bridge is not None)
        await until(lambda: all(session.ready for session in app.duel_screen.bridge.duel.sessions))
        ways: list[Callable[[], Awaitable[list[float]]]] = [
            lambda: headless(app, a.generation),
            lambda: on_screen(app, pilot),
        ]
        for number in range(rounds + 1):
            order = (0, 1) if number % 2 == 0 else (1, 0)
            result = {way: await ways[way]() for way in order}
            found.append((result[0], result[1]))
    return found[1:]  # the first one warms up


def report(names: list[str], rounds: list[tuple[list[float], list[float]]]) -> None:
    """A line for each side."""
    for side, name in enumerate(names):
        plain, shown = ([speeds[side] for speeds in way] for way in zip(*rounds, strict=True))
        ratios = [ours / theirs for theirs, ours in zip(plain, shown, strict=True)]
        print(
            f"{name:14} headless {median(plain):5.1f} tok/s, with the screen {median(shown):5.1f} tok/s"
            f"  × {median(ratios):.3f} ({min(ratios):.3f}–{max(ratios):.3f})"
        )


def main() -> None:
    """Race two profiles."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("profiles", nargs="*", default=["smollm2-bf16", "smollm2-nf4"])
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--steps", type=int, default=96)
    options.add_argument("--threads", type=int, default=1)
    chosen = options.parse_args()
    report(
        chosen.profiles,
        asyncio.run(race(chosen.profiles, chosen.rounds, chosen.steps, chosen.threads)),
    )


if __name__ == "__main__":
    main()
