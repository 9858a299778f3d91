"""One measured run: made-up prompts, greedy tokens after them, the timestamps of both, and the memory in use.

Every run begins with an empty cache. Repeats, order and averages are the engine's business: a run knows of no
other. `hf` differs from `engine` in the loop and the cache that belongs to it, and in nothing else.
"""

import time
from collections.abc import Callable
from contextlib import closing

import torch
from torch import Tensor
from transformers import DynamicCache

from engine.config import runtime
from engine.errors import InputError
from engine.machine.energy import Meter
from engine.protocol.failure import Failed
from engine.protocol.model import Memory
from engine.protocol.runs import BenchRun, CopyMeasured, Measure, MeasureCopy, Measured
from engine.worker import step
from engine.worker.generate import decode
from engine.worker.generate.prefix_cache import KeptCache
from engine.worker.host import bandwidth, freeing, memory
from engine.worker.host.spare_cores import SpareCores
from engine.worker.interrupt import CancelledError
from engine.worker.load import LoadedModel
from engine.worker.measure import hf_generate
from engine.worker.measure.hf_generate import Stamps, Tokens
from engine.worker.step import GrowingCache, Stepper

SEED = 0


def measured(
    loaded: LoadedModel,
    command: Measure,
    cancelled: Callable[[], bool],
    kept: KeptCache,
    energy: Meter | None = None,
) -> Measured | Failed:
    """Do what the command asks for. InputError where the run is longer than the model's context window."""
    run, cores = command.run, SpareCores.for_model(loaded.info.threads, loaded.device, command.threads)
    _require_tokens_left(loaded, run)
    cache = _cache(loaded, run, kept)
    at_reset = _reset_peak(loaded) if run.with_memory else None
    try:
        stamps = _generated(loaded, run, cache, Tokens(cores.between_steps(cancelled), energy))
    except CancelledError:
        return Failed(kind="cancelled", message="cancelled", request=command.request)
    if isinstance(cache, GrowingCache) and cache.captured_step is not None:
        kept.keep(cache, [])
    prompt_tokens = run.depth + run.context
    return Measured(
        request=command.request,
        started_ns=stamps.started_ns,
        prefilled_ns=stamps.prefilled_ns,
        token_ns=stamps.token_ns,
        cached_tokens=cache.get_seq_length(),
        decode=stamps.decode,
        decode_joules=stamps.decode_joules,
        threads=cores.fewest,
        kv_cache_bytes=memory.cache_bytes(cache),
        step_bytes=bandwidth.step_bytes(loaded.model, cache, run.batch, prompt_tokens + run.steps // 2),
        memory=memory.read(loaded.model, loaded.device, cache) if run.with_memory else None,
        memory_at_reset=at_reset,
    )


def copied(loaded: LoadedModel, command: MeasureCopy) -> CopyMeasured:
    """The copy speed of the model's device, with the threads that the model runs on."""
    torch.set_num_threads(command.threads or loaded.info.threads)
    buffer_bytes, bytes_s = bandwidth.copy_speed(loaded.device)
    return CopyMeasured(request=command.request, buffer_bytes=buffer_bytes, bytes_s=bytes_s)


def made_up(loaded: LoadedModel, batch: int, length: int) -> Tensor:
    """Random ordinary token ids [batch, length]: the same for every model with this vocabulary.

    No special or added tokens, and every sequence of a batch is different.
    """
    rng = torch.Generator().manual_seed(SEED)
    ordinary = torch.tensor(ordinary_tokens(loaded))
    picks = torch.randint(len(ordinary), (batch, length), generator=rng)
    return ordinary[picks].to(loaded.device)


def ordinary_tokens(loaded: LoadedModel) -> list[int]:
    """Every id that tokenizer and model both know and that is plain text."""
    known = min(len(loaded.tokenizer), loaded.model.get_input_embeddings().num_embeddings)
    added = set(loaded.tokenizer.added_tokens_decoder) | set(loaded.tokenizer.all_special_ids)
    excluded = added | decode.end_tokens(loaded)
    return [id for id in range(known) if id not in excluded]


def engine_generate(
    loaded: LoadedModel, prompt: Tensor, cache: DynamicCache, steps: int, tokens: Tokens
) -> Stamps:
    """The engine's own loop, greedy: read the rest of `prompt` [batch, n], write `steps` tokens."""
    if isinstance(cache, GrowingCache):
        decode.prepare(loaded, cache, len(prompt))
    model = step.begin(loaded.model, cache)
    started_ns = time.monotonic_ns()
    _read(loaded, model, cache, prompt[:, cache.get_seq_length() :], tokens.cancelled)
    prefilled_ns = time.monotonic_ns()
    with closing(decode.choices(model, _greedy(prompt.device), steps)) as chosen:
        for _, ns in chosen:
            tokens.add(ns)
            _stop_if(tokens.cancelled)
    return Stamps(started_ns, prefilled_ns, tuple(tokens.ns), model.mode, tokens.joules())


def _greedy(home: torch.device) -> Callable[[Tensor], Tensor]:
    return lambda logits: logits.argmax(dim=-1, keepdim=True).to(home)


GENERATORS = {"engine": engine_generate, "hf": hf_generate.generate}


def _cache(loaded: LoadedModel, run: BenchRun, kept: KeptCache) -> DynamicCache:
    """An empty one. A run that measures memory gets a new one, which later runs of its shape may reuse."""
    if run.generator == "hf" or run.with_memory:
        kept.drop()
    if run.generator == "hf" and loaded.cache_dtype == "auto":
        return DynamicCache(config=loaded.model.config)
    return kept.empty(loaded.model.config, run.batch, run.depth + run.context + run.steps)


def _generated(loaded: LoadedModel, run: BenchRun, cache: DynamicCache, tokens: Tokens) -> Stamps:
    """Fill the cache to the run's depth, untimed; then generate."""
    prompt = made_up(loaded, run.batch, run.depth + run.context)
    if run.depth:
        _read(loaded, step.begin(loaded.model, cache), cache, prompt[:, : run.depth], tokens.cancelled)
    return GENERATORS[run.generator](loaded, prompt, cache, run.steps, tokens)


def _read(
    loaded: LoadedModel, model: Stepper, cache: DynamicCache, prompt: Tensor, cancelled: Callable[[], bool]
) -> None:
    """Read a prompt [batch, n] in the engine's chunks; the last logits are there when this returns."""
    length = runtime.chunk_tokens(loaded.info.parameters, loaded.device.type)
    for chunk in model.chunks(prompt, length):
        if not model.read_unless(cancelled, chunk):
            raise CancelledError


def _stop_if(cancelled: Callable[[], bool]) -> None:
    if cancelled():
        raise CancelledError


def _require_tokens_left(loaded: LoadedModel, run: BenchRun) -> None:
    needed = run.depth + run.context + run.steps - 1  # the last token that is chosen is never read
    window = loaded.info.context_length
    if window and needed > window:
        raise InputError(f"{needed} tokens do not fit the model's context window of {window}")


def _reset_peak(loaded: LoadedModel) -> Memory:
    """Free what earlier runs left, then reset the peak."""
    if loaded.device.type == "cpu":
        freeing.give_back(loaded.model)
    memory.reset_peak(loaded.device)
    return memory.read(loaded.model, loaded.device, None)
