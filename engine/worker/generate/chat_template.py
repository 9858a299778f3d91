"""Fills chat templates: they are untrusted code, so run with limits, and get content in the form they expect.

Renders with transformers' own code. Knows tokenizers; must not know profiles, nor how a text becomes ids.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from engine.errors import InputError
from engine.protocol.answers import Message, Role
from engine.worker.failures import first_line
from engine.worker.generate.bounded import ExceedsError, bounded

MOST_S = 5.0
MOST_BYTES = 1 << 29
MOST_CHARACTERS = 32 << 20
OTHERWISE = "`prompt.template` can be `raw`, or a Jinja file of your own"

NO_VARIABLES: Mapping[str, object] = {}
SWITCHES = ("enable_thinking", "thinking")  # the variables that templates read
_LIST_AS_TEXT = re.compile(r"""["']type["']: ?["']text["']""")

Conversation = Sequence[Message]


def default_template(tokenizer: PreTrainedTokenizerBase) -> str:
    """The tokenizer's template, the default one where it has several; empty where it has none."""
    template = tokenizer.chat_template or ""
    if isinstance(template, str):
        return template
    if "default" not in template:
        names = ", ".join(template)
        raise InputError(f"the tokenizer has chat templates ({names}) and none of them is default", OTHERWISE)
    return str(template["default"])


def fill(
    tokenizer: PreTrainedTokenizerBase,
    template: str,
    conversation: Conversation,
    variables: Mapping[str, object] = NO_VARIABLES,
) -> str:
    """The text a template renders from a conversation; InputError where it refuses, fails or never ends."""
    form = _form(tokenizer, template, _roles(conversation))
    try:
        return _rendered(tokenizer, template, conversation, form.in_parts, variables)
    except TemplateError as error:
        said = f"the chat template refuses this conversation: {str(error)[:300]}"
        raise InputError(said, _hint(conversation)) from error


def can_switch_thinking(
    tokenizer: PreTrainedTokenizerBase, template: str, conversation: Conversation
) -> bool:
    """Whether the template renders a conversation differently with thinking switched on and off."""
    ways = (dict.fromkeys(SWITCHES, is_on) for is_on in (True, False))
    return len({fill(tokenizer, template, conversation, way) for way in ways}) > 1


def unused(template: str, names: Iterable[str]) -> list[str]:
    """The variables that the template never names."""
    return [name for name in names if not re.search(rf"\b{name}\b", template)]


def unread(
    tokenizer: PreTrainedTokenizerBase, template: str, conversation: Conversation, text: str
) -> list[Role]:
    """The roles of messages whose words are missing from the rendered text, each once.

    Thoughts before `</think>` do not count: templates of reasoning models drop those of earlier turns.
    """
    lost = set(_form(tokenizer, template, _roles(conversation)).lost)
    lost |= {message.role for message in conversation if _said(message) not in text}
    return [role for role in dict.fromkeys(_roles(conversation)) if role in lost]


def _said(message: Message) -> str:
    return message.content.rpartition("</think>")[2].strip()


def _roles(conversation: Conversation) -> tuple[Role, ...]:
    return tuple(message.role for message in conversation)


@dataclass(frozen=True, slots=True)
class _Form:
    """How a template expects content: as a list of parts for these roles; and which roles it still drops."""

    in_parts: frozenset[str] = frozenset()
    lost: frozenset[str] = frozenset()


@lru_cache(maxsize=32)
def _form(tokenizer: PreTrainedTokenizerBase, template: str, roles: tuple[Role, ...]) -> _Form:
    """Found by trying: content is text, unless words are lost or refused that come through as parts."""
    everybody = frozenset(roles)
    as_text = _lost(tokenizer, template, roles, frozenset())
    if as_text == frozenset():
        return _Form()
    tried = {frozenset[str](): as_text}
    for in_parts in (as_text or everybody, everybody):
        tried[in_parts] = _lost(tokenizer, template, roles, in_parts)
    found = [_Form(in_parts, lost) for in_parts, lost in tried.items() if lost is not None]
    return min(found, key=lambda form: len(form.lost), default=_Form())


def _lost(
    tokenizer: PreTrainedTokenizerBase, template: str, roles: tuple[Role, ...], in_parts: frozenset[str]
) -> frozenset[str] | None:
    """The roles whose made-up words do not come through; None where the template refuses them."""
    words = [Message(role, f"word{number:04d}made") for number, role in enumerate(roles)]
    try:
        text = _rendered(tokenizer, template, words, in_parts).lower()
    except TemplateError:
        return None
    if in_parts and _LIST_AS_TEXT.search(text):
        return None
    return frozenset(word.role for word in words if word.content not in text)


def _rendered(
    tokenizer: PreTrainedTokenizerBase,
    template: str,
    conversation: Conversation,
    in_parts: frozenset[str],
    variables: Mapping[str, object] = NO_VARIABLES,
) -> str:
    """TemplateError where the template refuses or fails, InputError where it exceeds the bounds."""
    turns = [{"role": m.role, "content": _content(m, in_parts)} for m in conversation]
    try:
        with bounded(MOST_S, MOST_BYTES):
            text: str = tokenizer.apply_chat_template(
                turns, chat_template=template, tokenize=False, add_generation_prompt=True, **variables
            )
        text.encode()  # half a surrogate pair is no text: no tokenizer takes it
    except ExceedsError:
        raise InputError(f"the chat template takes longer than {MOST_S:g} s", OTHERWISE) from None
    except MemoryError:
        raise InputError(f"the chat template takes more than {MOST_BYTES >> 20} MiB", OTHERWISE) from None
    except TemplateError:
        raise
    except Exception as error:  # whatever an untrusted expression raises
        raise TemplateError(first_line(error)) from error
    if len(text) > MOST_CHARACTERS:
        raise InputError(f"the chat template writes more than {MOST_CHARACTERS >> 20} MiB of text", OTHERWISE)
    return text


def _content(message: Message, in_parts: frozenset[str]) -> str | list[dict[str, str]]:
    return [{"type": "text", "text": message.content}] if message.role in in_parts else message.content


def _hint(conversation: Conversation) -> str:
    if conversation[0].role == "system":
        return "some models take no system message: leave out `prompt.system`"
    return OTHERWISE
