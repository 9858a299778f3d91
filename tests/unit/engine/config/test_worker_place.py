"""The section `worker`: one of three keys, and who may name a program in it."""

import sys
from pathlib import Path

import pytest

from engine import paths
from engine.config import profiles
from engine.config.profile import Profile
from engine.config.worker_place import Worker
from engine.errors import ProfileError

LAUNCHED = "model: {source: demo}\nworker: {launch: 'ssh gpu2 quantduel worker'}\n"


def written(folder: Path, text: str) -> Path:
    file = folder / "x.yaml"
    file.write_text(text)
    return file


def test_a_command_is_split_as_a_shell_would_and_left_out_means_here() -> None:
    words = Worker(launch="ssh -i '~/a key' gpu2 quantduel worker").launch_words
    assert words == ("ssh", "-i", "~/a key", "gpu2", "quantduel", "worker")
    assert Worker().is_own and not Worker(environment="auto-gptq").is_own


@pytest.mark.parametrize(
    ("section", "says"),
    [
        (
            "{launch: ssh gpu2 quantduel worker, environment: old}",
            "worker.launch: stands next to environment",
        ),
        ('{launch: "ssh \'gpu2"}', "worker.launch: expected a command"),
        ("{launch: ''}", "worker.launch: expected a command"),
        ("{environment: ../old}", "worker.environment: expected a name"),
        ("{python: /no/such/python}", "worker.python: there is no such file"),
        ("{lunch: x}", "did you mean launch"),
    ],
)
def test_what_is_wrong_is_told_with_its_key(section: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(ProfileError) as caught:
        profiles.read(written(tmp_path, f"model: {{source: demo}}\nworker: {section}\n"))
    assert says in str(caught.value) and "x.yaml:2" in str(caught.value)


def test_a_python_is_seen_from_the_profiles_folder(tmp_path: Path) -> None:
    (tmp_path / "python").symlink_to(sys.executable)
    found = profiles.read(written(tmp_path, "model: {source: demo}\nworker: {python: ./python}\n"))
    assert found.worker.python == str(tmp_path / "python")


@pytest.mark.parametrize("key", ["launch", "python"])
def test_a_profile_of_the_folder_one_is_in_starts_no_program(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("QUANTDUEL_HOME", str(tmp_path / "home"))
    for folder in (tmp_path / "profiles", paths.user_profiles()):
        folder.mkdir(parents=True)
    text = f"model: {{source: demo}}\nworker: {{{key}: {sys.executable}}}\n"
    written(tmp_path / "profiles", text)
    written(paths.user_profiles(), text).rename(paths.user_profiles() / "mine.yaml")
    with pytest.raises(ProfileError, match=f"worker.{key}: .* does not run a program by its name alone"):
        profiles.find("x")
    allowed = (
        profiles.find("x", allowed=[f"worker.{key}"]),
        profiles.find("profiles/x.yaml"),
        profiles.find("mine"),
    )
    assert all(getattr(found.worker, key) == sys.executable for found in allowed)


def test_paths_of_another_machine_stay_as_they_are_and_are_full(tmp_path: Path) -> None:
    (tmp_path / "org" / "model").mkdir(parents=True)
    there = LAUNCHED.replace("demo", "org/model")  # a folder of that name here is not meant
    assert profiles.read(written(tmp_path, there)).model.source == "org/model"
    full = profiles.read(written(tmp_path, LAUNCHED.replace("demo", "~/models/a")))
    assert full.model.source == "~/models/a"
    with pytest.raises(ProfileError, match=r"model\.source: models/a\.gguf is a file of another machine"):
        profiles.read(written(tmp_path, LAUNCHED.replace("demo", "models/a.gguf")))
    assert profiles.here(full).model.source == str(Path("~/models/a").expanduser())
    assert profiles.here(full).worker.is_own


def test_a_key_that_is_set_stands_alone(tmp_path: Path) -> None:
    found = profiles.read(written(tmp_path, LAUNCHED))
    assert moved(found, "worker.environment", "old").worker == Worker(environment="old")
    assert moved(found, "worker.launch", None).worker == Worker()


def moved(found: Profile, key: str, value: object) -> Profile:
    return profiles.changed(found, {key: value})
