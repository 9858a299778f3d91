"""vLLM: the flags by which `vllm serve` is told. Distribution is its own business; it is written through."""

import re

from engine.config.methods import Awq, Fp8, Full, Gptq, Rtn, Stored
from engine.config.serving.program import Program, Wanted, flag
from engine.config.serving.serve import Serve

KEY = "VLLM_API_KEY"  # never an argument: those can be seen by everybody on the machine
TOP = 200
"""Log-probabilities a token that may be asked for: vLLM's own 20 leave half of a distribution out."""
KEEP_ALIVE_S = 15
PLUGIN = "{} left vLLM for a plugin: start such a server by hand, and give its address as model.source"
OWN = frozenset(
    (
        *(
            "--host",
            "--port",
            "--uds",
            "--api-key",
            "--root-path",
            "--headless",
            "--ssl-keyfile",
            "--ssl-certfile",
        ),
        *("--model", "--served-model-name", "--dtype", "--revision", "--trust-remote-code"),
        *("--tensor-parallel-size", "-tp", "--pipeline-parallel-size", "-pp", "--nnodes", "-n"),
        *("--node-rank", "-r", "--master-addr", "--distributed-executor-backend"),
        *("--generation-config", "--enable-per-request-metrics", "--no-enable-per-request-metrics"),
        *("--enable-prompt-tokens-details", "--no-enable-prompt-tokens-details"),
        *("--sse-keep-alive-interval", "--config"),
    )
)
_PREFIX = re.compile(
    r"^(\([^)]*pid=\d+\)\s*)?((DEBUG|INFO|WARNING|ERROR|CRITICAL)\s+\d\d-\d\d [\d:]+ \[[^]]*\]\s*)?"
)
_RULE = re.compile(r"[\W_]*")


def arguments(wanted: Wanted) -> tuple[str, ...]:
    """After `python -m vllm.entrypoints.cli.main`."""
    given = {
        "--host": "127.0.0.1",
        "--port": str(wanted.port),
        "--served-model-name": wanted.name,
        "--generation-config": "vllm",  # else the folder's sampling settings hold where a request names none
        "--max-logprobs": str(TOP),
        "--sse-keep-alive-interval": str(KEEP_ALIVE_S),
        **_model(wanted),
        **_parts(wanted.serve),
    }
    switches = ["--enable-per-request-metrics", "--enable-prompt-tokens-details"]
    switches += ["--disable-uvicorn-access-log"]  # a line a request, next to what is measured
    switches += ["--trust-remote-code"] if wanted.trust_remote_code else []
    users = {flag(each) for each in wanted.serve.args}
    pairs = (word for name, value in given.items() if name not in users for word in (name, value))
    return ("serve", wanted.model, *wanted.serve.args, *pairs, *switches)  # of two that clash the last holds


def _model(wanted: Wanted) -> dict[str, str]:
    found = {} if wanted.dtype == "auto" else {"--dtype": wanted.dtype}
    return found | ({"--revision": wanted.revision} if wanted.revision else {})


def _parts(serve: Serve) -> dict[str, str]:
    """Over GPUs and machines."""
    found = {}
    if serve.tensor_parallel > 1:
        found["--tensor-parallel-size"] = str(serve.tensor_parallel)
    if serve.pipeline_parallel > 1:
        found["--pipeline-parallel-size"] = str(serve.pipeline_parallel)
    if serve.ray is not None:
        found["--distributed-executor-backend"] = "ray"
    if serve.nodes > 1:
        found |= {"--nnodes": str(serve.nodes), "--node-rank": "0", "--master-addr": serve.master or ""}
    return found


def environment(wanted: Wanted) -> dict[str, str]:
    """The key, and where Ray is."""
    ray = wanted.serve.ray
    return {KEY: wanted.key} | ({"RAY_ADDRESS": ray} if ray else {})


def message(line: str) -> str:
    """`(EngineCore pid=7) INFO 11-28 05:00:00 [loader.py:3] Loading weights` without what leads it."""
    said = _PREFIX.sub("", line.strip(), count=1).strip()
    return "" if _RULE.fullmatch(said) or "█" in said or "▄" in said else said


VLLM = Program(
    engine="vllm",
    title="vLLM",
    module="vllm.entrypoints.cli.main",
    reads=(Full, Stored, Rtn, Gptq, Awq, Fp8),
    unreadable={"bitsandbytes": PLUGIN.format("bitsandbytes"), "gguf": PLUGIN.format("GGUF")},
    own=OWN,
    arguments=arguments,
    environment=environment,
    health="/health",
    message=message,
    memory="its memory is neither planned nor compared, for vLLM takes its cache in advance",
)
