"""Everything that happens once on a GPU, done while a model loads and before anybody waits for an answer.

Kernels are loaded and chosen at their first use, and a decode step is captured once. Owns the first cache's
size and an answer that nobody reads. Must not know the wire.
"""

import torch

from engine.config import runtime
from engine.config.profile import Generation
from engine.protocol.loading import Staged
from engine.worker.generate import decode
from engine.worker.generate.prefix_cache import KeptCache
from engine.worker.host import memory
from engine.worker.load import LoadedModel
from engine.worker.progress import Report
from engine.worker.step import Stepper

READ_TOKENS = 64
WRITTEN_TOKENS = 3
EVERYTHING = Generation(
    max_new_tokens=WRITTEN_TOKENS, temperature=0.7, top_k=40, top_p=0.9, min_p=0.05, repetition_penalty=1.1
)


@torch.inference_mode()
def rehearsed(loaded: LoadedModel, kept: KeptCache, report: Report) -> None:
    """Capture a step for a first conversation, leave it in `kept`, and use every kernel once."""
    if not Stepper.replays_on(loaded.device):
        return
    report(Staged(stage="warm up", step="capture decode step"))
    cache = kept.empty(loaded.model.config, 1, first_tokens(loaded))
    try:
        decode.prepare(loaded, cache)
        for _ in decode.generate(loaded, _prompt(loaded), EVERYTHING, lambda: False, cache):
            pass
    except Exception as error:
        if not memory.is_out_of_memory(error):  # a shorter conversation may still fit
            raise
        return
    kept.keep(cache, [])


def _prompt(loaded: LoadedModel) -> list[int]:
    window = loaded.info.context_length
    return [0] * (min(READ_TOKENS, window // 2) if window else READ_TOKENS)


def first_tokens(loaded: LoadedModel) -> int:
    """What a first conversation takes: a prompt, and the longest answer that the profile allows."""
    return runtime.first_tokens(loaded.profile.generation.max_new_tokens, loaded.info.context_length)
