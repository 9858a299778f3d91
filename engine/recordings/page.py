"""A recording as one HTML page that needs nothing else: no script, no picture, no address to ask.

What a model wrote is text in it, as it was written; the page's own policy forbids whatever might get through.
"""

from collections.abc import Sequence
from pathlib import Path

from engine import html
from engine.definitions import DEFINITIONS
from engine.duel.answer import Answer
from engine.duel.duel import Duel
from engine.duel.lens import Lens, Reading, Token, View
from engine.duel.lens_text import HEAT_STEPS, HOTTEST_NATS, heat_step
from engine.duel.lens_text import lines as lens_lines
from engine.duel.sides import LETTERS
from engine.duel.text import Ratio
from engine.html import Child, Html, element, joined
from engine.recordings.figures import (
    Figure,
    against_names,
    comparison_lines,
    divergence_offset,
    facts,
    figures,
    remarks,
)
from engine.recordings.rebuilt import rebuilt
from engine.recordings.recording import RecordedTurn, Recording
from engine.units import MISSING, time_text

MORE_SIDES = Path(__file__).with_name("more_sides.css")
MARK = "◆"
TOP_SHOWN = 3


def page(recording: Recording) -> str:
    """The whole duel."""
    title, duels = recording.title or "A duel", rebuilt(recording)
    parts = (_head(recording, title), *_turns(recording, duels), _models(duels), _definitions())
    return html.page(title, *parts, style=_colours(len(recording.profiles)))


def _colours(sides: int) -> str:
    """The style of sides after B; every page has that of A and B."""
    return MORE_SIDES.read_text(encoding="utf-8") if sides > 2 else ""


def _head(recording: Recording, title: str) -> Html:
    a, *others = (
        element("span", profile.name, class_=f"{letter.lower()} name")
        for letter, profile in zip(LETTERS, recording.profiles, strict=False)
    )
    listed = [part for name in others for part in (", ", name)][1:]
    sides = joined(*listed, " against ", a) if len(others) > 1 else joined(a, " against ", *others)
    when = time_text(recording.created, with_zone=True)
    brand = element(
        "p", element("b", "quantduel"), f"  a recording of {when}" if when else "", class_="brand"
    )
    return element("header", brand, element("h1", title), element("p", sides, class_="sides"))


def _turns(recording: Recording, duels: Sequence[Duel]) -> list[Html]:
    histories = [_history(side, recording) for side, said in enumerate(recording.histories) if said]
    numbers = range(1, len(duels) + 1)
    turns = [_turn(*each) for each in zip(numbers, recording.turns, duels, strict=True)]
    return [*histories, *turns]


def _history(side: int, recording: Recording) -> Html:
    said = [
        element("div", element("b", message.role), element("div", message.content, class_="text"))
        for message in recording.histories[side]
    ]
    summary = element("summary", f"Earlier messages of {LETTERS[side]}")
    return element("details", summary, *said, class_="card")


def _turn(number: int, turn: RecordedTurn, duel: Duel) -> Html:
    after = "" if turn.after in {None, number - 2} else f" after turn {(turn.after or 0) + 1}"
    return element(
        "section",
        element("h2", f"{number}{after}"),
        element("div", turn.prompt, class_="prompt text"),
        element("div", *(_answer(duel, side) for side in range(len(duel.sessions))), class_="sides"),
        _comparison(duel),
        element("div", _table("figure", figures(duel), duel, against_names(duel)), class_="card"),
        _lens(turn.lens),
    )


def _answer(duel: Duel, side: int) -> Html:
    answer, letter = duel.answers.get(side), LETTERS[side].lower()
    info = answer.info if answer else None
    label = info.label if info else duel.sessions[side].profile.label
    device = f"{info.device_name} ({info.place})" if info else ""
    heading = element(
        "h3",
        element("span", LETTERS[side], class_="letter"),
        element("span", duel.sessions[side].profile.name, class_="name"),
        element("span", label, class_="badge"),
        element("span", device, class_="device"),
    )
    notes = [element("p", text, class_="note") for text in remarks(answer)]
    return element("article", heading, _words(duel, side, answer), *notes, class_=f"card {letter}")


