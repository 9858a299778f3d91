"""A program that takes vLLM's command line and plays what vLLM said: `fake_vllm.py -m MODULE serve …`.

What it is told lies afterwards in the file that FAKE_VLLM_TOLD names; FAKE_VLLM says whether it `ends`
while it loads, ignores SIGTERM (`deaf`), or stays `loading`; else it serves.
"""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[4]))

from tests.served_streams import Replay, answer, recorded, whole

MODULE = "vllm.entrypoints.cli.main"
LINE = "(APIServer pid=%d) INFO 11-28 04:55:11 [model.py:733] %s"


def read(words: list[str]) -> argparse.Namespace:
    """The flags as vLLM has them; it ends for others."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("command", choices=["serve"])
    parser.add_argument("model")
    for name in ("host", "dtype", "served-model-name", "generation-config", "max-model-len", "revision"):
        parser.add_argument(f"--{name}")
    for name in ("port", "max-logprobs", "sse-keep-alive-interval", "tensor-parallel-size"):
        parser.add_argument(f"--{name}", type=int)
    for name in (
        "enable-per-request-metrics",
        "enable-prompt-tokens-details",
        "disable-uvicorn-access-log",
        "enforce-eager",
    ):
        parser.add_argument(f"--{name}", action="store_true")
    return parser.parse_args(words)


def say(text: str) -> None:
    print(LINE % (os.getpid(), text), flush=True)  # noqa: T201


def play(connection: socket.socket, request: bytes) -> bool:
    """What vLLM answered at this path."""
    if request.startswith(b"POST /tokenize"):
        return answer(recorded("vllm-cpu.tokenize-chat"))(connection, request)
    if request.startswith(b"POST /detokenize"):
        connection.sendall(whole(200, b'{"prompt": "What is the capital of France?"}'))
        return True
    refused = b"prompt_logprobs" in request  # more than it allows
    name = "text-prompt-logprobs-too-many" if refused else "text-prompt-ids"
    return answer(recorded(f"vllm-cpu.{name}"))(connection, request)


def main() -> None:
    told, doing = read(sys.argv[3:]), os.environ.get("FAKE_VLLM", "")
    if doing == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen(["sleep", "600"], start_new_session=True)  # as an engine of its own might be
    facts = {
        "words": sys.argv[1:],
        "pids": [os.getpid(), child.pid],
        "key": os.environ["VLLM_API_KEY"],
        "folder": os.environ["TMPDIR"],
    }
    said = Path(os.environ["FAKE_VLLM_TOLD"])
    said.with_suffix(".new").write_text(json.dumps(facts))
    said.with_suffix(".new").rename(said)
    say("")
    say("Resolved architecture: LlamaForCausalLM")
    if doing == "ends":
        say("ValueError: no room for the cache")
        say("RuntimeError: Engine core initialization failed. See root cause above.")
        sys.exit(1)
    if doing == "loading":
        time.sleep(600)
    models = {"data": [{"id": told.served_model_name, "max_model_len": 2048}]}
    gets = {
        "/health": (200, b""),
        "/version": (200, b'{"version": "0.32.0"}'),
        "/v1/models": (200, json.dumps(models).encode()),
        "/load": (200, b'{"server_load": 0}'),
    }
    time.sleep(0.2)  # connections are refused meanwhile
    Replay([play] * 100, gets, told.port)
    while True:
        time.sleep(600)


if __name__ == "__main__":
    assert sys.argv[1:3] == ["-m", MODULE]
    main()
