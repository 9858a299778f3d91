"""Whether a model, or a text, can be run as the engine runs it: token by token, with transformers' cache.

Owns these refusals: from a config before weights are read, from a model's first tokens, and from a request's
tokens. Decides by what a model accepts and caches, never by its name.
"""

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from engine.config.runtime import CacheDtype
from engine.errors import InputError, LoadError
from engine.worker import forward, step
from engine.worker.host import memory

COMPUTED = (torch.bfloat16, torch.float16, torch.float32, torch.float64)
CAUSAL = {torch.float32: 1e-4, torch.float64: 1e-4}
"""By how much of the largest logit a later token may change an earlier one's; 0.02 in other dtypes."""
HINT = "use a decoder-only text model, such as a Llama, a Mistral or a Qwen"
HINT_FAILED = "try another method or another model; the worker's log has the details"

HINT_NOT_FINITE = (
    "a weight is infinite or NaN (copy it again), or the model needs the range of `model.dtype: float32`"
)


def require_kind(config: PreTrainedConfig, name: str) -> None:
    """LoadError unless this kind of model generates text as a decoder, with a cache."""
    kind = f"{name} is a model of type {config.model_type}"
    if getattr(config, "is_encoder_decoder", False):
        raise LoadError(f"{kind}, an encoder-decoder: only decoders are supported", HINT)
    is_known = type(config) in AutoModelForCausalLM._model_mapping
    if not is_known and "AutoModelForCausalLM" not in (getattr(config, "auto_map", None) or {}):
        raise LoadError(f"{name} is not a text-generating model: its type is {config.model_type}", HINT)
    if is_known and not _takes_a_cache(AutoModelForCausalLM._model_mapping[type(config)]):
        raise LoadError(f"{kind}, which has no key-value cache: it is not supported", HINT)


def require_dtype(dtype: torch.dtype, name: str) -> None:
    """LoadError for weights in a dtype that no model computes in."""
    if dtype not in COMPUTED:
        said = str(dtype).removeprefix("torch.")
        raise LoadError(
            f"{name} has weights in {said}, a dtype that models do not compute in", "`dtype: bfloat16`"
        )


def require_reading(model: PreTrainedModel, name: str, dtype: CacheDtype = "auto") -> Tensor:
    """The logits of first tokens; LoadError unless each is read once, in order, and then cached."""
    tokens = _first_tokens(model)
    cache = step.new_cache(model.config, dtype=dtype)
    try:
        logits = forward.logits(model, tokens, cache)
        forward.logits(model, tokens[:, :1], cache)
        held = cache.get_seq_length()
    except Exception as error:
        if memory.is_out_of_memory(error):
            raise
        raise LoadError(f"{_kind(model, name)}, which cannot be run: {_line(error)}", HINT_FAILED) from error
    if not bool(logits.amax(dim=-1).isfinite().all()):
        said = str(logits.dtype).removeprefix("torch.")
        raise LoadError(
            f"{name} computes infinite or NaN logits for its first tokens, in {said}", HINT_NOT_FINITE
        )
    if held != tokens.shape[1] + 1:
        raise LoadError(f"{_kind(model, name)}, which does not keep what it reads in a cache", HINT)
    if not _is_causal(logits):
        raise LoadError(f"{_kind(model, name)}, which attends in both directions: it is an encoder", HINT)
    return logits


def notes(model: PreTrainedModel) -> tuple[str, ...]:
    """Whether the embedding has tokens without numbers: one pass over it, 43 ms for 525 MB on one core."""
    table = getattr(model.get_input_embeddings(), "weight", None)
    if table is None or table.is_meta or table.dtype not in COMPUTED:
        return ()
    if bool(table.sum(dtype=torch.float32).isfinite()):
        return ()
    rows = int((~table.sum(dim=-1, dtype=torch.float32).isfinite()).sum())
    named = next((name for name, held in model.named_parameters() if held is table), "the embedding")
    return (f"{named} holds infinite or NaN numbers for {rows} tokens: a prompt with one gets no answer",)


def require_embedded(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, token_ids: Sequence[int]
) -> None:
    """InputError where a token has no row in the embedding: it was added to the tokenizer only."""
    rows = _rows(model)
    unknown = next((id for id in token_ids if not 0 <= id < rows), None)
    if unknown is not None:
        spelling = tokenizer.decode([unknown]) if unknown >= 0 else ""
        raise InputError(
            f"the token {spelling!r} has the id {unknown}, but the model's last id is {rows - 1}",
            "tokenizer and model do not match: take both from one checkpoint",
        )


def _rows(model: PreTrainedModel) -> int:
    """Of the embedding table."""
    table = model.get_input_embeddings()
    return int(getattr(table, "num_embeddings", 0) or model.config.get_text_config().vocab_size)


def _takes_a_cache(model_class: Any) -> bool:
    """As attention does; a recurrent model's cache has another name, or it has none."""
    return "past_key_values" in inspect.signature(model_class.forward).parameters


def _kind(model: PreTrainedModel, name: str) -> str:
    return f"{name} is a model of type {model.config.model_type}"


def _line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def _first_tokens(model: PreTrainedModel) -> Tensor:
    """[2, 3]: two texts that differ in their last token."""
    padding = getattr(model.config.get_text_config(), "pad_token_id", None)
    first, second, third = ([id for id in range(min(_rows(model), 4)) if id != padding] * 3)[:3]
    return torch.tensor([[first, second, first], [first, second, third]], device=model.device)


def _is_causal(logits: Tensor) -> bool:
    """Whether two texts that differ in their last token have the same logits before it."""
    one, other = logits[:, :-1].float().nan_to_num(neginf=0)  # a head may mask tokens with -inf
    limit = CAUSAL.get(logits.dtype, 0.02) * float(one.abs().max())
    return float((one - other).abs().max()) <= limit
