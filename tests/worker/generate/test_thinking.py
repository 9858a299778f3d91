"""How models mark thoughts, and the switch that their templates have."""

from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from engine.config.profile import Prompt, Thinking
from engine.protocol.answers import Message
from engine.worker.checkpoints.random_tokenizer import random_tokenizer
from engine.worker.generate import prompt, thinking
from engine.worker.generate.detokenize import Detokenizer

TEMPLATES = Path(__file__).parent / "chat_templates"
SWITCH = "{{ messages[0].content }}{% if enable_thinking is false %}<think></think>{% endif %}"
HELLO = (Message("user", "Hi"),)


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerFast:
    return random_tokenizer(512, 2048)


@pytest.mark.parametrize(
    ("file", "found"),
    [
        ("qwen", ("<think>", "</think>")),
        ("deepseek", ("<think>", "</think>")),
        ("llama", None),
    ],
)
def test_marks_of_templates(tokenizer: PreTrainedTokenizerFast, file: str, found: object) -> None:
    if file == "deepseek":
        tokenizer.add_tokens(["<think>", "</think>"])
    assert thinking.marks(tokenizer, (TEMPLATES / f"{file}.jinja").read_text()) == found


def test_marks_of_tokens_and_a_prompt_that_ends_within_thoughts(tokenizer: PreTrainedTokenizerFast) -> None:
    tokenizer.add_special_tokens({"additional_special_tokens": ["[THINK]", "[/THINK]"]})
    found = thinking.marks(tokenizer, "")
    assert found == ("[THINK]", "[/THINK]")
    marks = thinking.of_prompt(found, "Hi [THINK]\n")
    assert marks and marks.within
    assert thinking.of_prompt(None, "Hi") is None
    assert Detokenizer(tokenizer).hides(tokenizer.convert_tokens_to_ids("[THINK]"))


@pytest.mark.parametrize(("way", "text"), [("auto", "Hi"), ("on", "Hi"), ("off", "Hi<think></think>")])
def test_the_profile_s_choice_goes_to_the_template(
    tokenizer: PreTrainedTokenizerFast, way: Thinking, text: str
) -> None:
    tokenizer.chat_template = SWITCH
    wanted = Prompt(thinking=way)
    assert prompt.render(tokenizer, wanted, HELLO)[0] == text
    assert not prompt.remarks(tokenizer, wanted, HELLO, text, [])


def test_a_template_without_a_switch_is_noted(tokenizer: PreTrainedTokenizerFast) -> None:
    tokenizer.chat_template = "{{ messages[0].content }}"
    (note,) = prompt.remarks(tokenizer, Prompt(thinking="off"), HELLO, "Hi", [])
    assert note == "the template has no switch for thinking: `thinking: off` has no effect"


def test_variables_of_the_profile_go_to_the_template(tokenizer: PreTrainedTokenizerFast) -> None:
    tokenizer.chat_template = SWITCH + "{{ effort }}"
    wanted = Prompt(thinking="on", template_args={"enable_thinking": False, "effort": "low"})
    text = "Hi<think></think>low"
    assert prompt.render(tokenizer, wanted, HELLO)[0] == text
    assert not prompt.remarks(tokenizer, Prompt(template_args={"effort": "low"}), HELLO, "Hilow", [])
    (note,) = prompt.remarks(tokenizer, Prompt(template_args={"effrt": "low"}), HELLO, "Hi", [])
    assert note == "the template reads no effrt: `template_args` without effect"


@pytest.mark.parametrize("name", ["messages", "add_generation_prompt", "a b"])
def test_what_the_engine_fills_is_no_variable(name: str) -> None:
    with pytest.raises(ValueError, match="is no variable that can be set"):
        Prompt(template_args={name: "x"})
