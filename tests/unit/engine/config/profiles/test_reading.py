"""Profiles read, changed by settings, and written as YAML; and the shipped ones."""

import subprocess
import sys
from pathlib import Path

import pytest

from engine import paths
from engine.config import profiles, strict_yaml
from engine.config.methods import BitsAndBytes, Full
from engine.config.profile import Generation, Profile, Prompt
from engine.errors import ProfileError

ROOT = paths.shipped_profiles().parent


def test_the_shipped_profiles_are_read_and_described() -> None:
    files = list(paths.shipped_profiles().glob("*.yaml"))
    assert len(files) >= 17
    for file in files:
        found = profiles.read(file)
        assert found.description and found.generation == Generation(), file
        assert found.name == file.stem
    labels = {profiles.read(file).name: profiles.read(file).label for file in files}
    assert labels["smollm2-bf16"] == "bf16"
    assert labels["smollm2-nf4"] == labels["llama-3.1-8b-nf4"] == "nf4"
    assert labels["smollm2-q4-gguf"] == "gguf"


def test_what_yaml_shows_is_the_profile(here: Path) -> None:
    for name in profiles.available():
        found = profiles.find(name)
        copy = here / f"{name}.yaml"
        copy.write_text(profiles.to_yaml(found))
        assert profiles.read(copy) == found


def test_settings_change_a_profile() -> None:
    nf4 = profiles.find("smollm2-nf4")
    changed = profiles.changed(
        nf4, {"temperature": 0.5, "model.device": "cpu", "quantization.double_quant": True}
    )
    assert changed.generation.temperature == 0.5
    assert changed.model.device == "cpu"
    assert changed.label == "nf4+dq"
    assert nf4.generation.temperature == 0


def test_another_method_starts_from_its_own_defaults() -> None:
    nf4 = profiles.find("smollm2-nf4")
    assert profiles.changed(nf4, {"quantization.method": "full"}).quantization == Full()
    eight = profiles.changed(
        profiles.find("smollm2-bf16"), {"quantization.method": "bitsandbytes", "quantization.bits": 8}
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
        profiles.changed(profiles.find("smollm2-nf4"), {key: 1})


def test_a_key_that_is_gone_says_where_it_stands_and_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "old.yaml"
    file.write_text("model: {source: demo}\ngeneration:\n  seed: 1\n  compile: true\n")
    with pytest.raises(ProfileError) as refused:
        profiles.find(str(file))
    reported = f"{file}:4: generation.compile: no longer a setting (delete this line: decode steps"
    assert str(refused.value).startswith(reported)
    assert [(fault.line, fault.key) for fault in profiles.faults(file)] == [(4, "generation.compile")]
    with pytest.raises(ProfileError, match="no longer a setting"):
        profiles.changed(profiles.find("smollm2-nf4"), {"compile": True})


def test_a_profile_survives_the_wire() -> None:
    import msgspec

    found = profiles.find("smollm2-int8")
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
        profiles.changed(profiles.of_model("random:tiny"), {key: strict_yaml.value(value)})


def test_a_profile_with_variables_for_its_template_is_a_key() -> None:
    given, same = (Prompt(template_args={"reasoning_effort": "low"}) for _ in range(2))
    assert len({given, same, Prompt()}) == 2


def test_a_cache_in_8_bits_is_in_the_badge_and_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(
        "model: {source: demo, dtype: bfloat16}\ncache: {dtype: int8}\nquantization: {method: full}\n"
    )
    found = profiles.read(file)
    assert found.label == "bf16+kv-int8"
    assert "cache:\n  dtype: int8\n" in profiles.to_yaml(found)
