"""AutoAWQ and AutoGPTQ, the original code, in their environments: run by `make test-environments` alone."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from engine.checkpoints import store
from engine.config import environments
from engine.config.profile import Profile
from engine.protocol.answers import Decoded, Message, Prompted
from engine.protocol.failure import Failed
from engine.protocol.loading import Loaded, Quantized
from engine.session.client import Session

pytestmark = pytest.mark.environments

METHODS = {"autoawq": "method: awq, backend: autoawq", "auto-gptq": "method: gptq, backend: auto-gptq"}
MODULES = {"autoawq": "WQLinear_GEMM", "auto-gptq": "QuantLinear"}
Load = Callable[[Profile], Awaitable[Session]]


@pytest.fixture(params=METHODS)
def package(request: pytest.FixtureRequest) -> str:
    if absent := environments.missing(request.param):
        pytest.fail(f"{absent.message}: {absent.hint}")
    return str(request.param)


def tiny(package: str, **model: str) -> str:
    said = "".join(f", {key}: {value}" for key, value in model.items())
    calibration = "calibration: {samples: 4, length: 64}"
    return (
        f"model: {{source: 'random:tiny'{said}}}\n"
        f"quantization: {{{METHODS[package]}, group_size: 64, {calibration}}}"
    )


async def answer(session: Session, prompt: str) -> tuple[str, list[int]]:
    """The hash of the prompt's ids, and the greedy answer's."""
    events = [
        event
        async for event in session.generate(
            (Message(role="user", content=prompt),),
            msgspec.structs.replace(session.profile.generation, max_new_tokens=8),
        )
    ]
    assert not isinstance(events[-1], Failed), events[-1]
    (prompted,) = [event for event in events if isinstance(event, Prompted)]
    return prompted.sha256, [event.token_id for event in events if isinstance(event, Decoded)]


async def test_the_original_quantizes_and_runs_and_its_checkpoint_loads_here_too(
    package: str, make_profile: Callable[..., Profile], load: Load
) -> None:
    profile = make_profile("tiny", tiny(package))
    session = Session(profile)
    events = [event async for event in session.quantize(force=True)]
    await session.close()
    made = events[-1]
    assert isinstance(made, Quantized), made
    check = made.record.check
    assert check is not None and check.ratio < 1.1
    assert made.record.recipe.versions[package] == environments.SHIPPED[package].versions[package]
    entry = store.made_of(profile)
    assert entry is not None and str(entry.path) == made.path  # current, by the environment's packages
    there = await load(profile)
    assert there.info is not None and there.info.kernel == MODULES[package]
    assert there.info.versions["transformers"] == environments.SHIPPED[package].versions["transformers"]
    here = await load(make_profile("here", f"model: {{source: '{made.path}'}}"))
    assert here.info is not None and here.info.kernel not in MODULES.values()  # GPTQModel's, or the engine's
    asked = "Two packages, one folder."
    ours, theirs = await answer(here, asked), await answer(there, asked)
    assert ours[0] == theirs[0] and len(theirs[1]) == 8


async def test_transformers_4_reads_the_demo_as_5_does(
    package: str, make_profile: Callable[..., Profile], load: Load
) -> None:
    """In float32: the same prompt, and the same greedy answer."""
    model = "model: {source: demo, dtype: float32}"
    older = await load(make_profile("older", f"{model}\nworker: {{environment: {package}}}"))
    newer = await load(make_profile("newer", model))
    assert older.info is not None and newer.info is not None
    assert older.info.versions["transformers"].startswith("4.") and older.info.step == "forward"
    asked = "What is the capital of France?"
    assert await answer(older, asked) == await answer(newer, asked)


async def test_the_demo_is_converted_by_quantduels_own_python(
    make_profile: Callable[..., Profile], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    """Its tokenizer would be another one by transformers 4."""
    own = tmp_path / "home"
    (own / "data").mkdir(parents=True)
    (own / "data" / "environments").symlink_to(home / "data" / "environments")
    (own / "cache" / "demo").mkdir(parents=True)
    made = home / "cache" / "demo"
    (own / "cache" / "demo" / "SmolLM2-135M-Instruct.Q4_1.gguf").symlink_to(next(made.glob("*.gguf")))
    monkeypatch.setenv("QUANTDUEL_HOME", str(own))
    session = Session(make_profile("older", "model: {source: demo}\nworker: {environment: autoawq}"))
    events = [event async for event in session.load()]
    await session.close()
    assert isinstance(events[-1], Loaded), events[-1]
    (converted,) = (own / "cache" / "demo").glob("*/tokenizer.json")
    assert converted.read_bytes() == next(made.glob("*/tokenizer.json")).read_bytes()
