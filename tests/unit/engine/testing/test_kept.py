"""What is kept of a test, and when it does not count."""

from collections.abc import Callable
from pathlib import Path

import pytest

from engine.config import profiles
from engine.config.profile import Profile
from engine.testing.items import Item
from engine.testing.kept import Kept, run_key
from engine.testing.questions import of_items
from tests.unit.engine.testing.samples import answers, questions


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path / "data" / "tested.sqlite3")


def test_answers_are_found_again_by_the_same_question_and_profile(kept: Kept) -> None:
    model = profiles.find("random-tiny-bf16")
    first = kept.open(questions(), model, 8)
    assert first.answers == {} and first.note == ""
    given = answers("rw")
    for id, answer in given.items():
        kept.keep(first.run, id, answer)
    assert kept.open(questions(), model, 8).answers == given
    assert kept.open(questions(), model, 8, again=True).answers == {}
    assert kept.open(questions(), model, 8).answers == {}, "the newest run counts"


def test_a_changed_set_or_profile_starts_anew_and_says_so(kept: Kept) -> None:
    model = profiles.find("random-tiny-bf16")
    run = kept.open(questions(), model, 8).run
    for id, answer in answers("rwr").items():
        kept.keep(run, id, answer)
    changed = of_items("mine", [Item(id="q0", prompt="another", exact="1")])
    found = kept.open(changed, model, 8)
    assert found.answers == {} and "questions of mine have changed: its earlier answers (3)" in found.note
    found = kept.open(questions(), profiles.changed(model, {"prompt.system": "Be brief."}), 8)
    assert (
        found.answers == {}
        and "its profile, or what it is tested with, has changed: its earlier answers (3)" in found.note
    )
    assert kept.open(questions(), model, 9).answers == {}
    assert len(kept.open(questions(), model, 8).answers) == 3


def test_sampling_and_descriptions_make_no_other_model_and_files_do(
    tmp_path: Path, make_profile: Callable[..., Profile]
) -> None:
    model = profiles.find("random-tiny-bf16")
    key = run_key(questions(), model, 8)
    assert run_key(questions(), profiles.changed(model, {"generation.temperature": 1.0}), 8) == key
    folder = tmp_path / "model"
    folder.mkdir()
    (weights := folder / "model.safetensors").write_bytes(b"1")
    served = make_profile("served", f"model: {{source: {folder}}}\nserve: {{environment: vllm}}")
    local = make_profile("local", f"model: {{source: {folder}}}")
    assert run_key(questions(), served, 8) != run_key(questions(), local, 8)
    held = profiles.changed(local, {"cache.dtype": "int8"})
    assert run_key(questions(), held, 8) != run_key(questions(), local, 8)
    before = run_key(questions(), local, 8)
    weights.write_bytes(b"12")
    assert run_key(questions(), local, 8) != before
