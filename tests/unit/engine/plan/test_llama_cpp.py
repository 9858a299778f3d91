"""The plan of a GGUF file in llama.cpp: weights as stored, the whole context's cache, always on the CPU."""

import dataclasses

import msgspec

from engine.config.methods import LlamaCpp
from engine.config.profile import Cache, Model, Profile
from engine.machine.hardware import Hardware, Host
from engine.plan.planning import Wish, plan
from engine.shape import find
from engine.units import GIB

MACHINE = Hardware(host=Host("a processor", 2, 2, (), 8 * GIB, 4 * GIB, limited=False), gpus=(), driver="")


def test_weights_are_as_stored_and_the_cache_is_the_whole_contexts() -> None:
    profile = Profile(model=Model(source="random:tiny"), quantization=LlamaCpp(context=100))
    shape = find.of(profile)
    found = plan(profile, shape, MACHINE)
    assert found.weights_bytes == sum(tensor.stored_bytes for tensor in shape.tensors)
    kept = shape.architecture
    numbers = kept.kv_heads * (kept.key_size + kept.value_size)
    assert found.kv_cache_bytes == numbers * 2 * kept.layers * 100 and found.context == 100
    assert plan(profile, shape, MACHINE, Wish(context=50)).kv_cache_bytes == found.kv_cache_bytes // 2
    assert found.running_bytes == found.load_peak_bytes


def test_llama_cpp_holds_a_cache_in_8_bits_next_to_windows_too() -> None:
    profile = Profile(model=Model(source="random:tiny"), quantization=LlamaCpp(context=128))
    shape = find.of(profile)
    windows = (64,) * (shape.architecture.layers - 1) + (0,)
    windowed = dataclasses.replace(
        shape, architecture=dataclasses.replace(shape.architecture, windows=windows)
    )
    own = plan(profile, windowed, MACHINE).kv_cache_bytes
    held = msgspec.structs.replace(profile, cache=Cache(dtype="int8"))
    assert plan(held, windowed, MACHINE).kv_cache_bytes == own * 34 // 64


def test_where_nothing_is_said_the_cache_has_the_models_context_and_a_bound() -> None:
    assert LlamaCpp().cache_tokens(2048) == 2048
    assert LlamaCpp().cache_tokens(131072) == LlamaCpp().cache_tokens(0) == 8192
    assert LlamaCpp(context=131072).cache_tokens(2048) == 131072
