"""Conversations as prompts: templates, raw completion, and BOS exactly once."""

import hashlib
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from engine.config.profile import Prompt
from engine.errors import InputError
from engine.protocol.answers import Message
from engine.token_ids import sha256
from engine.worker.checkpoints.random_tokenizer import random_tokenizer
from engine.worker.generate import prompt

HELLO = (Message("user", "Hello"),)
TALK = (Message("user", "one"), Message("assistant", "two"), Message("user", "three"))
STRICT = """{{ bos_token }}{% for message in messages %}
{%- if message['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}
{%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
{{- raise_exception('Roles must alternate user/assistant') }}{% endif %}
{{- message['content'] }}
{%- endfor %}"""


def word_tokenizer(*, template: str | None = None, bos: bool = True) -> PreTrainedTokenizerFast:
    """Characters as tokens; encoding puts BOS in front, as Llama's and OPT's tokenizers do."""
    vocabulary = {token: id for id, token in enumerate(["<s>", "</s>", "\n", *map(chr, range(32, 127))])}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens(["<s>", "</s>"])
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 0)])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")
    fast.chat_template = template
    return fast


def test_chat_is_the_tokenizers_own_template(demo_tokenizer: PreTrainedTokenizerBase) -> None:
    text, ids = prompt.render(demo_tokenizer, Prompt(), TALK)
    turns = [{"role": turn.role, "content": turn.content} for turn in TALK]
    theirs = demo_tokenizer.apply_chat_template(turns, add_generation_prompt=True)
    assert ids == theirs["input_ids"]
    assert text.endswith("<|im_start|>assistant\n")
    assert demo_tokenizer.decode(ids) == text


def test_the_profiles_system_message_leads_unless_the_conversation_has_one(
    demo_tokenizer: PreTrainedTokenizerBase,
) -> None:
    profile = Prompt(system="Be brief.")
    text, _ = prompt.render(demo_tokenizer, profile, HELLO)
    assert text.startswith("<|im_start|>system\nBe brief.<|im_end|>")
    own = (Message("system", "Be long."), *HELLO)
    text, _ = prompt.render(demo_tokenizer, profile, own)
    assert "Be long." in text
    assert "Be brief." not in text


def test_raw_is_the_text_itself(demo_tokenizer: PreTrainedTokenizerBase) -> None:
    text, ids = prompt.render(demo_tokenizer, Prompt(template="raw"), HELLO)
    assert text == "Hello"
    assert ids == demo_tokenizer("Hello")["input_ids"]


def test_raw_joins_turns_by_newlines() -> None:
    text, _ = prompt.render(word_tokenizer(), Prompt(template="raw", system="zero"), TALK)
    assert text == "zero\none\ntwo\nthree"


def test_a_tokenizer_without_template_completes() -> None:
    tokenizer = random_tokenizer(512, 2048)
    text, ids = prompt.render(tokenizer, Prompt(), HELLO)
    assert (text, ids) == ("Hello", list(b"Hello"))


def test_bos_the_tokenizer_adds_is_kept() -> None:
    """OPT: a leading </s> before every text."""
    _, ids = prompt.render(word_tokenizer(), Prompt(), HELLO)
    assert ids[0] == 0
    assert ids.count(0) == 1
    assert len(ids) == 6


@pytest.mark.parametrize("where", ["chat", "file", "raw"])
@pytest.mark.parametrize("tokenizer_adds", [True, False])
def test_bos_is_never_doubled(where: str, tokenizer_adds: bool, tmp_path: Path) -> None:
    template = "{{ bos_token }}{{ messages[0]['content'] }}"
    tokenizer = word_tokenizer(template=template if where == "chat" else None, bos=tokenizer_adds)
    file = tmp_path / "own.jinja"
    file.write_text(template)
    settings = Prompt(template=str(file) if where == "file" else where)
    messages = (Message("user", "<s>Hello"),) if where == "raw" else HELLO
    text, ids = prompt.render(tokenizer, settings, messages)
    assert text == "<s>Hello"
    assert ids.count(0) == 1
    assert tokenizer.decode(ids[1:]) == "Hello"


def test_an_eos_that_the_tokenizer_adds_is_noted() -> None:
    tokenizer = word_tokenizer()
    specials = [("<s>", 0), ("</s>", 1)]
    ending = processors.TemplateProcessing("<s> $A </s>", special_tokens=specials)
    tokenizer.backend_tokenizer.post_processor = ending
    noted = ("the tokenizer ends a text with EOS: the model reads one after the prompt",)
    assert prompt.remarks(tokenizer, Prompt(), HELLO, *prompt.render(tokenizer, Prompt(), HELLO)) == noted
    said = (Message("user", "Hello</s>"),)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing("$A", special_tokens=[])
    assert noted[0] not in prompt.remarks(
        tokenizer, Prompt(), said, *prompt.render(tokenizer, Prompt(), said)
    )


def test_a_jinja_file_without_bos_gets_the_tokenizers(tmp_path: Path) -> None:
    file = tmp_path / "vicuna.jinja"
    file.write_text(
        "{% for m in messages %}{{ m['role'].upper() }}: {{ m['content'] }} {% endfor %}ASSISTANT:"
    )
    text, ids = prompt.render(word_tokenizer(), Prompt(template=str(file)), HELLO)
    assert text == "USER: Hello ASSISTANT:"
    assert ids[0] == 0
    assert ids.count(0) == 1


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ((Message("system", "s"), *HELLO), "System role not supported"),
        ((*HELLO, *HELLO), "Roles must alternate"),
    ],
)
def test_a_template_that_refuses_says_why(messages: tuple[Message, ...], said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        prompt.render(word_tokenizer(template=STRICT), Prompt(), messages)
    assert caught.value.hint


def test_a_template_may_not_leave_its_sandbox(tmp_path: Path) -> None:
    file = tmp_path / "evil.jinja"
    file.write_text("{{ ''.__class__.__mro__[1].__subclasses__() }}")
    with pytest.raises(InputError, match="unsafe"):
        prompt.render(word_tokenizer(), Prompt(template=str(file)), HELLO)


def test_a_broken_template_and_a_missing_one_are_bad_input(tmp_path: Path) -> None:
    file = tmp_path / "broken.jinja"
    file.write_text("{% for %}")
    for template in (str(file), str(tmp_path / "missing.jinja")):
        with pytest.raises(InputError):
            prompt.render(word_tokenizer(), Prompt(template=template), HELLO)


def test_an_empty_conversation_is_bad_input(demo_tokenizer: PreTrainedTokenizerBase) -> None:
    with pytest.raises(InputError, match="empty"):
        prompt.render(demo_tokenizer, Prompt(), ())


def test_the_digest_is_of_little_endian_32_bit_integers() -> None:
    assert sha256([1, 256]) == hashlib.sha256(bytes([1, 0, 0, 0, 0, 1, 0, 0])).hexdigest()
