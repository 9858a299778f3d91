"""Which environments are shipped, and which of those that are there count."""

from pathlib import Path

import msgspec
import pytest

from engine import paths
from engine.config import environments
from engine.config.environments import MARK, SHIPPED, Mark
from engine.config.methods import Awq, Gptq, original
from engine.config.profile import Profile
from engine.config.profiles import find
from engine.errors import InputError


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANTDUEL_HOME", str(tmp_path))


def made(name: str, *, whole: bool = True, packages: dict[str, str] | None = None) -> None:
    """A folder that looks like an environment."""
    folder = paths.environments() / name
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").touch()
    for package, version in (packages or {}).items():
        info = (
            folder
            / "lib"
            / "python3.11"
            / "site-packages"
            / f"{package.replace('-', '_')}-{version}.dist-info"
        )
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
    if whole:
        mark = Mark(name=name, created="2026-11-28T00:00:00+00:00", requirements=())
        (folder / MARK).write_bytes(msgspec.json.encode(mark))


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_list_pins_every_package_and_names_no_index(name: str) -> None:
    wanted = SHIPPED[name]
    assert all(requirement.count("==") == 1 for requirement in wanted.requirements)
    assert {name, "torch", "transformers", "msgspec"} <= wanted.versions.keys()
    assert "://" not in wanted.file.read_text() and "--" not in wanted.file.read_text()


def test_autogptq_is_for_no_python_newer_than_3_11() -> None:
    assert SHIPPED["auto-gptq"].takes((3, 11, 7)) and not SHIPPED["auto-gptq"].takes((3, 12))
    assert SHIPPED["autoawq"].takes((3, 13))


def test_a_shipped_environment_counts_once_it_has_its_mark() -> None:
    assert "there is no environment named autoawq" in str(environments.missing("autoawq"))
    made("autoawq", whole=False)
    absent = environments.missing("autoawq")
    assert absent is not None and "not whole" in absent.message and "env create autoawq" in absent.hint
    made("auto-gptq")
    assert environments.missing("auto-gptq") is None
    made("mine", whole=False)  # a user's own, of no list
    assert "did you mean mine?" in str(environments.missing("mina"))
    assert environments.missing("mine") is None
    assert [found.name for found in environments.here()] == ["auto-gptq", "autoawq", "mine"]


def test_what_differs_from_the_list_is_named() -> None:
    pinned = SHIPPED["autoawq"].versions
    made("autoawq", packages={**pinned, "torch": f"{pinned['torch']}+cpu", "numpy": "1.0"})
    assert environments.wrong(environments.environment("autoawq")) == [
        f"numpy is 1.0, pinned is {pinned['numpy']}"
    ]


def test_a_list_that_is_not_shipped_has_the_nearest_name() -> None:
    with pytest.raises(InputError, match="no pinned list named 'autowq'") as error:
        environments.pinned("autowq")
    assert "autoawq" in error.value.hint


@pytest.mark.parametrize(("name", "package"), [("awq4", "autoawq"), ("gptq4", "auto-gptq")])
def test_an_original_s_profile_runs_in_its_environment(name: str, package: str) -> None:
    found = find(f"smollm2-{name}-original")
    assert original(found.quantization) == package == found.runs_in.environment
    assert found.label == f"{name}-g64-original"
    assert find(f"smollm2-{name}").runs_in.is_own


def test_where_a_profile_says_it_runs_it_runs() -> None:
    said = {"source": "demo"}, {"method": "awq", "backend": "autoawq"}
    profile = msgspec.convert(
        {"model": said[0], "quantization": said[1], "worker": {"environment": "mine"}}, Profile
    )
    assert profile.runs_in.environment == "mine"


@pytest.mark.parametrize("option", [{"zero_point": False}, {"group_size": -1}])
def test_what_autoawq_cannot_pack_is_refused(option: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError, match=next(iter(option))):
        msgspec.convert({"method": "awq", "backend": "autoawq", **option}, Awq)
    assert msgspec.convert({"method": "awq", **option}, Awq).backend == "gptqmodel"
    assert msgspec.convert({"method": "gptq", "backend": "auto-gptq", "group_size": -1}, Gptq).bits == 4
