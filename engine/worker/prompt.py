"""A conversation as the text and token ids a model reads: chat template, raw completion, or a Jinja file.

Knows tokenizers, not models. What begins a text (BOS) stands there once, whoever writes it.
"""

import hashlib
import struct
from collections.abc import Sequence
from pathlib import Path

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from engine.errors import InputError
from engine.profile import Prompt
from engine.protocol import Message

Conversation = Sequence[Message]


def render(
    tokenizer: PreTrainedTokenizerBase, prompt: Prompt, messages: Conversation
) -> tuple[str, list[int]]:
    """The conversation as text and token ids; InputError where the template refuses it.

    `chat`: the tokenizer's own template, encoded as transformers does it: its text is complete, nothing is
    added. `raw`, and `chat` where the tokenizer has no template: the texts joined by newlines, a single turn
    unchanged, encoded as the tokenizer encodes any text. A Jinja file: rendered like a chat template, encoded
    like any text, so that it may leave BOS out.
    """
    if not messages:
        raise InputError("there is nothing to answer: the conversation is empty")
    conversation = _with_system(prompt.system, messages)
    if prompt.template == "raw" or (prompt.template == "chat" and not tokenizer.chat_template):
        text = "\n".join(message.content for message in conversation)
        return text, encode(tokenizer, text)
    if prompt.template == "chat":
        text = _fill(tokenizer, None, conversation)
        return text, encode(tokenizer, text, adding_bos=False)
    text = _fill(tokenizer, _read(prompt.template), conversation)
    return text, encode(tokenizer, text)


def encode(tokenizer: PreTrainedTokenizerBase, text: str, *, adding_bos: bool = True) -> list[int]:
    """Token ids of a text, with one BOS where the text and the tokenizer both bring it."""
    ids: list[int] = tokenizer(text, add_special_tokens=adding_bos)["input_ids"]
    bos = tokenizer.bos_token_id
    doubled = bos is not None and ids[:2] == [bos, bos]
    return ids[1:] if doubled else ids


def remarks(
    tokenizer: PreTrainedTokenizerBase, prompt: Prompt, messages: Conversation, text: str
) -> tuple[str, ...]:
    """What the user should know of how this conversation became this text."""
    found = []
    conversation = _with_system(prompt.system, messages)
    if any(message.role == "system" and message.content.strip() not in text for message in conversation):
        found.append("the template leaves the system message out")
    bos = tokenizer.bos_token
    if bos and tokenizer("a")["input_ids"][0] == tokenizer.bos_token_id:
        is_chat = prompt.template == "chat" and bool(tokenizer.chat_template)
        begins = text.startswith(bos)
        if is_chat and not begins:
            found.append("the tokenizer begins a text with BOS, the chat template does not: there is none")
        elif text.startswith(bos * 2) or (begins and not is_chat):
            found.append("BOS came twice, from the text and from the tokenizer: it was put once")
    return tuple(found)


def sha256(token_ids: Sequence[int]) -> str:
    """The digest that proves two prompts equal: of the ids as little-endian 32-bit integers."""
    return hashlib.sha256(struct.pack(f"<{len(token_ids)}i", *token_ids)).hexdigest()


def _with_system(system: str | None, messages: Conversation) -> Conversation:
    """The conversation led by the profile's system message, where it has none of its own."""
    if system is None or any(message.role == "system" for message in messages):
        return messages
    return (Message("system", system), *messages)


def _fill(tokenizer: PreTrainedTokenizerBase, template: str | None, conversation: Conversation) -> str:
    turns = [{"role": message.role, "content": message.content} for message in conversation]
    try:
        return tokenizer.apply_chat_template(
            turns, chat_template=template, tokenize=False, add_generation_prompt=True
        )
    except TemplateError as error:
        raise InputError(
            f"the chat template refuses this conversation: {error}", _hint(conversation)
        ) from error


def _hint(conversation: Conversation) -> str:
    if conversation[0].role == "system":
        return "some models know no system message: leave `prompt.system` out"
    return "`prompt.template` can be `raw`, or a Jinja file of your own"


def _read(file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"the template cannot be read: {error}", "see `prompt.template` in the profile"
        ) from error
