"""Profiles found: by file, by name, as a bare model; and whose folder may switch on what."""

import shutil
from pathlib import Path

import pytest

from engine import cli, paths
from engine.config import profiles
from engine.config.methods import Gguf
from engine.config.profiles import origin
from engine.config.sources import Demo, Folder, GgufFile, Hub, Random
from engine.duel.prefetch import prefetch
from engine.errors import InputError, LoadError, ProfileError
from engine.plan.local import planned

DEMO = "model: {source: demo}\n"


def test_a_folder_earlier_in_the_search_order_wins(here: Path) -> None:
    for number, folder in enumerate((here / "profiles", paths.user_profiles())):
        folder.mkdir(parents=True)
        (folder / "smollm2-nf4.yaml").write_text(DEMO + f"description: '{number}'\n")
    assert profiles.find("smollm2-nf4").description == "0"
    (here / "profiles" / "smollm2-nf4.yaml").unlink()
    assert profiles.find("smollm2-nf4").description == "1"
    assert profiles.find("smollm2-bf16").source == Demo()


TRUSTING = "model: {source: org/name, trust_remote_code: true}\n"


def test_code_is_run_for_a_profile_of_the_users_or_one_that_is_named_by_its_path(here: Path) -> None:
    strange, own = here / "profiles", paths.user_profiles()
    for folder in (strange, own):
        folder.mkdir(parents=True)
    (strange / "x.yaml").write_text(TRUSTING)
    (own / "mine.yaml").write_text(TRUSTING)
    with pytest.raises(ProfileError, match="does not run a model's code by its name alone"):
        profiles.find("x")
    found = (
        profiles.find("x", allowed=profiles.CODE_KEYS),
        profiles.find("profiles/x.yaml"),
        profiles.find("mine"),
    )
    assert all(each.model.trust_remote_code for each in found)
    shutil.rmtree(strange)
    strange.symlink_to(own)  # the same folder by another name
    assert profiles.find("mine").model.trust_remote_code
    assert origin.of(strange / "mine.yaml") == "yours" and not origin.remark("mine")


@pytest.mark.parametrize("name", ["demo", "random:tiny", "smollm2-nf4", "only-here", "both"])
def test_whose_name_is_hidden_is_reported(name: str, here: Path) -> None:
    for folder in (here / "profiles", paths.user_profiles()):
        folder.mkdir(parents=True)
    (here / "profiles" / f"{name}.yaml").write_text(DEMO)
    (paths.user_profiles() / "both.yaml").write_text(DEMO)
    words = {"smollm2-nf4": "not the shipped profile", "both": "not yours", "only-here": ""}
    remark = origin.remark(name)
    assert words.get(name, "not the model of that name") in remark and bool(remark) == (name != "only-here")


def test_a_name_is_one_line_that_hides_nothing_and_finds_its_file(here: Path) -> None:
    (here / "profiles").mkdir()
    raw = "a\x1b]0;t\x07\n\x9b\u202eb\u200b"
    (here / "profiles" / f"{raw}.yaml").write_text(DEMO)
    (here / raw).mkdir()
    found = profiles.find("a␛]0;t␇␊␛[⟨U+202E⟩b⟨U+200B⟩")
    assert found.name == profiles.find(f"./{raw}").name == "a␛]0;t␇␊␛[⟨U+202E⟩b⟨U+200B⟩"
    assert profiles.find(f"./{raw}").source == Folder(here / raw)


def test_a_name_can_be_a_file_or_a_model(here: Path) -> None:
    (here / "mine.yaml").write_text(DEMO)
    (here / "model").mkdir()
    (here / "m.gguf").write_bytes(b"GGUF")
    assert profiles.find("mine.yaml").name == "mine"
    assert profiles.find("./model").source == Folder(here / "model")
    assert profiles.find("m.gguf").source == GgufFile(here / "m.gguf")
    assert isinstance(profiles.find("m.gguf").quantization, Gguf)
    assert profiles.find("Qwen/Qwen2.5-7B-Instruct").source == Hub("Qwen/Qwen2.5-7B-Instruct")
    assert profiles.find("random:tiny").source == Random("tiny")
    assert profiles.find("demo").source == Demo()


def test_an_unknown_name_gets_the_nearest_one(here: Path) -> None:
    with pytest.raises(InputError, match="did you mean smollm2-nf4"):
        profiles.find("smollm2-nf5")
    with pytest.raises(InputError, match="profiles list"):
        profiles.find("zzzzzz")
    with pytest.raises(ProfileError, match="no such file"):
        profiles.find("absent.yaml")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("~nosuchuser/model", "no such home folder"),
        ("~nosuchuser/a.yaml", "no such home folder"),
        ("a" * 300, "no profile named"),
        ("a" * 300 + ".yaml", "File name too long"),
        ("a\0b.gguf", "no such file"),
        ("MODEL.GGUF", "'MODEL.GGUF': no such file"),
        ("./a\0b", "names no model"),
    ],
)
def test_a_name_that_cannot_be_a_path_is_one_line(name: str, said: str, here: Path) -> None:
    with pytest.raises(InputError, match=said):
        profiles.find(name)


@pytest.mark.parametrize("name", ["./" + "a" * 300, "org/" + "a" * 300, "./" + "a" * 300 + ".gguf"])
def test_a_name_too_long_for_a_file_has_no_plan(name: str, here: Path) -> None:
    with pytest.raises(LoadError):
        planned(profiles.find(name), ask_hub=False)
    assert prefetch(profiles.find(name)) == 0


def test_a_home_that_nobody_has_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("QUANTDUEL_HOME", "~nosuchuser")
    for command in ("profiles list", "store list", "plan demo", "leaderboard"):
        assert cli.run(command.split()) in {2, 3}
        assert capsys.readouterr().err.count("no such home folder") == 1
