"""What the tests of a GPU share: the device, a tiny model on it and its answers.

With KIT_DEVICE=cpu all of it runs on a CPU, so that it stays true where there is no GPU.
"""

import os

import pytest
import torch

from engine.config.methods import Method
from engine.config.profile import Generation, Model, Profile
from engine.worker.generate import decode
from engine.worker.generate.prefix_cache import KeptCache
from engine.worker.load import LoadedModel, load

WISH = os.environ.get("KIT_DEVICE", "cuda:0")
DEVICE = torch.device("cuda:0" if WISH == "cuda" else WISH)
HAS_GPU = DEVICE.type == "cuda"
PROMPT = list(range(70, 110))
cuda_only = pytest.mark.skipif(not HAS_GPU, reason="asks CUDA itself: nothing of it can run on a CPU")


def profile(method: Method, dtype: str = "float32", source: str = "random:tiny") -> Profile:
    """Of a model on the device."""
    return Profile(model=Model(source=source, dtype=dtype, device=str(DEVICE)), quantization=method)


def loaded(method: Method, dtype: str = "float32", source: str = "random:tiny") -> LoadedModel:
    """The model, in this process."""
    return load(profile(method, dtype, source), 1, lambda staged: None)


def written(
    model: LoadedModel, kept: KeptCache, settings: Generation, *, prepared: bool = True
) -> tuple[list[int], decode.End]:
    """The token ids of a cold answer, and how it ended; unless `prepared` nothing is captured for it."""
    cache = kept.take(PROMPT, model.model.config, settings.max_new_tokens, cold=True)
    if prepared:
        decode.prepare(model, cache)
    steps = list(decode.generate(model, PROMPT, settings, lambda: False, cache))
    kept.keep(cache, [])
    assert isinstance(steps[-1], decode.End)
    return [step.id for step in steps if isinstance(step, decode.Token)], steps[-1]
