"""The sets that come along, and what a user means by a set."""

import json
import runpy
from pathlib import Path

import pytest

from engine.errors import InputError
from engine.testing import items, sets

ROOT = Path(__file__).parents[4]
SCRIPT = runpy.run_path(str(ROOT / "docs/write_sets.py"))


@pytest.mark.parametrize("name", sets.SHIPPED)
def test_a_set_is_what_its_script_writes(name: str) -> None:
    file = sets.FOLDER / f"{name}.jsonl"
    assert file.read_text(encoding="utf-8") == SCRIPT["text"](name), "python docs/write_sets.py"
    found = items.read(file)
    assert 60 <= len(found) <= 100
    assert len({item.prompt for item in found}) == len(found)


def test_a_right_sum_counts_however_it_is_said() -> None:
    asked = items.read(sets.FOLDER / "arithmetic.jsonl")
    rows = [json.loads(line) for line in (sets.FOLDER / "arithmetic.jsonl").read_text().splitlines()]
    sums = [(item, row["expected"]) for item, row in zip(asked, rows, strict=True) if "regex" in row]
    assert len(sums) == 60
    from engine.testing.checks import of_text

    for item, number in sums:
        for answer in (
            number,
            f"The answer is {number}.",
            f"1 + 1 = {number}",
            f"**{number}**\n",
            f"{number}.0",
        ):
            assert of_text(item, answer).right, (item.prompt, answer)
        for answer in (f"1{number}", f"{number}7", f"{number}.5", f"{number} or 1000", ""):
            assert not of_text(item, answer).right, (item.prompt, answer)


def test_a_set_is_meant_by_its_name_or_its_file(tmp_path: Path) -> None:
    whole, part = sets.find("arithmetic"), sets.find("arithmetic", 7)
    assert len(part.questions) == 7 and part.sha256 == whole.sha256 and whole.name == "arithmetic"
    (file := tmp_path / "own.jsonl").write_text('{"prompt": "a", "exact": "b"}\n')
    assert sets.find(str(file)).name == "own"
    with pytest.raises(InputError, match="did you mean arithmetic"):
        sets.find("arithmetics")
    with pytest.raises(InputError, match="no such file"):
        sets.find(str(tmp_path / "none.jsonl"))
