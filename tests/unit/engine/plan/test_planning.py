"""Plans: the arithmetic against sums done by hand, the verdict, what would fit, and the command."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from engine import cli
from engine.config import profiles
from engine.config.methods import Awq, BitsAndBytes, Full, Gptq, LlamaCpp, Rtn
from engine.config.profile import Model, Profile
from engine.config.serving.serve import Serve
from engine.errors import LoadError
from engine.machine.hardware import Gpu, Hardware, Host
from engine.machine.torch_build import Unused
from engine.plan import advice
from engine.plan import weights as holding
from engine.plan.local import planned
from engine.plan.planning import Wish, plan
from engine.plan.running import CUDA_BUILD_BYTES
from engine.plan.target import Target
from engine.plan.terms import Plan, total
from engine.protocol.failure import Failed
from engine.shape import find
from engine.units import GIB, MIB, parse_bytes

LINEAR = 2 * (128 * 128 * 2 + 128 * 64 * 2 + 128 * 256 * 3)
TABLE = 512 * 128


def machine(free_bytes: int = 16 * GIB, gpus: tuple[Gpu, ...] = (), flags: tuple[str, ...] = ()) -> Hardware:
    host = Host("a processor", 2, 2, flags, 2 * free_bytes, free_bytes, limited=False)
    return Hardware(host=host, gpus=gpus, driver="")


def of(source: str = "random:tiny", *, on: Hardware | None = None, wish: Wish | None = None) -> Plan:
    wanted = profiles.find(source)
    return plan(wanted, find.of(wanted), on or machine(), wish)


def sizes(terms: object) -> dict[str, int]:
    return {term.name: term.bytes for term in terms}  # type: ignore[attr-defined]


@pytest.mark.parametrize(("build", "more"), [("the CPU", 0), ("CUDA 13.0", CUDA_BUILD_BYTES)])
def test_torch_for_cuda_takes_more_of_the_host(
    monkeypatch: pytest.MonkeyPatch, build: str, more: int
) -> None:
    monkeypatch.setattr("engine.machine.torch_build.built_for", lambda: build)
    without, found = of(), planned(profiles.find("random:tiny"), machine=machine())
    assert found.running_bytes - without.running_bytes == more
    assert found.load_peak_bytes - without.load_peak_bytes == more


def test_full_precision_term_by_term() -> None:
    found = sizes(of().weights)
    assert found["linear layers"] == 2 * LINEAR
    assert found["embedding"] == found["output head"] == 2 * TABLE
    assert found["norms and biases"] == 2 * 5 * 128


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        (BitsAndBytes(bits=8), LINEAR + 4 * 2 * 1024),
        (BitsAndBytes(), LINEAR // 2 + LINEAR // 64 * 4 + 14 * 64),
        (Rtn(bits=4, group_size=64), LINEAR // 2 + LINEAR // 64 * 4),
        (Awq(group_size=64), LINEAR // 2 + LINEAR // 64 * 4),
        (Rtn(bits=8, group_size=64), LINEAR + 6 * 2 * 1024),
        (Gptq(bits=3, group_size=64), LINEAR * 3 // 8 + LINEAR // 64 * 19 // 8 + 4 * (2 * 1024 + 14 * 36)),
    ],
)
def test_quantized_layers_and_their_scales(method: object, expected: int) -> None:
    shape = find.of(profiles.find("random:tiny"))
    found = sizes(holding.terms(shape, method, Target("cpu", "bfloat16", step="native")))  # type: ignore[arg-type]
    kept = ("embedding", "output head", "norms and biases", "rotary tables")
    assert sum(size for name, size in found.items() if name not in kept) == expected


def test_a_gpu_that_holds_packed_weights_anew_dequantizes_one_for_a_prompt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    card = Gpu(index=0, name="a card", total_bytes=24 * GIB, free_bytes=20 * GIB, capability=(8, 6))
    gpu, profile = machine(gpus=(card,)), profiles.find("random:tiny")
    wanted, shape = replace(profile, quantization=Gptq(bits=3, group_size=64)), find.of(profile)
    as_stored = plan(wanted, shape, gpu)
    assert "dequantized weights" not in sizes(as_stored.activations)
    monkeypatch.setenv("QUANTDUEL_STEP", "compiled")
    anew = plan(wanted, shape, gpu)
    assert sizes(anew.activations)["dequantized weights"] == 2 * 128 * 256
    held = sizes(anew.weights)
    assert held["quantized linear layers"] + held["scales and zero points"] == LINEAR // 2 + LINEAR // 64 * 2
    assert "group indices" not in held


def test_scales_are_smaller_where_the_processor_repacks_them() -> None:
    shape = find.of(profiles.find("random:tiny"))
    plain, repacked = (
        sizes(holding.terms(shape, BitsAndBytes(), Target("cpu", "bfloat16", flags)))["scales"]
        for flags in ((), ("avx512_bf16",))
    )
    assert repacked == plain // 2


def test_a_tied_head_counts_once() -> None:
    found = sizes(of("random:smollm2-135m").weights)
    assert "output head" not in found
    assert found["embedding"] == 2 * 49152 * 576


def test_the_cache_counts_grouped_heads_and_batches() -> None:
    one = of("random:llama-3.1-8b", wish=Wish(context=4096))
    assert one.kv_cache_bytes == 32 * 2 * 8 * 128 * 2 * 4096
    assert (
        of("random:llama-3.1-8b", wish=Wish(context=4096, batch=3)).kv_cache_bytes == 3 * one.kv_cache_bytes
    )


def test_a_window_bounds_the_cache(tmp_path: Path) -> None:
    config = json.loads((Path("engine/config/shapes/mistral-7b.json")).read_text()) | {"sliding_window": 4096}
    (tmp_path / "config.json").write_text(json.dumps(config))
    short, long = (of(str(tmp_path), wish=Wish(context=tokens)) for tokens in (4096, 32768))
    assert short.kv_cache_bytes == long.kv_cache_bytes == 32 * 2 * 8 * 128 * 2 * 4096


def test_the_sums_are_those_of_the_terms() -> None:
    found = of("random:llama-3.1-8b")
    assert found.running_bytes == total((*found.weights, *found.kv_cache, *found.activations, *found.runtime))
    assert found.needed_bytes == max(found.running_bytes, total(found.loading, without_droppable=True))


def test_the_rule_of_thumb_stands_next_to_it() -> None:
    found = of("random:llama-2-7b").rule_of_thumb
    assert found.bytes == 2 * 6_738_415_616
    quantized = profiles.changed(profiles.find("random:llama-2-7b"), {"quantization.method": "bitsandbytes"})
    reported = plan(quantized, find.of(quantized), machine()).rule_of_thumb
    assert reported.bytes == 6_738_415_616 // 2 and "of scales" in reported.difference


def test_the_verdict_depends_on_what_is_free() -> None:
    needed = of().needed_bytes
    verdicts = [of(on=machine(int(share * needed))).verdict for share in (0.99, 1.05, 2)]
    assert verdicts == ["does not fit", "tight", "fits"]


def test_a_gpu_has_its_own_memory_and_context() -> None:
    gpu = Gpu(index=0, name="a card", total_bytes=24 * GIB, free_bytes=20 * GIB, capability=(8, 6))
    found = of("random:llama-3.1-8b", on=machine(4 * GIB, (gpu,)))
    assert found.device == "cuda:0" and found.verdict == "fits" and found.memory.free_bytes == 20 * GIB
    assert "CUDA context" in sizes(found.runtime)
    wanted = profiles.changed(profiles.find("random:tiny"), {"model.device": "cuda:1"})
    with pytest.raises(LoadError, match="no cuda:1"):
        plan(wanted, find.of(wanted), machine(gpus=(gpu,)))


def test_seventy_billion_are_refused_at_once_with_what_would_fit(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["plan", "random:llama-3.1-70b", "--memory-limit", "16GiB", "--json"]) == 3
    found = json.loads(capsys.readouterr().out)["plans"][0]
    assert found["verdict"] == "does not fit" and found["weights_bytes"] == 2 * 70_553_706_496 + 512
    assert any("B parameters at 4.5 bits" in note for note in found["notes"])


def test_smaller_profiles_of_the_model_are_named() -> None:
    wanted = profiles.find("llama-3.1-8b-bf16")
    wanted = profiles.changed(wanted, {"model.source": "random:llama-3.1-8b"})
    names = [each.command for each in planned(wanted, None, machine(12 * GIB)).would_fit]
    assert "random-llama-3.1-8b-nf4" in names


def test_a_load_that_cannot_fit_is_refused_and_one_that_may_is_not() -> None:
    wanted = profiles.find("random:llama-3.1-70b")
    refused = advice.refusal(wanted, machine=machine())
    assert refused and refused.kind == "out_of_memory" and "--force" in refused.hint
    assert advice.refusal(profiles.find("random:tiny"), machine=machine()) is None
    assert advice.refusal(profiles.find("org/not-here"), machine=machine()) is None


def test_two_models_that_fit_alone_may_not_fit_together() -> None:
    both: list[Profile] = [profiles.find("random:llama-3.1-8b")] * 2
    assert advice.fit_together(both, machine=machine(40 * GIB))
    assert not advice.fit_together(both, machine=machine(20 * GIB))


def test_a_split_model_and_one_on_a_gpu_share_the_gpu() -> None:
    gpus = tuple(
        Gpu(index=index, name="a card", total_bytes=24 * GIB, free_bytes=size * GIB, capability=(8, 6))
        for index, size in enumerate((20, 10))
    )
    split, alone = (
        Profile(name=device, model=Model(source="random:llama-3.1-8b", device=device), quantization=Full())
        for device in ("split", "cuda:0")
    )
    both = machine(gpus=gpus)
    assert advice.fit_together([split], machine=both) and advice.fit_together([alone], machine=both)
    assert not advice.fit_together([split, alone], machine=both)
    roomy = machine(gpus=(*gpus, dataclasses.replace(gpus[0], index=2)))
    assert advice.fit_together([split, alone], machine=roomy)


def test_what_this_torch_was_built_for_decides_nothing_for_another_python() -> None:
    gpu = Gpu(index=0, name="a card", total_bytes=24 * GIB, free_bytes=20 * GIB, capability=(8, 6))
    box = dataclasses.replace(
        machine(gpus=(gpu,)), unused=Unused("torch is built for the CPU", "another one")
    )
    own = profiles.find("random:tiny")
    by_autoawq = replace(own, quantization=Awq(backend="autoawq", group_size=64))
    found = [plan(each, find.of(each), box).memory.device for each in (own, by_autoawq)]
    assert found == ["cpu", "cuda:0"]


def test_a_server_that_takes_a_gpu_in_advance_shares_it_with_nobody() -> None:
    gpu = Gpu(index=0, name="a card", total_bytes=24 * GIB, free_bytes=20 * GIB, capability=(8, 6))
    other, gpus = profiles.find("random:tiny"), machine(gpus=(gpu,))
    serve = Serve(environment="vllm", tensor_parallel=2)
    served = replace(other, model=Model(source="demo"), serve=serve)
    assert not advice.fit_together([served, other], machine=gpus)
    alone = replace(served, model=Model(source="demo", device="cuda:1"), serve=Serve(environment="vllm"))
    assert advice.fit_together([alone, other], machine=gpus)
    assert advice.fit_together([served, other], machine=machine())
    with pytest.raises(LoadError, match=r"its weights take 256\.6 MiB; its memory is neither planned"):
        planned(served, machine=machine(), ask_hub=False)


@pytest.mark.parametrize(
    ("name", "source", "said"),
    [("its", "demo", "its: its weights take"), ("not-here", "not-here", "not-here cannot be")],
)
def test_why_there_is_no_plan_names_the_profile_once(
    name: str,
    source: str,
    said: str,
    make_profile: Callable[..., Profile],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    make_profile(name, f"model: {{source: {source}}}\nserve: {{environment: vllm}}")
    assert cli.run(["plan", str(tmp_path / f"{name}.yaml")]) == 3
    assert capsys.readouterr().err.startswith(f"quantduel: {said}")


def test_a_server_that_is_started_is_beside_sides_without_a_gpu_but_not_one_on_all_gpus() -> None:
    cards = tuple(
        Gpu(index=each, name="a card", total_bytes=24 * GIB, free_bytes=20 * GIB, capability=(8, 6))
        for each in (0, 1)
    )
    started = Profile(model=Model(source="demo"), serve=Serve(environment="vllm"))
    packed = Profile(model=Model(source="demo"), quantization=LlamaCpp())
    for beside in (profiles.find("http://10.0.0.2:8000"), packed):
        assert advice.fit_together([started, beside], machine=machine(gpus=cards))
    split = profiles.changed(profiles.find("random:tiny"), {"model.device": "split"})
    assert not advice.fit_together([started, split], machine=machine(gpus=cards))


def test_a_served_side_does_not_hide_that_the_others_do_not_fit_together() -> None:
    large = profiles.find("random:llama-3.1-8b")
    sides = [profiles.find("http://10.0.0.2:8000"), large, large]
    assert not advice.fit_together(sides, machine=machine(20 * GIB))


def test_advice_names_what_needs_less() -> None:
    failed = Failed(kind="out_of_memory", message="out of memory", hint="a shorter context")
    reported = advice.advised(failed, profiles.find("random-llama-3.1-8b-bf16"))
    assert "random-llama-3.1-8b-nf4" in reported.hint and "a shorter context" in reported.hint
    assert "planned for" in reported.message


@pytest.mark.parametrize(
    ("text", "size"), [("400MiB", 400 * MIB), ("1.5 GiB", 3 * GIB // 2), ("800m", 800 * MIB), ("42", 42)]
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert parse_bytes(text) == size


def test_the_table_says_where_figures_come_from(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["plan", "random:tiny", "--context", "128"]) == 0
    out = capsys.readouterr().out
    for words in ("Peak while loading", "libraries", "measured", "Rule of thumb", "fits:"):
        assert words in out


def test_full_is_what_stored_is_for_plain_weights() -> None:
    shape = find.of(profiles.find("random:tiny"))
    plain = holding.terms(shape, Full(), Target("cpu", "bfloat16"))
    assert total(plain) == of().weights_bytes
