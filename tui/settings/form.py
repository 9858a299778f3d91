"""The settings of all sides as fields of text, and back: what is chosen, and what differs. Pure."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, get_args

import msgspec

from engine.config import strict_yaml
from engine.config.faults import item_at
from engine.config.profile import Profile, Thinking
from engine.config.yaml_edit import flow
from engine.duel.overrides import Overrides
from engine.duel.sides import LETTERS
from engine.errors import ProfileError

SYSTEM = "prompt.system"
ITS_OWN = (SYSTEM, "prompt.thinking")  # unless chosen each side's own holds; of all else A's holds for all


class Setting(NamedTuple):
    """One field."""

    key: str
    label: str
    hint: str = ""
    choices: tuple[str, ...] = ()


SETTINGS = (
    Setting(SYSTEM, "system prompt"),
    Setting("generation.temperature", "temperature", "0 is greedy"),
    Setting("generation.top_p", "top-p", "1 is off"),
    Setting("generation.top_k", "top-k", "0 is off"),
    Setting("generation.min_p", "min-p", "0 is off"),
    Setting("generation.repetition_penalty", "repetition penalty", "1 is off"),
    Setting("generation.seed", "seed"),
    Setting("generation.max_new_tokens", "max tokens"),
    Setting("generation.stop", "stop strings", 'such as "User:", "\\n\\n"'),
    Setting("prompt.thinking", "thinking", "auto: by the template", get_args(Thinking)),
)


class Mark(NamedTuple):
    """What is shown next to a field."""

    text: str
    differs: bool = False
    """Whether the sides do not do the same."""


class Form:
    """The fields over the sides' profiles and what was chosen before."""

    def __init__(self, profiles: Sequence[Profile], before: Overrides) -> None:
        self._a, *self._others = profiles
        self._before = before
        self.shown = {setting.key: text_of(before.on(self._a), setting.key) for setting in SETTINGS}
        """What each field says at first."""

    @property
    def defaults(self) -> dict[str, str]:
        """What each field says where nothing is chosen: A's profile."""
        return {setting.key: text_of(self._a, setting.key) for setting in SETTINGS}

    def forget(self) -> None:
        """Nothing was chosen before."""
        self._before = Overrides()
        self.shown = self.defaults

    def chosen(self, texts: Mapping[str, str]) -> Overrides:
        """What these fields choose; ProfileError names the field that says nothing possible."""
        values: dict[str, object] = {}
        for setting in SETTINGS:
            text, key = texts[setting.key], setting.key
            is_new = text != self.shown[key]
            if setting.key in ITS_OWN:
                if is_new or key in self._before.values:
                    values[key] = _value(setting, text)
            elif text != text_of(self._a, key):
                values[key] = _value(setting, text)
        others = {key: value for key, value in self._before.values.items() if key not in self.shown}
        found = Overrides({**others, **values})
        for profile in (self._a, *self._others):
            found.on(profile)
        return found

    def mark(self, setting: Setting, chosen: Overrides) -> Mark:
        """What to know of a field: that the sides differ, or what the profiles say, or what values mean."""
        key = setting.key
        a, now_a = text_of(self._a, key), text_of(chosen.on(self._a), key)
        own = [text_of(profile, key) for profile in self._others]
        now = [text_of(chosen.on(profile), key) for profile in self._others]
        if key in ITS_OWN and (words := _unlike(now_a, now, "")):
            return Mark(f"≠ {words}", differs=True)
        if key not in ITS_OWN and (words := _unlike(now_a, own, "'s profile")):
            return Mark(f"≠ {words}")
        return Mark(f"A's profile: {a or 'none'}" if now_a != a else setting.hint)


def differences(profiles: Sequence[Profile], chosen: Overrides) -> list[str]:
    """What the sides do differently, in words; the settings of the sampling are never among it."""
    now = [chosen.on(profile) for profile in profiles]
    own = [setting for setting in SETTINGS if setting.key in ITS_OWN]
    return [setting.label for setting in own if len({text_of(each, setting.key) for each in now}) > 1]


def _unlike(a: str, others: Sequence[str], whose: str) -> str:
    """`B: none`: which of the others are not as A, and how they are; empty where all are."""
    letters = zip(LETTERS[1:], others, strict=False)
    return ", ".join(f"{letter}{whose}: {text or 'none'}" for letter, text in letters if text != a)


def text_of(profile: Profile, key: str) -> str:
    """A profile's value as its field says it."""
    match item_at(msgspec.to_builtins(profile), tuple(key.split("."))):
        case None:
            return ""
        case str() as text:
            return text
        case list() | tuple() as items:
            return ", ".join(map(flow, items))
        case value:
            return flow(value)


def _value(setting: Setting, text: str) -> object:
    if setting.key == SYSTEM:
        return text or None
    if setting.choices:
        return text
    source = f"[{text}]" if setting.key == "generation.stop" else text
    try:
        return strict_yaml.value(source)
    except ProfileError as error:
        raise ProfileError("settings", f"cannot be read: {text}", key=setting.key) from error
