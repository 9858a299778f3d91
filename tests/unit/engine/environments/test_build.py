"""Environments are built whole or not at all. A script stands for the Python that makes and fills them."""

import asyncio
from contextlib import aclosing
from pathlib import Path
from unittest.mock import Mock

import pytest

from engine import paths
from engine.config import environments
from engine.config.environments import MARK, SHIPPED
from engine.environments import build
from engine.environments.build import BEGUN, Build
from engine.errors import InputError
from engine.jobs.events import Advanced

PYTHON = """#!/bin/sh
case "$2" in
  venv) mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; chmod +x "$3/bin/python" ;;
  pip) echo "Collecting torch==2.13.0"; echo "  Downloading torch.whl (900.0 MB)"; {pip} ;;
  *) {imports} ;;
esac
"""


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANTDUEL_HOME", str(tmp_path / "home"))


def python(tmp_path: Path, *, pip: str = "true", imports: str = "true") -> str:
    """A program that makes an environment of itself."""
    file = tmp_path / "python"
    file.write_text(PYTHON.format(pip=pip, imports=imports))
    file.chmod(0o755)
    return str(file)


async def built(job: Build) -> list[str]:
    """What the job says, to its end."""
    return [event.words async for event in job.run()]


def folder(name: str = "autoawq") -> Path:
    return paths.environments() / name


async def test_a_built_environment_has_its_mark_and_tells_what_is_done(tmp_path: Path) -> None:
    job = Build(SHIPPED["auto-gptq"], python(tmp_path))
    told = await built(job)
    found = environments.environment("auto-gptq")
    assert job.failure is None and found.is_usable and not (found.folder / BEGUN).exists()
    assert found.mark is not None and "auto-gptq==0.7.1" in found.mark.requirements
    assert "auto-gptq: looking for torch==2.13.0" in told
    assert "auto-gptq: downloading torch.whl (900.0 MB)" in told and told[-1] == "auto-gptq: done"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (
            {"pip": "echo 'ERROR: No matching distribution'; exit 1"},
            "pip failed: ERROR: No matching distribution",
        ),
        (
            {"imports": "echo 'ImportError: no awq'; exit 1"},
            "the look whether it works failed: ImportError: no awq",
        ),
    ],
)
async def test_what_fails_is_said_and_leaves_nothing(
    tmp_path: Path, wrong: dict[str, str], said: str
) -> None:
    job = Build(SHIPPED["autoawq"], python(tmp_path, **wrong))
    await built(job)
    assert job.failure is not None and job.failure.message == said
    assert not folder().exists()


async def test_who_leaves_early_leaves_nothing(tmp_path: Path) -> None:
    job = Build(SHIPPED["autoawq"], python(tmp_path, pip="sleep 1000"))
    async with aclosing(job.run()) as events:
        async for event in events:
            if isinstance(event, Advanced) and "downloading" in event.words:
                assert (folder() / BEGUN).exists()
                break
    assert not folder().exists()


async def test_what_a_killed_builder_left_is_built_again(tmp_path: Path) -> None:
    folder().mkdir(parents=True)
    (folder() / BEGUN).touch()
    (folder() / "left").touch()
    await built(Build(SHIPPED["autoawq"], python(tmp_path)))
    assert (folder() / MARK).exists() and not (folder() / "left").exists()


async def test_two_do_not_build_the_same(tmp_path: Path) -> None:
    first = Build(SHIPPED["autoawq"], python(tmp_path, pip="sleep 1000"))
    async with aclosing(first.run()) as events:
        async for event in events:
            if "downloading" in event.words:
                break
        second = Build(SHIPPED["autoawq"], python(tmp_path))
        await built(second)
        assert second.failure is not None and "being built already" in second.failure.message
        with pytest.raises(InputError, match="being built"):
            await asyncio.to_thread(build.remove, environments.environment("autoawq"))


@pytest.mark.parametrize("again", ["remove", "make"])
async def test_a_removal_that_was_ended_can_be_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, again: str
) -> None:
    await built(Build(SHIPPED["autoawq"], python(tmp_path)))
    found = environments.environment("autoawq")
    with monkeypatch.context() as ended, pytest.raises(KeyboardInterrupt):
        ended.setattr(build.shutil, "rmtree", Mock(side_effect=KeyboardInterrupt))
        build.remove(found)
    assert found.mark is None and build.is_own(found)
    if again == "remove":
        build.remove(found)
        assert not folder().exists()
    else:
        await built(Build(SHIPPED["autoawq"], python(tmp_path)))
        assert found.is_usable


async def test_what_cannot_be_deleted_is_not_called_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await built(Build(SHIPPED["autoawq"], python(tmp_path)))
    monkeypatch.setattr(build.shutil, "rmtree", Mock())
    with pytest.raises(InputError, match="cannot be deleted whole"):
        build.remove(environments.environment("autoawq"))


def test_a_folder_of_a_user_s_is_left_alone() -> None:
    (folder() / "bin").mkdir(parents=True)
    found = environments.environment("autoawq")
    with pytest.raises(InputError, match="QuantDuel did not make"):
        build.remove(found)
    assert folder().exists()


def test_a_python_that_is_too_new_or_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no Python"):
        build.python_for(SHIPPED["autoawq"], str(tmp_path / "nothing"))
    newer = python(tmp_path, imports="true").replace("python", "python")
    Path(newer).write_text("#!/bin/sh\necho '[3, 12, 1]'\n")
    with pytest.raises(InputError, match=r"auto-gptq needs Python 3.11 to 3.11, and .* is 3.12"):
        build.python_for(SHIPPED["auto-gptq"], newer)
    assert build.python_for(SHIPPED["autoawq"], newer) == newer
