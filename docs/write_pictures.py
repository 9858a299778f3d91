"""Writes the pictures of docs/tour.md: `python docs/write_pictures.py`; `--help` tells of sizes and colours.

The real screens on recorded runs, in a home of their own: no model is loaded, nothing of the user's is shown.
"""

import asyncio
import html
import os
import re
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import click  # noqa: E402
from rich.cells import cell_len  # noqa: E402
from textual.widgets import Static  # noqa: E402

from engine import paths  # noqa: E402
from engine.config.profile import Generation  # noqa: E402
from engine.duel.lens import Lens, NoLens  # noqa: E402
from engine.protocol.wire import Event  # noqa: E402
from engine.recordings import playback  # noqa: E402
from engine.recordings.recording import shipped  # noqa: E402
from engine.results import Results  # noqa: E402
from engine.session.client import Session  # noqa: E402
from engine.votes.votes import BlindAnswer, BlindTurn, Verdict  # noqa: E402
from tests.tui.recorded_jobs import RecordedBench, RecordedEvaluation, RecordedExam  # noqa: E402
from tests.tui.replay import Stage, recording, wait_until  # noqa: E402
from tui import theme as themes  # noqa: E402
from tui.app import QuantDuelApp  # noqa: E402
from tui.jobs.bench import BenchJob  # noqa: E402
from tui.jobs.eval import EvalJob  # noqa: E402
from tui.jobs.quantize import QuantizeJob  # noqa: E402
from tui.jobs.test import QuestionsJob  # noqa: E402
from tui.screens.blind import BlindScreen  # noqa: E402
from tui.screens.history import HistoryScreen  # noqa: E402
from tui.screens.leaderboard import LeaderboardScreen  # noqa: E402
from tui.screens.profiles import ProfilePicker  # noqa: E402
from tui.widgets.prompt import Prompt  # noqa: E402
from tui.widgets.run_progress import RunProgress  # noqa: E402
from tui.widgets.setup import Setup  # noqa: E402

HERE = Path(__file__).parent
DEMO = shipped()
QUESTION, PROGRAM = (turn.prompt for turn in DEMO.turns)
VOTES: tuple[tuple[str, str, Verdict], ...] = (
    *[("smollm2-bf16", "smollm2-nf4", "a")] * 6,
    *[("smollm2-bf16", "smollm2-nf4", "b")] * 2,
    *[("smollm2-bf16", "smollm2-int8", "tie")] * 3,
    ("smollm2-bf16", "smollm2-int8", "b"),
    *[("smollm2-int8", "smollm2-nf4", "a")] * 4,
)


class Tour(Stage):
    """The screens, one after the other, and what has to be seen on each."""

    async def see(self, condition: Callable[[], object]) -> None:
        """Wait for it, and for the picture of it."""
        await wait_until(condition)
        await self.pilot.pause()

    async def work(self, key: str, done: str, **settings: str) -> None:
        """A screen of long work, with what its recorded run found."""
        await self.pilot.press(key)
        await self.see(lambda: self.app.screen.query("FigureTable"))
        for name, value in settings.items():
            self.app.screen.query_one(Setup).fill(name, value)
        await self.pilot.pause()
        await self.pilot.press("ctrl+r")
        await self.see(lambda: done in self.app.screen.query_one(RunProgress).render().plain)


async def duel(tour: Tour) -> None:
    """Two answers."""
    await tour.see(lambda: tour.delta)


async def settings(tour: Tour) -> None:
    """What both sides are asked with."""
    await tour.pilot.press("ctrl+e")
    await tour.see(lambda: tour.app.screen.query("#set-generation-temperature"))


async def picker(tour: Tour) -> None:
    """Profiles, and whether they fit."""
    await tour.pilot.press("ctrl+o")
    await tour.see(lambda: isinstance(tour.app.screen, ProfilePicker))
    dialog = tour.app.screen
    assert isinstance(dialog, ProfilePicker)
    await tour.see(lambda: len(dialog._fits) >= len(dialog._entries) > 0)  # read one after the other


async def lens(tour: Tour) -> None:
    """Token by token."""
    await tour.pilot.press("f3")
    await tour.see(lambda: tour.app.screen.query("TopChoices"))


