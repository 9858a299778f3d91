"""One value changed, and every other byte as it was."""

import pytest

from engine.config import strict_yaml
from engine.config.yaml_edit import flow, with_value
from engine.errors import ProfileError

FILE = """\
# mine
model: {source: demo}   # the packaged one
generation:
  temperature: 0.7  # warm
  # a seed of its own
  seed: 1
  stop:  # two of them
  - "User:"
  - |
    END
# the end
"""


@pytest.mark.parametrize(
    ("key", "value", "before", "after"),
    [
        ("generation.temperature", 0.2, "0.7  # warm", "0.2  # warm"),
        ("generation.seed", 9, "seed: 1\n", "seed: 9\n"),
        ("model.source", "a/b", "{source: demo}", "{source: a/b}"),
        ("model.dtype", "auto", "{source: demo}", "{source: demo, dtype: auto}"),
        (
            "generation.stop",
            ["x"],
            '  stop:  # two of them\n  - "User:"\n  - |\n    END\n',
            '  stop: ["x"]  # two of them\n'.replace('"x"', "x"),
        ),
        ("generation.top_k", 5, "    END\n", "    END\n  top_k: 5\n"),
        ("prompt.system", "Say: no", "    END\n", '    END\nprompt:\n  system: "Say: no"\n'),
    ],
)
def test_only_that_value_changes(key: str, value: object, before: str, after: str) -> None:
    changed = with_value(FILE, tuple(key.split(".")), value)
    assert changed == FILE.replace(before, after)


TEXTS = [
    *("", "# nothing yet\n", "a:\n", "a: # later\n", "a: {}\n", "a: {b: 1,}\n", "a:\n  b: 1", "a: ~\n", "{}"),
    *("a: >\n  text\n\n\nz: 1\n", "a:\r\n  b: 1\r\n", "a: 'one\n  two'\n", "---\na:\n    b:\n    - x\n"),
    *("a: {b: 1 # one\n}\n", '"a":\n  "b": {c: [1, 2]}\n'),
]
VALUES = [3, "text", "two\nlines", ["x", "1e5", "no"], None, 1e-05, True, "é \U0001f600 \u202e"]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("value", VALUES)
def test_whatever_the_text_it_reads_back(text: str, value: object) -> None:
    changed = with_value(text, ("a", "b"), value)
    data = strict_yaml.value(changed)
    assert isinstance(data, dict) and data["a"]["b"] == value, changed
    again = with_value(changed, ("a", "b"), "other")
    assert strict_yaml.value(again)["a"]["b"] == "other"  # type: ignore[index]


def test_what_is_no_mapping_is_left_alone_and_broken_text_is_named() -> None:
    assert with_value("- a\n", ("a",), 1) == "- a\n"
    with pytest.raises(ProfileError, match="broken YAML"):
        with_value("a: [", ("a",), 1)


@pytest.mark.parametrize(
    "value", ["null", "1e5", "true", "12", "", " a", "a: b", "#", "x,y", "[", "-", "~", "'", '"']
)
def test_text_is_never_read_as_something_else(value: str) -> None:
    assert strict_yaml.value(f"[{flow(value)}]") == [value]
