"""A conversation as the text and token ids a model reads: chat template, raw completion, or a Jinja file.

Knows tokenizers, not models. BOS is there once, whoever adds it.
"""

from collections.abc import Sequence
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from engine import input_files
from engine.config.profile import MOST_TEMPLATE_BYTES, Prompt
from engine.errors import FileError, InputError
from engine.protocol.answers import Message
from engine.worker.generate import chat_template

Conversation = Sequence[Message]

_WHOSE = {
    "system": "the system message",
    "user": "the user's messages",
    "assistant": "the model's earlier answers",
}


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
    source = template(tokenizer, prompt)
    if not source:
        text = "\n".join(message.content for message in conversation)
        return text, encode(tokenizer, text)
    text = chat_template.fill(tokenizer, source, conversation, _variables(prompt))
    return text, encode(tokenizer, text, adding_bos=_adds_bos(tokenizer, prompt))


def _variables(prompt: Prompt) -> dict[str, object]:
    """What a prompt's settings say to the template."""
    chosen = prompt.thinking
    switch = {} if chosen == "auto" else dict.fromkeys(chat_template.SWITCHES, chosen == "on")
    return {**switch, **prompt.template_args}


def continued(
    tokenizer: PreTrainedTokenizerBase,
    prompt: Prompt,
    messages: Conversation,
    continuations: Sequence[str],
) -> tuple[list[int], tuple[tuple[int, ...], ...]]:
    """The prompt's token ids, and those of each text after it; InputError where one of these adds none.

    As in lm-eval: white space at the prompt's end goes to the texts, and each is what the whole of both has
    beyond the prompt's own tokens.
    """
    text, _ = render(tokenizer, prompt, messages)
    begin = text.rstrip()
    adding_bos = _adds_bos(tokenizer, prompt)
    before = encode(tokenizer, begin, adding_bos=adding_bos)
    wholes = (encode(tokenizer, text + following, adding_bos=adding_bos) for following in continuations)
    following = tuple(tuple(whole[len(before) :]) for whole in wholes)
    if not before or not all(following):
        raise InputError("the prompt, or what follows it, has no tokens")
    return before, following


def _adds_bos(tokenizer: PreTrainedTokenizerBase, prompt: Prompt) -> bool:
    """Whether the tokenizer's own beginning is put before the text: a chat template's is complete."""
    return prompt.template != "chat" or not template(tokenizer, prompt)


def encode(tokenizer: PreTrainedTokenizerBase, text: str, *, adding_bos: bool = True) -> list[int]:
    """Token ids of a text, with one BOS where the text and the tokenizer both add it."""
    ids: list[int] = tokenizer(text, add_special_tokens=adding_bos)["input_ids"]
    bos = tokenizer.bos_token_id
    doubled = bos is not None and ids[:2] == [bos, bos]
    return ids[1:] if doubled else ids


def remarks(
    tokenizer: PreTrainedTokenizerBase,
    prompt: Prompt,
    messages: Conversation,
    text: str,
    token_ids: Sequence[int],
) -> tuple[str, ...]:
    """What the user should know of how this conversation became this text and these ids."""
    found = []
    if source := template(tokenizer, prompt):
        conversation = _with_system(prompt.system, messages)
        lost = chat_template.unread(tokenizer, source, conversation, text)
        chosen = prompt.thinking
        if chosen != "auto" and not chat_template.can_switch_thinking(tokenizer, source, conversation):
            found.append(f"the template has no switch for thinking: `thinking: {chosen}` has no effect")
        if names := chat_template.unused(source, prompt.template_args):
            found.append(f"the template reads no {', '.join(names)}: `template_args` without effect")
        found += [f"the template leaves out {_WHOSE[role]}" for role in lost]
        if names := _special_in(tokenizer, conversation, token_ids):
            found.append(f"special tokens in a message's text are read as special tokens: {', '.join(names)}")
    bos = tokenizer.bos_token
    if bos and tokenizer("a")["input_ids"][0] == tokenizer.bos_token_id:
        is_chat = prompt.template == "chat" and bool(tokenizer.chat_template)
        begins = text.startswith(bos)
        if is_chat and not begins:
            found.append(
                "the tokenizer starts a text with BOS, the chat template does not: the prompt has none"
            )
        elif text.startswith(bos * 2) or (begins and not is_chat):
            found.append("BOS came twice, from the text and from the tokenizer: one was dropped")
    if _ends_with_added_eos(tokenizer, text, token_ids):
        found.append("the tokenizer ends a text with EOS: the model reads one after the prompt")
    return tuple(found)


def _ends_with_added_eos(tokenizer: PreTrainedTokenizerBase, text: str, token_ids: Sequence[int]) -> bool:
    """Whether the ids end with an EOS that is not in the text."""
    eos = tokenizer.eos_token
    return bool(eos) and list(token_ids[-1:]) == [tokenizer.eos_token_id] and not text.rstrip().endswith(eos)


def _special_in(
    tokenizer: PreTrainedTokenizerBase, conversation: Conversation, token_ids: Sequence[int]
) -> list[str]:
    """Special tokens of a prompt that stand in its messages' own text."""
    added = tokenizer.added_tokens_decoder
    names = [added[id].content for id in sorted(set(token_ids) & added.keys()) if added[id].special]
    return [name for name in names if any(name in message.content for message in conversation)]


def _with_system(system: str | None, messages: Conversation) -> Conversation:
    """The conversation led by the profile's system message, where it has none of its own."""
    if system is None or any(message.role == "system" for message in messages):
        return messages
    return (Message("system", system), *messages)


def template(tokenizer: PreTrainedTokenizerBase, prompt: Prompt) -> str:
    """The chat template in use; empty for plain completion."""
    if prompt.template == "raw":
        return ""
    return chat_template.default_template(tokenizer) if prompt.template == "chat" else _read(prompt.template)


def _read(file: str) -> str:
    try:
        return input_files.read_text(Path(file), MOST_TEMPLATE_BYTES)
    except FileError as error:
        raise InputError(
            f"the template cannot be read: {error}", "see `prompt.template` in the profile"
        ) from error
