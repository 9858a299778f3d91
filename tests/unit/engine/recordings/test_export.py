"""A recording as a page, as Markdown and as JSON: all of it is there, and nothing in it acts."""

import shutil
import subprocess
from collections.abc import Awaitable, Callable
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from engine import input_files
from engine.config.profile import Model, Profile
from engine.definitions import DEFINITIONS
from engine.duel.duel import Duel
from engine.duel.lens import Lens
from engine.errors import FileError, InputError
from engine.protocol.answers import Decoded, Message
from engine.protocol.loading import Loaded
from engine.recordings import export, recording
from engine.recordings.document import json_text
from engine.recordings.markdown import markdown
from engine.recordings.page import page
from engine.recordings.recording import Recording

Keep = Callable[..., Awaitable[Recording]]
LENS = Path(__file__).parents[3] / "recordings" / "lens.json"
EVIL = (
    '</div></textarea><script>fetch("http://x.example")</script><img src=x onerror=alert(1)>'
    '<a href="javascript:alert(1)">a</a> [b](javascript:alert(1)) ![c](http://x.example/i.png) '
    '"\' onmouseover="alert(1) &lt;script&gt; ```\n````\n<svg/onload=alert(1)> '
    "\u202e\x1b[2J</style><base href=//x>"
)
ELEMENTS = {
    *("html", "head", "meta", "title", "style", "body", "main", "header", "footer", "section", "article"),
    *("div", "span", "p", "b", "h1", "h2", "h3", "h4", "dl", "dt", "dd", "details", "summary"),
    *("table", "thead", "tbody", "tr", "th", "td"),
}
ATTRIBUTES = {"class", "title", "lang", "open", "charset", "name", "content", "http-equiv"}


