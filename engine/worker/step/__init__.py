"""One token through a model: a few functions, and the two types that they return. See README.md.

Owns which kind of step runs a model, and its cache. Other packages import nothing but this.
"""

from transformers import DynamicCache, PreTrainedConfig, PreTrainedModel

from engine.config import runtime
from engine.config.runtime import CacheDtype, StepKind
from engine.worker.progress import Report
from engine.worker.step import kv_cache, native
from engine.worker.step.cpu import compile, compiled_step, repack
from engine.worker.step.cuda import choice
from engine.worker.step.kv_cache import GrowingCache
from engine.worker.step.stepper import Stepper

__all__ = [
    "GrowingCache",
    "Stepper",
    "begin",
    "drop_idle_window",
    "kind",
    "new_cache",
    "notes",
    "prepare",
    "reads_int4",
    "require_cache",
]


def prepare(model: PreTrainedModel, report: Report, cache: CacheDtype = "auto") -> bool:
    """Repack the weights of a model that has run once, as its step reads them; whether anything was done.

    Once per load, for the families that have a step of the engine's own; on a GPU where it is asked for.
    """
    compiles = runtime.reads_cache("compiled", cache)
    if compiles and choice.is_wanted(model):
        return choice.prepare(model, report)
    if model.device.type != "cpu" or not native.supports(model):
        return False
    repack.repack(model, report, compiles=compiles)
    return True


def reads_int4() -> bool:
    """Whether the compiled step multiplies with 4-bit weights on this CPU; compiles it where that is new."""
    return compile.has_vectors()


def kind(model: PreTrainedModel, cache: CacheDtype = "auto") -> StepKind:
    """What decodes this model with such a cache, as its layers are now."""
    compiles = runtime.reads_cache("compiled", cache)
    if compiles and (compiled_step.step_for(model) or choice.step_for(model)):
        return "compiled"
    return "native" if native.supports(model) else "forward"


def notes(model: PreTrainedModel, cache: CacheDtype) -> tuple[str, ...]:
    """What of the step is less than it could be here: of a cache that it does not read, of weights held anew.

    Whether it would have read the weights, and been compiled here, is not known.
    """
    could = choice.is_wanted(model) or compiled_step.supports_arithmetic(model)
    is_read = runtime.reads_cache("compiled", cache) or not could
    unread = "" if is_read else f"the compiled step reads no cache in {cache}"
    return tuple(note for note in (unread, choice.remarks.get(model, "")) if note)


def new_cache(config: PreTrainedConfig, expected_tokens: int = 0, dtype: CacheDtype = "auto") -> GrowingCache:
    """An empty cache; on a GPU it has capacity for `expected_tokens` from the beginning."""
    return kv_cache.growing_cache(config, expected_tokens, dtype)


def drop_idle_window(config: PreTrainedConfig) -> None:
    """A window that is as long as any text counts as none: taken out of the config of a model."""
    kv_cache.drop_idle_window(config)


def require_cache(config: PreTrainedConfig, dtype: CacheDtype, name: str) -> None:
    """LoadError where a model of this config cannot have a cache in `dtype`."""
    kv_cache.require_dtype(config, dtype, name)


def begin(model: PreTrainedModel, cache: DynamicCache) -> Stepper:
    """Forward passes that continue from what the cache holds, and extend it; any DynamicCache will do."""
    return Stepper(model, cache)
