"""What vLLM is told: its flags, and its log in words."""

import pytest

from engine.config.serving.program import Wanted
from engine.config.serving.serve import Serve
from engine.config.serving.vllm import VLLM

ALWAYS = {
    "--host": "127.0.0.1",
    "--port": "4711",
    "--served-model-name": "name",
    "--generation-config": "vllm",
    "--max-logprobs": "200",
    "--sse-keep-alive-interval": "15",
}
SWITCHES = {
    "--enable-per-request-metrics",
    "--enable-prompt-tokens-details",
    "--disable-uvicorn-access-log",
}


def told(wanted: Wanted) -> tuple[tuple[str, ...], dict[str, str], set[str]]:
    """Words before the flags, flags with a value, and those without."""
    words = VLLM.arguments(wanted)
    flags = [index for index, word in enumerate(words) if word.startswith("--")]
    pairs = {words[at]: words[at + 1] for at in flags if at + 1 < len(words) and at + 1 not in flags}
    return words[: flags[0]], pairs, {words[at] for at in flags} - set(pairs)


@pytest.mark.parametrize(
    ("serve", "more"),
    [
        ({}, {}),
        ({"tensor_parallel": 2}, {"--tensor-parallel-size": "2"}),
        (
            {"tensor_parallel": 4, "pipeline_parallel": 2, "ray": "gpu1:6379"},
            {
                "--tensor-parallel-size": "4",
                "--pipeline-parallel-size": "2",
                "--distributed-executor-backend": "ray",
            },
        ),
        (
            {"pipeline_parallel": 2, "nodes": 2, "master": "10.0.0.1"},
            {
                "--pipeline-parallel-size": "2",
                "--nnodes": "2",
                "--node-rank": "0",
                "--master-addr": "10.0.0.1",
            },
        ),
        ({"args": ("--max-logprobs", "-1")}, {"--max-logprobs": "-1"}),
        ({"args": ("--max_model_len", "4096")}, {"--max_model_len": "4096"}),
    ],
)
def test_the_flags(serve: dict[str, object], more: dict[str, str]) -> None:
    section = Serve(environment="vllm", **serve)  # type: ignore[arg-type]
    wanted = Wanted(serve=section, model="/a/folder", name="name", port=4711, key="secret")
    before, pairs, switches = told(wanted)
    assert before == ("serve", "/a/folder") and pairs == ALWAYS | more and switches == SWITCHES
    ray = {"RAY_ADDRESS": "gpu1:6379"} if section.ray else {}
    assert VLLM.environment(wanted) == {"VLLM_API_KEY": "secret", **ray}


def test_what_the_model_section_says_is_told() -> None:
    wanted = Wanted(
        serve=Serve(python="/usr/bin/python"),
        model="org/name",
        name="name",
        port=4711,
        key="secret",
        dtype="float16",
        revision="v2",
        trust_remote_code=True,
    )
    _, pairs, switches = told(wanted)
    assert pairs == ALWAYS | {"--dtype": "float16", "--revision": "v2"}
    assert switches == SWITCHES | {"--trust-remote-code"}


AT = "(APIServer pid=16234) INFO 11-28 04:55:22 [model.py:733]"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (f"{AT} Resolved architecture: Llama", "Resolved architecture: Llama"),
        (f"{AT}  ▄▄ ▄█ █  █ ▀▄▀ █  version 0.32.0", ""),
        (f"{AT} ", ""),
        ("Loading shards: 100% Completed | 1/1", "Loading shards: 100% Completed | 1/1"),
        ("(EngineCore pid=9) ERROR 11-28 04:55:12 [core.py:1] ValueError: no", "ValueError: no"),
        ("(EngineCore pid=9) ValueError: no", "ValueError: no"),
    ],
)
def test_a_line_of_its_log_in_words(line: str, said: str) -> None:
    assert VLLM.message(line) == said