async def bench(tour: Tour) -> None:
    """Speed and memory."""
    names = "random-tiny-bf16 random-tiny-nf4"
    await tour.work("f5", "done: kept", profiles=names, contexts="16,64,4096", steps="8", repeat="2")


async def evaluation(tour: Tour) -> None:
    """Fidelity."""
    await tour.work("f6", "done: kept", profiles="smollm2-bf16 smollm2-nf4 smollm2-int8")


async def quantize(tour: Tour) -> None:
    """A checkpoint, layer by layer."""
    await tour.work("f8", "done: it is in the store", profiles="smollm2-gptq4")


async def test(tour: Tour) -> None:
    """Questions, and both answers."""
    await tour.work("f11", "done: answers", profiles="smollm2-bf16 smollm2-int8 smollm2-nf4", limit="30")
    await tour.pilot.press("ctrl+f", "ctrl+n", "tab", "down")
    await tour.see(lambda: "nf4" in str(tour.app.screen.query_one("#answer-1", Static).render()))


async def blind(tour: Tour) -> None:
    """Answers without names."""
    screen = BlindScreen(tour.duel.bridge, seed=1, pace=1000.0)
    tour.app.push_screen(screen)
    await tour.see(lambda: screen.query(Prompt))
    screen.query_one(Prompt).text = PROGRAM
    await tour.pilot.press("enter")
    await tour.see(lambda: screen.ballot is not None and screen.ballot.is_open)


async def leaderboard(tour: Tour) -> None:
    """What the votes say."""
    for a, b, verdict in VOTES:
        Results().keep_turn(_vote(a, b, verdict))
    await tour.pilot.press("f7")
    await tour.see(lambda: isinstance(tour.app.screen, LeaderboardScreen) and tour.app.screen.board)


async def history(tour: Tour) -> None:
    """Kept duels."""
    await tour.pilot.press("ctrl+l")
    await tour.ask(PROGRAM)
    await tour.settled()
    await tour.pilot.press("f4")
    await tour.see(lambda: isinstance(tour.app.screen, HistoryScreen) and len(tour.app.screen.shown) == 2)


async def help(tour: Tour) -> None:
    """Keys and figures."""
    await tour.pilot.press("f1")
    await tour.see(lambda: tour.app.screen is not tour.duel)


CELL = 12.2  # a character's width in the pictures
UNNEEDED = (
    (r"\s*<clipPath id=\"[^\"]*-line-\d+\">.*?</clipPath>", ""),
    (r" clip-path=\"url\(#[^)]*-line-\d+\)\"", ""),
    (r"<text[^>]*>\n</text>", "\n"),
    (r"terminal-\d+-", ""),
    (r" shape-rendering=\"crispEdges\"", ""),
    (r"&#160;", "\u00a0"),
    (r"(\d\.\d)\d*9{6}\d*", r"\1"),
    (r"\n[ \n]+", "\n"),
)
SCREENS = (duel, settings, picker, lens, bench, evaluation, test, quantize, blind, leaderboard, history, help)


class Quantizer(Session):
    """Tells what a real one told."""

    async def quantize(self, out: str | None = None, *, force: bool = False) -> AsyncIterator[Event]:
        for event in recording("quantize"):
            yield event


def _vote(a: str, b: str, verdict: Verdict) -> BlindTurn:
    names = ("smollm2-bf16", "smollm2-nf4", "smollm2-int8")
    answers = [
        BlindAnswer(profile=name, label=name, names=names, text="…", finish_reason="stop") for name in (a, b)
    ]
    return BlindTurn(
        prompt=QUESTION, generation=Generation(), left=0, answers=(answers[0], answers[1]), verdict=verdict
    )


def _on_recorded() -> None:
    """Long work plays what was recorded."""
    for job, plays in (
        (BenchJob, RecordedBench),
        (EvalJob, RecordedEvaluation),
        (QuantizeJob, Quantizer),
        (QuestionsJob, RecordedExam),
    ):
        job.__init__.__defaults__ = (plays,)  # type: ignore[misc]


