"""One token through a model: four functions, and the two types that they return. See README.md.

Owns which kind of step runs a model, and its cache. Other packages import nothing but this.
"""

from transformers import DynamicCache, PreTrainedConfig, PreTrainedModel

from engine.config.runtime import StepKind
from engine.worker.progress import Report
from engine.worker.step import kv_cache, native
from engine.worker.step.cpu import compiled_step, repack
from engine.worker.step.cuda import choice
from engine.worker.step.kv_cache import GrowingCache
from engine.worker.step.stepper import Stepper

__all__ = ["GrowingCache", "Stepper", "begin", "kind", "new_cache", "prepare"]


def prepare(model: PreTrainedModel, report: Report) -> bool:
    """Repack the weights of a model that has run once, as its step reads them; whether anything was done.

    Once per load, for the families that have a step of the engine's own; on a GPU where it is asked for.
    """
    if choice.is_wanted(model):
        return choice.prepare(model, report)
    if model.device.type != "cpu" or not native.supports(model):
        return False
    repack.repack(model, report)
    return True


def kind(model: PreTrainedModel) -> StepKind:
    """What decodes this model, as its layers are now."""
    if compiled_step.step_for(model) or choice.step_for(model):
        return "compiled"
    return "native" if native.supports(model) else "forward"


def new_cache(config: PreTrainedConfig, expected_tokens: int = 0) -> GrowingCache:
    """An empty cache; on a GPU it has capacity for `expected_tokens` from the beginning."""
    return kv_cache.growing_cache(config, expected_tokens)


def begin(model: PreTrainedModel, cache: DynamicCache) -> Stepper:
    """Forward passes that continue from what the cache holds, and extend it; any DynamicCache will do."""
    return Stepper(model, cache)
