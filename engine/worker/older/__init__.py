"""transformers 4 with the names and the ways of 5 that the worker uses; of 5 itself nothing is touched.

Owns what differs between the two. Enough for 4.51 and 4.53, which the original packages need. A model runs by
its own forward pass there: the engine's steps and CUDA graphs are made for 5.
"""

import importlib
import sys
from importlib import metadata
from types import ModuleType, SimpleNamespace
from typing import Any

from engine.errors import LoadError
from engine.worker.older import settings

OLDER = "transformers 4 runs here: the engine's own steps and CUDA graphs are made for 5"


def is_older() -> bool:
    """Whether the installed transformers is older than 5."""
    try:
        return int(metadata.version("transformers").partition(".")[0]) < 5
    except metadata.PackageNotFoundError:  # whoever imports it will say so
        return False


def require_newer(what: str) -> None:
    """LoadError where an older transformers would read `what`: its tokenizers of GGUF files are others."""
    if is_older():
        raise LoadError(
            f"{what} is read by transformers 5 only, and this worker has an older one",
            "leave out `worker` and `backend`, or convert it first",
        )


def adapt() -> None:
    """Make an older transformers look like 5: before any module that imports it, once a process."""
    if not is_older():
        return
    importlib.import_module("transformers.processing_utils")  # which makes the package's module again
    from transformers import (
        AutoModelForCausalLM,
        PretrainedConfig,
        PreTrainedModel,
        cache_utils,
        modeling_utils,
    )
    from transformers.utils import logging

    from engine.worker.older import cache

    names: Any = sys.modules["transformers"]
    names.PreTrainedConfig, names.DynamicCache = PretrainedConfig, cache.DynamicCache
    names.GgufConfig = SimpleNamespace  # what it says, dequantize, is the only way here
    for layer in (
        cache.CacheLayerMixin,
        cache.DynamicLayer,
        cache.DynamicSlidingWindowLayer,
        cache.DummyLayer,
    ):
        setattr(cache_utils, layer.__name__, layer)
    sys.modules["transformers.utils.loading_report"] = _loading_report()
    modeling_utils.log_state_dict_report = lambda **_: None  # what `completeness` replaces
    logging.set_tqdm_hook = lambda hook: None  # its bars know no tensors
    _adapt_configs(PretrainedConfig)
    _adapt_models(PreTrainedModel, modeling_utils)
    _adapt_auto(AutoModelForCausalLM)


def _adapt_configs(config_class: Any) -> None:
    """A config of 5 is read as what it says: 4 would take the default RoPE, and not tell."""
    read = config_class.get_config_dict.__func__

    def get_config_dict(cls: Any, *args: Any, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        found, rest = read(cls, *args, **options)
        return settings.older_config(found), rest

    config_class.get_config_dict = classmethod(get_config_dict)
    if not hasattr(config_class, "dtype"):
        config_class.dtype = property(lambda self: getattr(self, "torch_dtype", None))
    config_class.rope_parameters = property(_rope_parameters)


def _rope_parameters(config: Any) -> dict[str, Any]:
    said = dict(getattr(config, "rope_scaling", None) or {})
    return {
        "rope_type": said.get("type", "default"),
        "rope_theta": getattr(config, "rope_theta", None),
        **said,
    }


def _adapt_models(model_class: Any, modeling_utils: Any) -> None:
    """`from_pretrained` takes a `dtype` and reports what it has read, as that of 5 does."""
    load = model_class.from_pretrained.__func__

    def from_pretrained(cls: Any, *args: Any, **options: Any) -> Any:
        options = _older_options(options)
        wants_info = options.pop("output_loading_info", False)
        model, info = load(cls, *args, output_loading_info=True, **options)
        report = _report(**info)
        modeling_utils.log_state_dict_report(model=model, loading_info=report)
        return (model, info) if wants_info else model

    model_class.from_pretrained = classmethod(from_pretrained)
    model_class.all_tied_weights_keys = property(_tied)
    model_class._adjust_missing_and_unexpected_keys = _adjust


def _adapt_auto(auto_class: Any) -> None:
    """`AutoModelForCausalLM` hands its options to the config first, which would keep a `dtype` for itself."""
    load = auto_class.from_pretrained.__func__

    def from_pretrained(cls: Any, *args: Any, **options: Any) -> Any:
        return load(cls, *args, **_older_options(options))

    auto_class.from_pretrained = classmethod(from_pretrained)


def _older_options(options: dict[str, Any]) -> dict[str, Any]:
    found = {"torch_dtype" if key == "dtype" else key: value for key, value in options.items()}
    if isinstance(found.get("quantization_config"), SimpleNamespace):  # of a GGUF file
        del found["quantization_config"]
    return found


def _tied(model: Any) -> dict[str, str]:
    """Tensors that are another one, and which: the output head is the embedding, where the config says so."""
    if not model.config.get_text_config().tie_word_embeddings:
        return {}
    table = model.get_input_embeddings()
    name = next(name for name, module in model.named_modules() if module is table)
    return dict.fromkeys(model._tied_weights_keys or (), f"{name}.weight")


def _adjust(model: Any, report: Any) -> None:
    """Leave out what the model's class says it does without, or ignores."""
    import re

    for keys, patterns in (
        (report.missing_keys, model._keys_to_ignore_on_load_missing),
        (report.unexpected_keys, model._keys_to_ignore_on_load_unexpected),
    ):
        ignored = {key for key in keys for pattern in patterns or () if re.search(pattern, key)}
        keys.difference_update(ignored)


def _report(**found: Any) -> SimpleNamespace:
    """`LoadStateDictInfo`, of whatever of it is known."""
    sets = {
        name: set(found.get(name) or ()) for name in ("missing_keys", "unexpected_keys", "mismatched_keys")
    }
    return SimpleNamespace(**sets, error_msgs=list(found.get("error_msgs") or ()), conversion_errors={})


def _loading_report() -> ModuleType:
    module: Any = ModuleType("transformers.utils.loading_report")
    module.LoadStateDictInfo, module.update_key_name = _report, list
    return module
