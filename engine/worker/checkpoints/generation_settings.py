"""Settings of a checkpoint's generation_config.json that the engine ignores.

Owns which settings change the tokens that `generate` chooses greedily, and the refusal of invalid end tokens.
What a profile sets itself is the profile's.
"""

from typing import Any

from transformers import PreTrainedModel

from engine.config.profile import Generation
from engine.errors import LoadError

_CHANGING = (
    "bad_words_ids",
    "begin_suppress_tokens",
    "exponential_decay_length_penalty",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "guidance_scale",
    "min_length",
    "min_new_tokens",
    "no_repeat_ngram_size",
    "num_beams",
    "penalty_alpha",
    "repetition_penalty",
    "sequence_bias",
    "stop_strings",
    "suppress_tokens",
    "watermarking_config",
)
LONGEST_VALUE = 40  # characters of a setting in the note


def notes(model: PreTrainedModel, generation: Generation) -> tuple[str, ...]:
    """What the user should know about settings that are ignored."""
    ignored = [f"{name} {_short(value)}" for name, value in _asked(model, generation).items()]
    return (f"settings of generation_config.json that are ignored: {', '.join(ignored)}",) if ignored else ()


def require_ends(model: PreTrainedModel, name: str) -> None:
    """LoadError where an end token is not a token id."""
    ends = getattr(model.generation_config, "eos_token_id", None)
    listed = ends if isinstance(ends, list | tuple) else [ends]
    if wrong := [
        end for end in listed if end is not None and (isinstance(end, bool) or not isinstance(end, int))
    ]:
        raise LoadError(
            f"{name} has an eos_token_id that is not a number: {_short(wrong[0])}",
            "see its generation_config.json and config.json",
        )


def _asked(model: PreTrainedModel, generation: Generation) -> dict[str, Any]:
    """Those that are on, and differ from the profile's."""
    said = getattr(model, "generation_config", None)
    found = {name: getattr(said, name, None) for name in _CHANGING}
    held = {"repetition_penalty": generation.repetition_penalty, "stop_strings": list(generation.stop)}
    is_off: tuple[Any, ...] = (None, 0, 1, [], {})  # one beam, a penalty of one
    return {name: value for name, value in found.items() if value not in is_off and held.get(name) != value}


def _short(value: object) -> str:
    said = str(value)
    return said if len(said) <= LONGEST_VALUE else f"{said[: LONGEST_VALUE - 1]}…"
