"""The pictures of the tour: drawn by their script, and each of them shown."""

import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

DOCS = Path(__file__).parents[2] / "docs"


def test_the_script_draws_the_real_screen(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, DOCS / "write_pictures.py", "duel", "--folder", tmp_path, "--size", "90x30"],
        check=True,
        capture_output=True,
    )
    (picture,) = tmp_path.iterdir()
    text = "".join(ElementTree.parse(picture).getroot().itertext())
    assert "smollm2-bf16" in text and "Paris" in text and "tok/s" in text
    assert picture.stat().st_size < 40_000


def test_the_tour_shows_every_picture() -> None:
    shown = re.findall(r"\]\(pictures/([\w-]+\.svg)\)", (DOCS / "tour.md").read_text())
    assert sorted(shown) == sorted(file.name for file in (DOCS / "pictures").iterdir())