class Seen(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
async def kept(recorded: Callable[..., Duel], keep: Keep) -> Recording:
    """Two turns, the first one with a lens."""
    found = await keep(recorded(turns=2), "Name three facts about Paris", "more")
    lens = msgspec.json.decode(LENS.read_bytes(), type=Lens)
    return replace(found, turns=(replace(found.turns[0], lens=lens), found.turns[1]))


def _evil(kept: Recording) -> Recording:
    """The same with something evil wherever a stranger has a say."""
    turn, later = kept.turns
    assert turn.lens
    info = next(event for _, event in turn.events if isinstance(event, Loaded)).info
    info = replace(info, label=EVIL, device_name=EVIL, notes=(EVIL,), versions={EVIL: EVIL}, kernel=EVIL)
    events = tuple(
        (side, replace(event, text=EVIL))
        if isinstance(event, Decoded)
        else (side, replace(event, info=info) if isinstance(event, Loaded) else event)
        for side, event in turn.events
    )
    readings = tuple(
        replace(reading, tokens=tuple(replace(token, text=EVIL) for token in reading.tokens))
        for reading in turn.lens.readings
    )
    profile = Profile(name=EVIL, description=EVIL, model=Model(source="demo"))
    turn = replace(
        turn, prompt=EVIL, events=events, lens=replace(turn.lens, readings=readings, notes=(EVIL,))
    )
    both, said = (profile, profile), (Message("user", EVIL),)
    return replace(kept, title=EVIL[:200], profiles=both, turns=(turn, later), histories=(said, said))


def test_a_page_has_all_of_it(kept: Recording) -> None:
    seen = Seen(page(kept))
    for text in (
        "Name three facts about Paris",
        "smollm2-nf4",
        "AMD",
        "torch",
        "decode",
        "×",
        "◆",
        "same input",
    ):
        assert text in seen.text
    assert all(name in seen.text and meaning in seen.text for name, meaning in DEFINITIONS)
    assert "Heat map" in seen.text and "nats" in seen.text and seen.text.count("B against A") == 2


def test_nothing_that_was_said_is_markup(kept: Recording) -> None:
    text = page(_evil(kept))
    seen = Seen(text)
    assert seen.elements <= ELEMENTS and seen.attributes <= ATTRIBUTES
    assert '<script>fetch("http://x.example")</script>' in seen.text  # shown, as it was written
    assert "\x1b" not in text and "\u202e" not in text
    assert "default-src 'none'" in text and "url(" not in text and "@import" not in text


def test_a_page_asks_for_nothing_in_a_browser(kept: Recording, tmp_path: Path) -> None:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("needs Chromium")
    (file := tmp_path / "evil.html").write_text(page(_evil(kept)), encoding="utf-8")
    options = ("--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}")
    shown = subprocess.run(
        [chromium, *options, "--dump-dom", file.as_uri()],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    seen = Seen(shown)
    assert seen.elements <= ELEMENTS and seen.attributes <= ATTRIBUTES and "B against A" in seen.text


def test_markdown_has_all_of_it_and_its_fences_hold(kept: Recording) -> None:
    text = markdown(kept)
    for part in (
        "# Name three facts about Paris",
        "### A: smollm2-bf16 (bf16)",
        "| decode |",
        "◆",
        "- **TTFT**",
    ):
        assert part in text
    evil = markdown(_evil(kept))
    inside = [line for line in _outside_fences(evil) if "<script" in line.replace("\\<script", "")]
    assert not inside and "\x1b" not in evil


def _outside_fences(text: str) -> list[str]:
    fence, lines = "", []
    for line in text.split("\n"):
        if fence:
            fence = "" if line == fence else fence
        elif line.startswith("```"):
            fence = line.removesuffix("text")
        else:
            lines.append(line)
    return lines


def test_json_is_read_again(kept: Recording, tmp_path: Path) -> None:
    for number, said in enumerate((kept, _evil(kept))):
        export.export(said, file := tmp_path / f"{number}.json")
        again = recording.read(file)
        assert (again.turns, again.profiles, again.title) == (said.turns, said.profiles, said.title)
        assert "\\u001b" in file.read_text() or number == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (b"", "is not a recording"),
        (b"[" * 100_000, "is not a recording"),
        (b'{"format": "other"}', "`quantduel history export ID duel.json` writes one"),
        (b'{"format": "quantduel recording", "version": 2}', "newer QuantDuel"),
        (b'{"format": "quantduel recording", "version": 1}', "missing required field `profiles`"),
        (("first_is_left", b'"ns":'), "is not a recording"),
    ],
)
def test_what_is_no_recording_is_reported_in_a_line(
    kept: Recording, tmp_path: Path, change: bytes | tuple[str, bytes], said: str
) -> None:
    file = tmp_path / "duel.json"
    file.write_bytes(
        change if isinstance(change, bytes) else json_text(kept).encode().replace(change[1], b'"ns":-', 1)
    )
    with pytest.raises(FileError) as caught:
        recording.read(file)
    assert said in str(caught.value) and "\n" not in str(caught.value) and str(file) in str(caught.value)


def test_a_recording_that_could_not_have_happened_is_refused(kept: Recording, tmp_path: Path) -> None:
    turn, later = kept.turns
    assert turn.lens and turn.lens.verdict
    tokens = [event for event in turn.events if isinstance(event[1], Decoded)]
    far = replace(turn.lens, verdict=replace(turn.lens.verdict, index=10**6))
    for bad in (
        replace(turn, events=(*turn.events, tokens[0])),
        replace(turn, lens=far),
        replace(turn, after=0),
    ):
        fields = msgspec.json.decode(json_text(kept)) | {"turns": msgspec.to_builtins((bad, later))}
        (file := tmp_path / "bad.json").write_bytes(msgspec.json.encode(fields))
        with pytest.raises(FileError, match="is not a recording"):
            recording.read(file)


def test_a_recording_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "MOST_BYTES", input_files.MIB)
    (file := tmp_path / "large.json").write_bytes(b" " * (input_files.MIB + 1))
    with pytest.raises(FileError, match="larger than 1 MiB"):
        recording.read(file)


def test_a_name_says_the_format(kept: Recording, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"ends in \.html, \.md, \.json"):
        export.export(kept, tmp_path / "duel.pdf")
