"""A profile that says it is quantized is: nothing stays in full precision unsaid."""

from collections.abc import Callable
from functools import cache

import pytest

from engine.config.methods import BitsAndBytes, Fp8, Method
from engine.config.profile import Model, Profile
from engine.errors import LoadError
from engine.worker.load import LoadedModel, load
from tests.worker.architectures import write


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Method], LoadedModel]:
    folder = cache(lambda kind: write(kind, tmp_path_factory.mktemp("kind")))

    def of(kind: str, method: Method) -> LoadedModel:
        profile = Profile(model=Model(source=str(folder(kind))), quantization=method)
        return load(profile, 1, lambda staged: None, native_step=False)

    return of


@pytest.mark.parametrize(("kind", "method"), [("falcon", BitsAndBytes(bits=8)), ("gpt2", Fp8())])
def test_a_kind_of_which_nothing_is_quantized_is_refused(
    kind: str, method: Method, loaded: Callable[[str, Method], LoadedModel]
) -> None:
    with pytest.raises(LoadError, match="quantizes nothing of"):
        loaded(kind, method)


def test_experts_that_stay_in_full_precision_are_named(
    loaded: Callable[[str, Method], LoadedModel],
) -> None:
    experts = ", ".join(f"model.layers.{{0, 1}}.mlp.experts.{name}_proj" for name in ("gate_up", "down"))
    assert f"not quantized, in float32: {experts}" in loaded("qwen3_moe", Fp8()).info.notes
    assert loaded("llama", Fp8()).info.notes == ()
