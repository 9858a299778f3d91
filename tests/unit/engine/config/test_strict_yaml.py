"""Malformed profiles: one clear line each, whatever the file holds."""

import os
import random
from pathlib import Path

import pytest

from engine.config import profile, profiles, strict_yaml
from engine.config.profile import Profile
from engine.errors import ProfileError

DEMO = "model: {source: demo}\n"
BNB = DEMO + "quantization:\n  method: bitsandbytes\n"
SHIPPED = Path(profile.__file__).parents[2] / "profiles"

FAULTS = {
    "": ": is empty",
    "# nothing but a comment\n": ": is empty",
    "---\n": ":2: expected a mapping of keys, not nothing",
    "hello\n": ":1: expected a mapping of keys, not 'hello'",
    "- a\n": ":1: expected a mapping of keys, not a list",
    "description: x\n": ":1: model: missing",
    "model: {}\n": ":1: model.source: missing",
    "model: demo\n": ":1: model: expected a mapping of keys, not 'demo'",
    "model:\n  source: 3\n": ":2: model.source: expected text, not 3",
    "model:\n  source: demo\n  dtyp: x\n": ":3: model.dtyp: unknown key (did you mean dtype?)",
    DEMO + "quantisation: {}\n": ":2: quantisation: unknown key (did you mean quantization?)",
    DEMO + "zzz: 1\n": ":2: zzz: unknown key (known here: name, description, model,",
    "model: {source: demo, dtype: bf16}\n": "float16 or float32, not 'bf16' (did you mean bfloat16?)",
    "model: {source: demo, device: gpu}\n": "model.device: expected auto, cpu, cuda,",
    "model: {source: demo, trust_remote_code: yes}\n": "expected true or false, not 'yes'",
    "model: {source: a b}\n": "model.source: 'a b' names no model",
    "model: {source: 'random:lama'}\n": "model.source: no shape named 'lama'",
    BNB + "  bits: 3.5\n": ":4: quantization.bits: expected 4 or 8, not 3.5",
    BNB + "  bits: '4'\n": ":4: quantization.bits: expected 4 or 8, not '4' (without the quotes)",
    BNB + "  bits: true\n": ":4: quantization.bits: expected 4 or 8, not true",
    BNB + "  quant_type: nf5\n": "expected fp4 or nf4, not 'nf5' (did you mean nf4?)",
    BNB + "  bits: 8\n  quant_type: nf4\n": "quant_type and double_quant go with `bits: 4`",
    DEMO + "quantization: {method: bitsandbites}\n": "quantization.method: expected full, bitsandbytes,",
    DEMO + "quantization: {bits: 4}\n": ":2: quantization.method: missing",
    DEMO + "quantization:\n": ":2: quantization: expected a mapping of keys, not nothing",
    DEMO + "generation: {max_new_tokens: 0}\n": "expected a whole number of at least 1, not 0",
    DEMO + "generation: {temperature: hot}\n": "generation.temperature: expected a number, not 'hot'",
    DEMO + "generation: {temperature: .inf}\n": "expected a number, not '.inf'",
    DEMO + "generation: {temperature: 1e999}\n": "a number too large to hold",
    DEMO + "generation: {top_p: 1.5}\n": "expected a number of at most 1.0, not 1.5",
    DEMO + "generation: {stop: word}\n": "generation.stop: expected a list, not 'word'",
    DEMO + "generation: {stop: [1]}\n": "generation.stop: expected text, not 1",
    DEMO + f"generation: {{seed: {'9' * 30}}}\n": "expected a whole number of at most",
    DEMO + f"generation: {{seed: {'9' * 9000}}}\n": "a number of too many digits",
    DEMO + "prompt: {template: none.jinja}\n": ":2: prompt.template: no such file: ",
    "model: {source: a/b}\nquantization: {method: gguf}\n": ":2: quantization.method: gguf reads",
    DEMO + "name: x\n": ":2: name: the file's name is the profile's name",
    DEMO + DEMO: ":2: model: given twice, first on line 1",
    "model:\n  source: demo\n  source: demo\n": ":3: model.source: given twice, first on line 2",
    "model: {source: demo\n": "broken YAML: a bracket or quote is not closed",
    "model:\n\tsource: demo\n": ":2: broken YAML: a tab: indent with spaces",
    "a: b: c\n": ":1: broken YAML: a second `key:` in one line",
    "---\nmodel: {source: demo}\n---\na: 1\n": ":3: broken YAML: a second document begins here",
    "1: 2\n": ":1: a key must be text",
    "? [a]\n: b\n": ":1: a key must be text",
    "model: &m {source: demo}\nprompt: *m\n": ":2: broken YAML: aliases are not allowed",
    "model: !!python/object:os.system {source: demo}\n": ":1: broken YAML: tags are not allowed",
    DEMO + "\0": ":2: broken YAML: the character U+0000 is not allowed",
    "model: " + "[" * 100_000: "broken YAML: nested deeper than 32 levels",
    "model: " + "{a: " * 100_000: "broken YAML: nested deeper than 32 levels",
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "p.yaml"


@pytest.mark.parametrize(("text", "said"), FAULTS.items(), ids=range(len(FAULTS)))
def test_one_line_names_place_and_expectation(file: Path, text: str, said: str) -> None:
    file.write_text(text)
    with pytest.raises(ProfileError) as caught:
        profiles.read(file)
    assert str(caught.value).startswith(f"{file}")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_every_fault_is_reported_at_once(file: Path) -> None:
    file.write_text(
        "model: {source: 3, dtyp: x}\nfoo: 1\nquantization: {method: bad}\ngeneration: {top_p: 7, stop: 1}\n"
    )
    found = [(fault.line, fault.key) for fault in profiles.faults(file)]
    assert found == [
        (1, "model.source"),
        (1, "model.dtyp"),
        (2, "foo"),
        (3, "quantization.method"),
        (4, "generation.top_p"),
        (4, "generation.stop"),
    ]


def test_files_that_are_no_text(tmp_path: Path) -> None:
    latin, large = tmp_path / "latin.yaml", tmp_path / "large.yaml"
    latin.write_bytes(DEMO.encode() + b"description: caf\xe9\n")
    large.write_text("#" * (strict_yaml.LARGEST_FILE_BYTES + 1))
    pipe, utf16, deep = tmp_path / "pipe.yaml", tmp_path / "utf16.yaml", tmp_path / "deep.yaml"
    os.mkfifo(pipe)
    utf16.write_bytes(DEMO.encode("utf-16"))
    deep.write_text("[" * 100_000)
    for file, said in (
        (latin, ":2: is not UTF-8 text"),
        (large, "is larger than 1 MiB"),
        (tmp_path, "is a folder"),
        (tmp_path / "none.yaml", "no such file"),
        (Path("/dev/zero"), "is a device"),
        (pipe, "is a pipe"),
        (utf16, "is UTF-16, not UTF-8 text"),
        (deep, "nested deeper than 32 levels"),
        (tmp_path / ("a" * 300 + ".yaml"), "File name too long"),
    ):
        with pytest.raises(ProfileError, match=said):
            profiles.read(file)


def test_a_byte_order_mark_is_no_part_of_a_profile(tmp_path: Path) -> None:
    file = tmp_path / "marked.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + DEMO.encode())
    assert profiles.read(file).model.source == "demo"


def test_yaml_means_what_yaml_1_2_says(file: Path) -> None:
    file.write_text(
        "\ufeffmodel: {source: demo}\ndescription: no\nprompt: {system: 12:30}\n"
        "generation: {min_p: 1e-5, seed: 010}\n"
    )
    read = profiles.read(file)
    assert (read.description, read.prompt.system) == ("no", "12:30")
    assert (read.generation.min_p, read.generation.seed) == (1e-5, 10)


def test_a_value_of_the_command_line() -> None:
    assert strict_yaml.value("0.7") == 0.7
    assert strict_yaml.value("[a, b]") == ["a", "b"]
    assert strict_yaml.value("") == ""
    with pytest.raises(ProfileError, match="not closed"):
        strict_yaml.value("[a")


def test_mutated_profiles_are_read_or_refused_in_one_line(file: Path) -> None:
    """A thousand broken variants of real profiles: never anything but a Profile or a ProfileError."""
    seeds = [path.read_bytes() for path in sorted(SHIPPED.glob("*.yaml"))]
    dice = random.Random(0)
    refused = 0
    for _ in range(1000):
        file.write_bytes(_mutated(dice, dice.choice(seeds)))
        try:
            assert isinstance(profiles.read(file), Profile)
        except ProfileError as error:
            refused += 1
            assert "\n" not in str(error)
            assert profiles.faults(file)
    assert refused > 500


def _mutated(dice: random.Random, text: bytes) -> bytes:
    parts = (
        b"\t",
        b"\0",
        b": ",
        b"{",
        b"]",
        b"!x ",
        b"*a",
        b"\xff",
        b"\n",
        b"  ",
        b"1e9",
        b"- ",
        b"'",
        b"null",
        b"<<: ",
    )
    data = bytearray(text)
    for _ in range(dice.randint(1, 4)):
        place = dice.randrange(len(data) + 1)
        match dice.randrange(4):
            case 0:
                data[place:place] = dice.choice(parts)
            case 1:
                del data[place : place + dice.randint(1, 12)]
            case 2:
                data[place : place + 1] = bytes([dice.randrange(256)])
            case _:
                lines = bytes(data).splitlines(keepends=True)
                dice.shuffle(lines)
                data = bytearray(b"".join(lines))
    return bytes(data)
