"""How many CPU threads decode fastest: the model's own linear layers, timed with one row of input.

More threads read a large weight faster, and cost more in each of a token's hundreds of small matrix products:
what wins depends on model and machine. Owns the choice; about 0.1 s at load. Must not know requests.
"""

import time
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

SAMPLE_BYTES = 64 << 20  # of weights, so that not all of them come out of a cache
PASSES = 5
FEWEST = 4  # below, the gain is smaller than the noise of a busy moment
GAIN = 0.9  # fewer threads must take less than this share of the time: a prompt is read with them, too


@torch.inference_mode()
def choose(model: PreTrainedModel, cores: int) -> int:
    """All cores, or a half, a quarter, an eighth of them where that is clearly faster."""
    tried = candidates(cores)
    layers = list(_sample(model)) if len(tried) > 1 else []
    chosen = quickest({threads: _best_s(layers, threads) for threads in tried})
    torch.set_num_threads(chosen)
    return chosen


def quickest(best_s: Mapping[int, float]) -> int:
    """The number of threads with the shortest time; the largest where that is nearly as short."""
    most, least_s = max(best_s), min(best_s.values())
    return most if least_s >= GAIN * best_s[most] else min(best_s, key=lambda threads: best_s[threads])


def candidates(cores: int) -> list[int]:
    """What is tried: 64, 32, 16, 8 of 64 cores; with few cores all of them, since chance would choose."""
    fractions = (cores // 2, cores // 4, cores // 8)
    return [cores, *(threads for threads in fractions if threads >= FEWEST)]


def _sample(model: PreTrainedModel) -> Iterator[tuple[nn.Module, Tensor]]:
    """Linear layers with an input row for each, up to SAMPLE_BYTES of weights counted as bf16."""
    left, rows = SAMPLE_BYTES, dict[tuple[int, torch.dtype], Tensor]()
    for module in model.modules():
        if hasattr(module, "in_features") and hasattr(module, "out_features") and left > 0:
            width, dtype = int(module.in_features), _dtype(module, model.dtype)
            left -= 2 * width * int(module.out_features)
            yield module, rows.setdefault((width, dtype), torch.zeros((1, 1, width), dtype=dtype))


def _dtype(module: nn.Module, usual: torch.dtype) -> torch.dtype:
    """Of its input: that of a plain weight, the model's for a quantized or repacked one."""
    weight = getattr(module, "weight", None)
    return weight.dtype if isinstance(weight, Tensor) and weight.is_floating_point() else usual


def _best_s(layers: list[tuple[nn.Module, Tensor]], threads: int) -> float:
    torch.set_num_threads(threads)
    return min(_pass_s(layers) for _ in range(PASSES))


def _pass_s(layers: list[tuple[nn.Module, Tensor]]) -> float:
    started_s = time.perf_counter()
    for module, x in layers:
        module(x)
    return time.perf_counter() - started_s
