"""Profiles: finding, listing, changing and writing them; and the shipped ones."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from engine import cli, paths
from engine.config import origin, profile, strict_yaml
from engine.config.methods import BitsAndBytes, Full, Gguf
from engine.config.profile import Generation, Profile, Prompt
from engine.config.sources import Demo, Folder, GgufFile, Hub, Random
from engine.duel.prefetch import prefetch
from engine.errors import InputError, LoadError, ProfileError
from engine.plan.local import planned

DEMO = "model: {source: demo}\n"
ROOT = Path(profile.__file__).parents[2]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder and an empty configuration."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("QUANTDUEL_HOME", str(tmp_path / "home"))
    return tmp_path


def test_the_shipped_profiles_are_read_and_described() -> None:
    files = list(paths.shipped_profiles().glob("*.yaml"))
    assert len(files) >= 17
    for file in files:
        found = profile.read(file)
        assert found.description and found.generation == Generation(), file
        assert found.name == file.stem
    labels = {profile.read(file).name: profile.read(file).label for file in files}
    assert labels["smollm2-bf16"] == "bf16"
    assert labels["smollm2-nf4"] == labels["llama-3.1-8b-nf4"] == "nf4"
    assert labels["smollm2-q4-gguf"] == "gguf"


def test_a_folder_earlier_in_the_search_order_wins(here: Path) -> None:
    for number, folder in enumerate((here / "profiles", paths.user_profiles())):
        folder.mkdir(parents=True)
        (folder / "smollm2-nf4.yaml").write_text(DEMO + f"description: '{number}'\n")
    assert profile.find("smollm2-nf4").description == "0"
    (here / "profiles" / "smollm2-nf4.yaml").unlink()
    assert profile.find("smollm2-nf4").description == "1"
    assert profile.find("smollm2-bf16").source == Demo()


TRUSTING = "model: {source: org/name, trust_remote_code: true}\n"


def test_code_is_run_for_a_profile_of_the_users_or_one_that_is_named_by_its_path(here: Path) -> None:
    strange, own = here / "profiles", paths.user_profiles()
    for folder in (strange, own):
        folder.mkdir(parents=True)
    (strange / "x.yaml").write_text(TRUSTING)
    (own / "mine.yaml").write_text(TRUSTING)
    with pytest.raises(ProfileError, match="does not run a model's code by its name alone"):
        profile.find("x")
    found = (
        profile.find("x", allowed=profile.CODE_KEYS),
        profile.find("profiles/x.yaml"),
        profile.find("mine"),
    )
    assert all(each.model.trust_remote_code for each in found)
    shutil.rmtree(strange)
    strange.symlink_to(own)  # the same folder by another name
    assert profile.find("mine").model.trust_remote_code
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
    found = profile.find("a␛]0;t␇␊␛[⟨U+202E⟩b⟨U+200B⟩")
    assert found.name == profile.find(f"./{raw}").name == "a␛]0;t␇␊␛[⟨U+202E⟩b⟨U+200B⟩"
    assert profile.find(f"./{raw}").source == Folder(here / raw)


def test_a_name_can_be_a_file_or_a_model(here: Path) -> None:
    (here / "mine.yaml").write_text(DEMO)
    (here / "model").mkdir()
    (here / "m.gguf").write_bytes(b"GGUF")
    assert profile.find("mine.yaml").name == "mine"
    assert profile.find("./model").source == Folder(here / "model")
    assert profile.find("m.gguf").source == GgufFile(here / "m.gguf")
    assert isinstance(profile.find("m.gguf").quantization, Gguf)
    assert profile.find("Qwen/Qwen2.5-7B-Instruct").source == Hub("Qwen/Qwen2.5-7B-Instruct")
    assert profile.find("random:tiny").source == Random("tiny")
    assert profile.find("demo").source == Demo()


def test_an_unknown_name_gets_the_nearest_one(here: Path) -> None:
    with pytest.raises(InputError, match="did you mean smollm2-nf4"):
        profile.find("smollm2-nf5")
    with pytest.raises(InputError, match="profiles list"):
        profile.find("zzzzzz")
    with pytest.raises(ProfileError, match="no such file"):
        profile.find("absent.yaml")


def test_paths_are_relative_to_the_file(here: Path) -> None:
    folder = here / "deep"
    (folder / "weights").mkdir(parents=True)
    (folder / "t.jinja").write_text("x")
    (folder / "p.yaml").write_text("model: {source: ./weights}\nprompt: {template: t.jinja}\n")
    read = profile.read(Path("deep/p.yaml"))
    assert read.source == Folder(folder / "weights")
    assert read.prompt.template == str(folder / "t.jinja")


def test_what_yaml_shows_is_the_profile(here: Path) -> None:
    for name in profile.available():
        found = profile.find(name)
        copy = here / f"{name}.yaml"
        copy.write_text(profile.to_yaml(found))
        assert profile.read(copy) == found


def test_settings_change_a_profile() -> None:
    nf4 = profile.find("smollm2-nf4")
    changed = profile.changed(
        nf4, {"temperature": 0.5, "model.device": "cpu", "quantization.double_quant": True}
    )
    assert changed.generation.temperature == 0.5
    assert changed.model.device == "cpu"
    assert changed.label == "nf4+dq"
    assert nf4.generation.temperature == 0


def test_another_method_starts_from_its_own_defaults() -> None:
    nf4 = profile.find("smollm2-nf4")
    assert profile.changed(nf4, {"quantization.method": "full"}).quantization == Full()
    eight = profile.changed(
        profile.find("smollm2-bf16"), {"quantization.method": "bitsandbytes", "quantization.bits": 8}
    )
    assert eight.quantization == BitsAndBytes(bits=8)


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("tempreature", "generation.tempreature: unknown key .did you mean temperature"),
        ("model.dtyp", "model.dtyp: unknown key"),
        ("nothing.here", "nothing: unknown key"),
        ("model.source.deep", "source has no keys of its own"),
    ],
)
def test_a_setting_nobody_knows_is_refused(key: str, said: str) -> None:
    with pytest.raises(ProfileError, match=said):
        profile.changed(profile.find("smollm2-nf4"), {key: 1})


def test_a_key_that_is_gone_says_where_it_stands_and_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "old.yaml"
    file.write_text("model: {source: demo}\ngeneration:\n  seed: 1\n  compile: true\n")
    with pytest.raises(ProfileError) as refused:
        profile.find(str(file))
    reported = f"{file}:4: generation.compile: no longer a setting (delete this line: decode steps"
    assert str(refused.value).startswith(reported)
    assert [(fault.line, fault.key) for fault in profile.faults(file)] == [(4, "generation.compile")]
    with pytest.raises(ProfileError, match="no longer a setting"):
        profile.changed(profile.find("smollm2-nf4"), {"compile": True})


def test_a_profile_survives_the_wire() -> None:
    import msgspec

    found = profile.find("smollm2-int8")
    assert msgspec.json.decode(msgspec.json.encode(found), type=Profile) == found


def test_the_profile_page_is_current() -> None:
    code = "import sys; sys.path.insert(0, 'docs'); import write_profiles as w; "
    code += "sys.exit(w.page() != w.PAGE.read_text())"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False)
    assert result.returncode == 0, "run: python docs/write_profiles.py"


@pytest.mark.parametrize(
    "setting",
    [
        *(f"temperature={value}" for value in ("nan", ".inf", "1e999", "1e7", "-1e-9")),
        *(f"repetition_penalty={value}" for value in ("0", "1e300")),
        *("top_p=0", "min_p=1.1"),
    ],
)
def test_a_number_no_sampling_can_use_is_refused(setting: str) -> None:
    key, _, value = setting.partition("=")
    with pytest.raises(ProfileError, match=key if "e999" not in value else "too large"):
        profile.changed(profile.of_model("random:tiny"), {key: strict_yaml.value(value)})


def test_text_that_is_no_utf8_is_refused(tmp_path: Path) -> None:
    """A lone surrogate in YAML, and a folder whose name is other bytes."""
    file = tmp_path / "lone.yaml"
    file.write_text('model: {source: "random:tiny"}\nprompt:\n  system: "a \\ud800 b"\n')
    with pytest.raises(ProfileError, match=r"lone.yaml:2: prompt: has text in it that is not UTF-8"):
        profile.read(file)
    (folder := tmp_path / os.fsdecode(b"caf\xe9")).mkdir()
    with pytest.raises(ProfileError, match="model: has text"):
        profile.find(str(folder))


def test_a_template_that_is_no_text_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jinja")
    (tmp_path / "latin.jinja").write_bytes(b"caf\xe9")
    (tmp_path / "large.jinja").write_bytes(b" " * (profile.MOST_TEMPLATE_BYTES + 1))
    (file := tmp_path / "own.yaml").write_text(DEMO)
    for name, said in {"pipe": "is a pipe", "latin": "is not UTF-8", "large": "is larger than 1 MiB"}.items():
        file.write_text(DEMO + f"prompt: {{template: {name}.jinja}}\n")
        with pytest.raises(ProfileError, match=rf":2: prompt\.template: {said}.*{name}\.jinja"):
            profile.read(file)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("~nosuchuser/model", "no such home folder"),
        ("~nosuchuser/a.yaml", "no such home folder"),
        ("a" * 300, "no profile named"),
        ("a" * 300 + ".yaml", "File name too long"),
        ("a\0b.gguf", "no profile named"),
        ("./a\0b", "names no model"),
    ],
)
def test_a_name_that_cannot_be_a_path_is_one_line(name: str, said: str, here: Path) -> None:
    with pytest.raises(InputError, match=said):
        profile.find(name)


@pytest.mark.parametrize("name", ["./" + "a" * 300, "org/" + "a" * 300, "./" + "a" * 300 + ".gguf"])
def test_a_name_too_long_for_a_file_has_no_plan(name: str, here: Path) -> None:
    with pytest.raises(LoadError):
        planned(profile.find(name), ask_hub=False)
    assert prefetch(profile.find(name)) == 0


def test_a_home_that_nobody_has_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("QUANTDUEL_HOME", "~nosuchuser")
    for command in ("profiles list", "store list", "plan demo", "leaderboard"):
        assert cli.run(command.split()) in {2, 3}
        assert capsys.readouterr().err.count("no such home folder") == 1


def test_a_profile_with_variables_for_its_template_is_a_key() -> None:
    given, same = (Prompt(template_args={"reasoning_effort": "low"}) for _ in range(2))
    assert len({given, same, Prompt()}) == 2


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("model: {source: demo}\ncache: {dtype: fp4}\n", "cache.dtype"),
        ("model: {source: demo}\ncache: {dtype: fp8}\nquantization: {method: llama_cpp}\n", "no FP8 cache"),
        (
            "model: {source: 'http://h:1/v1'}\ncache: {dtype: fp8}\nremote: {engine: vllm}\n",
            "--kv-cache-dtype fp8",
        ),
        ("model: {source: 'http://h:1/v1'}\ncache: {dtype: int8}\n", "-ctk q8_0 -ctv q8_0"),
    ],
)
def test_a_cache_that_a_side_cannot_have_is_refused_in_a_line(text: str, told: str, tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(text)
    with pytest.raises(ProfileError) as refused:
        profile.read(file)
    assert told in f"{refused.value} {refused.value.hint}" and refused.value.line == 2


def test_a_cache_in_8_bits_is_in_the_badge_and_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(
        "model: {source: demo, dtype: bfloat16}\ncache: {dtype: int8}\nquantization: {method: full}\n"
    )
    found = profile.read(file)
    assert found.label == "bf16+kv-int8"
    assert "cache:\n  dtype: int8\n" in profile.to_yaml(found)