def _words(duel: Duel, side: int, answer: Answer | None) -> Html:
    """The answer; from the mark on it is not what the other one says."""
    text = answer.text if answer else ""
    offset = divergence_offset(duel, side)
    parts: list[Child] = [text]
    if offset is not None:
        mark = element("span", MARK, class_="mark", title="from here on the answers diverge")
        parts = [text[:offset], element("span", mark, text[offset:], class_="after")]
    return element("div", *parts, class_="text")


def _comparison(duel: Duel) -> Html:
    lines = [element("p", line) for line in comparison_lines(duel)]
    return element("div", *lines, class_="comparison") if lines else Html("")


def _table(what: str, rows: list[Figure], duel: Duel, against: Sequence[str] = ()) -> Html:
    heads = [element("th", text) for text in (what, *LETTERS[:2])]
    heads += [element("th", text, class_=text.lower()) for text in LETTERS[2 : len(duel.sessions)]]
    heads += [element("th", text) for text in against]
    body = [_row(figure) for figure in rows]
    return element("table", element("thead", element("tr", *heads)), element("tbody", *body))


def _row(figure: Figure) -> Html:
    texts = (element("td", text) for text in figure.texts)
    return element("tr", element("th", figure.name), *texts, *map(_ratio, figure.against))


def _ratio(ratio: Ratio | None) -> Html:
    better = {True: "better", False: "worse", None: ""}[ratio.is_better if ratio else None]
    return element("td", ratio.words if ratio else "", class_=better)


def _lens(lens: Lens | None) -> Html:
    if lens is None:
        return Html("")
    lines = [element("p", line) for line in lens_lines(lens)]
    maps = [_heat_map(reading, lens) for reading in lens.readings]
    scale = joined(
        "surprise of the other model  0 ",
        *(element("span", " ", class_=f"h{step} swatch") for step in range(HEAT_STEPS)),
        f" {HOTTEST_NATS:g} nats and more; a dotted line: the models' first choices differ",
    )
    return element(
        "details",
        element("summary", "Heat map: both models' view of every token"),
        *lines,
        element("div", *maps, class_="sides"),
        element("p", scale, class_="scale"),
        class_="card",
        open="open",
    )


def _heat_map(reading: Reading, lens: Lens) -> Html:
    diverges_at = lens.verdict.index if lens.verdict else None
    tokens = [_token(token, reading, lens, token.index == diverges_at) for token in reading.tokens]
    letter = LETTERS[reading.side]
    return element(
        "div",
        element("h4", f"{letter}'s answer"),
        element("div", *tokens, class_="text"),
        class_=letter.lower(),
    )


def _token(token: Token, reading: Reading, lens: Lens, diverges: bool) -> Html:
    step = heat_step(-token.views[reading.reader].log_prob)
    classes = [f"h{step}" if step else "", "differs" if token.differs else "", "diverges" if diverges else ""]
    views = [f"{letter}: {_view(view)}" for letter, view in zip(lens.letters, token.views, strict=True)]
    title = f"token {token.index + 1}\n" + "\n".join(views) + f"\nKLD {token.kld:.3g} nats"
    return element("span", token.text or "·", class_=" ".join(filter(None, classes)), title=title)


def _view(view: View) -> str:
    top = ", ".join(f"“{choice.text}” {choice.probability:.0%}" for choice in view.top[:TOP_SHOWN])
    return f"surprise {-view.log_prob:.3g} nats; {top}"


def _models(duels: Sequence[Duel]) -> Html:
    if not duels:
        return Html("")
    heading = element("h2", "Models, machine and versions")
    return element("section", heading, element("div", _table("", facts(duels[-1]), duels[-1]), class_="card"))


def _definitions() -> Html:
    rows = [joined(element("dt", name), element("dd", meaning)) for name, meaning in DEFINITIONS]
    heading = element("h2", "Definitions")
    made = element("footer", f"made by QuantDuel; {MISSING} is what was not measured")
    return joined(element("section", heading, element("dl", *rows, class_="card")), made)
