"""Chat templates: filled as transformers fills them, in bounds, and with content in the form they want."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from engine.config.profile import MOST_TEMPLATE_BYTES, Prompt
from engine.errors import InputError
from engine.protocol.answers import Message
from engine.worker.checkpoints.random_tokenizer import random_tokenizer
from engine.worker.generate import chat_template, prompt
from engine.worker.generate.bounded import ExceedsError, bounded

HELLO = (Message("user", "Hi"),)
TALK = (
    Message("system", "Be brief."),
    *(
        Message("user", f"Question {turn}?\n{{% raw %}}")
        if turn % 2
        else Message("assistant", f"Thus {turn}.")
        for turn in range(1, 102)
    ),
)

TEMPLATES = sorted((Path(__file__).parent / "chat_templates").glob("*.jinja"))  # in the style of real ones
PARTS = "{% for m in messages %}{{ m.role }}:{% for p in m.content %}{{ p.text }}{% endfor %};{% endfor %}"


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    made = random_tokenizer(512, 2048)
    made.add_special_tokens({"bos_token": "<s>", "eos_token": "</s>"})
    return made


def read(
    tokenizer: PreTrainedTokenizerFast, template: object, *messages: Message
) -> tuple[str, tuple[str, ...]]:
    """The text that a template makes, and what is noted of it."""
    tokenizer.chat_template = template
    text, ids = prompt.render(tokenizer, Prompt(), messages)
    return text, prompt.remarks(tokenizer, Prompt(), messages, text, ids)


@pytest.mark.parametrize("file", TEMPLATES, ids=lambda file: file.stem)
def test_templates_of_today_are_filled_as_transformers_fills_them(
    tokenizer: PreTrainedTokenizerFast, file: Path
) -> None:
    template = file.read_text()
    for talk in (TALK, TALK[1:], HELLO, (*TALK, Message("assistant", "<think>so</think> 7"), *HELLO)[1:]):
        if file.stem == "mistral" and len(talk) > len(TALK):
            continue  # it wants the roles to alternate
        text, notes = read(tokenizer, template, *talk)
        turns = [{"role": m.role, "content": m.content} for m in talk]
        theirs = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        assert (text, notes) == (theirs, ())


@pytest.mark.parametrize("word", ["Hi", "u", "user", "x" * 1000])
def test_content_goes_in_parts_where_its_text_would_be_lost(
    tokenizer: PreTrainedTokenizerFast, word: str
) -> None:
    assert read(tokenizer, PARTS, Message("user", word)) == (f"user:{word};", ())
    by_place = "{{ messages[0].content[0]['text'] + '!' }}"
    assert read(tokenizer, by_place, Message("user", word)) == (f"{word}!", ())
    strict = "{% if messages[0].content is string %}{{ raise_exception('parts!') }}{% endif %}" + PARTS
    assert read(tokenizer, strict, Message("user", word)) == (f"user:{word};", ())


def test_only_those_roles_go_in_parts_that_want_it(tokenizer: PreTrainedTokenizerFast) -> None:
    template = """{% for m in messages %}{% if m.role == 'user' %}{{ m.content[0].text }}{% else %}
{{- m.content + ';' }}{% endif %}{% endfor %}"""
    talk = (Message("system", "s"), Message("user", "u"), Message("assistant", "a"), Message("user", "v"))
    assert read(tokenizer, template, *talk) == ("s;ua;v", ())


@pytest.mark.parametrize(
    ("template", "messages", "notes"),
    [
        ("nothing", HELLO, ["the user's messages"]),
        ("{{ messages[0].content[:1] }}", (Message("user", "word"),), ["the user's messages"]),
        ("{{ messages[-1].content }}", (Message("system", "a"), *HELLO), ["the system message"]),
        ("{{ messages[-1].content }}", (*HELLO, Message("assistant", "a"), Message("user", "Hi")),
         ["the user's messages", "the model's earlier answers"]),
        ("{{ messages[0].content | upper }}", (Message("user", "123"),), []),
    ],
)  # fmt: skip
def test_what_is_not_read_is_noted(
    tokenizer: PreTrainedTokenizerFast, template: str, messages: tuple[Message, ...], notes: list[str]
) -> None:
    assert list(read(tokenizer, template, *messages)[1]) == [
        f"the template leaves out {what}" for what in notes
    ]


def test_special_tokens_in_a_messages_text_are_noted(tokenizer: PreTrainedTokenizerFast) -> None:
    template = "{{ bos_token }}{{ messages[0].content }}{{ eos_token }}"
    assert read(tokenizer, template, Message("user", "a </s> b"))[1] == (
        "special tokens in a message's text are read as special tokens: </s>",
    )
    assert read(tokenizer, template, Message("user", "a b"))[1] == ()


def test_of_several_templates_the_default_is_filled(tokenizer: PreTrainedTokenizerFast) -> None:
    named = {"tool_use": "tools", "default": "{{ messages[0].content }}"}
    assert read(tokenizer, named, *HELLO)[0] == "Hi"
    with pytest.raises(InputError, match=r"chat templates \(rag, tool_use\) and none of them is default"):
        read(tokenizer, {"rag": "a", "tool_use": "b"}, *HELLO)
    assert read(tokenizer, {}, *HELLO)[0] == read(tokenizer, "", *HELLO)[0] == "Hi"


ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"


@pytest.mark.parametrize(
    ("template", "said"),
    [
        (ENDLESS, "takes longer than 0.2 s"),
        ("{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}", "RecursionError|longer than"),
        ("{{ 10 ** (10 ** 9) }}", "takes longer|takes more|OverflowError"),
        ("{{ messages[0].content ~ '%2000000000s' % 'a' }}", "takes more than 512 MiB"),
        ("{{ '%2000000000s' % 'a' }}", "takes more than 512 MiB"),
        ("{{ 'a' * 2000000000 }}", "takes more than 512 MiB"),
        ("{{ 'a'.ljust(2000000000) | length }}", "takes more than 512 MiB"),
        ("{{ [0] * 2000000000 }}", "takes more than 512 MiB"),
        ("{% set n = namespace(x='aaaaaaaa') %}{% for i in range(99) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
         "takes more than 512 MiB"),
        ("{{ 'a' * 100000000 }}", "writes more than 32 MiB"),
        ("{{ 1 / 0 }}", "refuses this conversation: ZeroDivisionError"),
        ("{{ '\\ud800' }}", "refuses this conversation: UnicodeEncodeError"),
        ("{{ range(10 ** 12) | list }}", "OverflowError"),
        ("{{ messages | frobnicate }}", "No filter named 'frobnicate'"),
        ("{{ raise_exception('x' * 1000000) }}", "refuses this conversation: x{300}"),
        ("{" * 100_000, "refuses this conversation"),
        ("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", "refuses this conversation|takes"),
    ],
    ids=range(17),
)  # fmt: skip
def test_a_template_has_bounds_and_what_it_raises_is_one_line(
    tokenizer: PreTrainedTokenizerFast, template: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit_s = 0.2 if "0.2 s" in said else 2.0 if "longer" in said else 60.0
    monkeypatch.setattr(chat_template, "MOST_S", limit_s)
    with pytest.raises(InputError, match=said) as caught:
        read(tokenizer, template, *HELLO)
    assert caught.value.hint and "\n" not in str(caught.value) and len(str(caught.value)) < 500
    assert read(tokenizer, "{{ messages[0].content }}", *HELLO) == ("Hi", ())


def test_bounds_nest_and_leave_no_trace() -> None:
    with pytest.raises(ExceedsError), bounded(0.05, 1 << 30):
        while True:
            time.perf_counter()
    with bounded(60, 1 << 26), pytest.raises(MemoryError):
        bytearray(1 << 28)
    assert len(bytearray(1 << 28)) == 1 << 28


NEVER_LOOKS_UP = """
from engine.worker.generate import bounded
bounded.GRACE_S = 0.2
a, b = [1], [1]
for _ in range(60):
    a, b = [a, a], [b, b]
with bounded.bounded(0.1, 1 << 30):
    a == b
"""


def test_code_that_heeds_no_alarm_ends_with_its_process() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", NEVER_LOOKS_UP], capture_output=True, timeout=60, check=False
    )
    assert ended.returncode == 1
    assert b"Timeout" in ended.stderr


@pytest.mark.parametrize("kind", ["pipe", "large", "folder", "bytes"])
def test_a_template_file_that_is_no_text_is_refused(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path, kind: str
) -> None:
    file = tmp_path / "template.jinja"
    if kind == "large":
        file.write_bytes(b" " * (MOST_TEMPLATE_BYTES + 1))
    elif kind == "bytes":
        file.write_bytes(b"caf\xe9")
    else:
        subprocess.run(["mkfifo" if kind == "pipe" else "mkdir", file], check=True)
    with pytest.raises(InputError, match=r"the template cannot be read: .*template\.jinja"):
        prompt.render(tokenizer, Prompt(template=str(file)), HELLO)