@asynccontextmanager
async def opened(size: tuple[int, int], theme: str) -> AsyncIterator[Tour]:
    """The duel's screen after the first prompt of the demo."""
    sides = {session.profile.name: session for session in playback.playbacks(DEMO, playback.Pace(0))}
    app = QuantDuelApp(*DEMO.profiles, lambda wanted: sides[wanted.name])
    app.theme = theme
    async with app.run_test(size=size) as pilot:
        tour = Tour(app, pilot, [])
        await tour.see(lambda: tour.duel._bridge is not None)
        await tour.ready()
        tour.duel.bridge.look = _recorded_lens  # type: ignore[method-assign]
        await tour.ask(QUESTION)
        await tour.settled()
        await tour.see(lambda: tour.delta)
        yield tour


async def _recorded_lens() -> Lens | NoLens:
    return DEMO.turns[0].lens or NoLens(reason="not ready", message="none was recorded")


@contextmanager
def home() -> Iterator[None]:
    """A home without anything of the user's but the models that are here."""
    models = paths.cache()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "cache").symlink_to(models)
        os.environ.update(QUANTDUEL_HOME=folder, TERM="xterm-256color", COLORTERM="truecolor")
        yield


def smaller(svg: str) -> str:
    """The same picture in a third of the bytes: what no viewer needs is left out."""
    for pattern, instead in UNNEEDED:
        svg = re.sub(pattern, instead, svg, flags=re.DOTALL)
    svg = re.sub(r"<rect fill=[^>]*/>(?:\s*<rect fill=[^>]*/>)+", _backgrounds, svg)
    svg = re.sub(r'x="([\d.]+)" (y="[\d.]+") textLength="[\d.]+">([^<]*)<', _text, svg)
    return svg.replace("</style>", "rect { shape-rendering: crispEdges }\n</style>")


def _backgrounds(found: re.Match[str]) -> str:
    """Rectangles of one colour side by side are one; the commonest colour is one below all others."""
    cells = [
        (fill, float(x), float(y), float(width))
        for fill, x, y, width in re.findall(r'fill="(.*?)" x="(.*?)" y="(.*?)" width="(.*?)"', found[0])
    ]
    areas: Counter[str] = Counter()
    for fill, _, _, width in cells:
        areas[fill] += round(width)
    common = areas.most_common(1)[0][0]
    parts = [f'<rect fill="{common}" width="100%" height="100%"/>']
    for (fill, y), row in groupby(cells, lambda cell: (cell[0], cell[2])):
        run = list(row)
        if fill != common:
            width = run[-1][1] + run[-1][3] - run[0][1]
            parts.append(
                f'<rect fill="{fill}" x="{run[0][1]:g}" y="{y:g}" width="{width:g}" height="24.65"/>'
            )
    return "\n".join(parts)


def _text(found: re.Match[str]) -> str:
    """Without spaces at its ends, which some viewers leave out."""
    x, y, text = float(found[1]), found[2], found[3]
    bare = text.strip(" \u00a0")
    x += CELL * (len(text) - len(text.lstrip(" \u00a0")))
    width = CELL * cell_len(html.unescape(bare))
    return f'x="{x:g}" {y} textLength="{width:g}">{bare}<'


async def write(folder: Path, size: tuple[int, int], theme: str, names: Sequence[str]) -> None:
    """Every screen's picture."""
    _on_recorded()
    for lead in SCREENS:
        if names and lead.__name__ not in names:
            continue
        with home():
            async with opened(size, theme) as tour:
                await lead(tour)
                picture = smaller(tour.app.export_screenshot(title="quantduel"))
        (folder / f"{lead.__name__}.svg").write_text(picture)


@click.command()
@click.argument("names", nargs=-1)
@click.option("--folder", type=click.Path(path_type=Path), default=HERE / "pictures", show_default=True)
@click.option("--size", default="100x30", show_default=True)
@click.option("--theme", default=themes.DARK.name, show_default=True)
def main(names: tuple[str, ...], folder: Path, size: str, theme: str) -> None:
    """Write the pictures of these screens, or of all."""
    columns, rows = map(int, size.split("x"))
    folder.mkdir(parents=True, exist_ok=True)
    asyncio.run(write(folder, (columns, rows), theme, names))


if __name__ == "__main__":
    main()
