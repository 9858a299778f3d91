"""A peer for `benchmarks.wire_bytes`: oterm, and an Ollama of ours with the same tokens at the same pace.

Owns the server, oterm's folder with one chat in it, and what is asked. Knows nothing of QuantDuel.
"""

import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

MODEL = "recorded"
NEXT_CHAT = b"\x1b[9;5u"  # Ctrl+Tab
CHAT = """
import asyncio
from oterm.store.store import Store
from oterm.types import ChatModel

async def main():
    store = await Store.get_store()
    await store.save_chat(ChatModel(name="recorded", model="recorded"))

asyncio.run(main())
"""


class FakeOllama(ThreadingHTTPServer):
    """Answers the n-th prompt of a chat with the n-th of these streams."""

    daemon_threads = True

    def __init__(self, answers: Sequence[Sequence[str]], token_s: float) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers, self.token_s = answers, token_s
        self.answered, self.was_asked = 0, False
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: FakeOllama

    def log_message(self, *_: object) -> None:
        """Nothing: the terminal is what is measured."""

    def do_GET(self) -> None:
        models = [{"model": MODEL, "name": MODEL, "context_length": 8192}]
        self._json({"models": models, "version": "0.9.0", "object": "list", "data": [{"id": MODEL}]})

    def do_POST(self) -> None:
        self.server.was_asked = True
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != "/v1/chat/completions":
            self._json({"capabilities": ["completion"], "model_info": {}, "details": {}})
            return
        turn = sum(message["role"] == "user" for message in asked["messages"]) - 1
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for piece in self.server.answers[min(turn, len(self.server.answers) - 1)]:
            self._event({"role": "assistant", "content": piece}, None)
            time.sleep(self.server.token_s)
        self._event({}, "stop")
        self.wfile.write(b"data: [DONE]\n\n")
        self.server.answered += 1

    def _event(self, delta: dict[str, str], reason: str | None) -> None:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        chunk = {
            "id": "1",
            "object": "chat.completion.chunk",
            "created": 0,
            "model": MODEL,
            "choices": [choice],
        }
        self.wfile.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
        self.wfile.flush()

    def _json(self, body: dict[str, object]) -> None:
        content = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def prepared(oterm: Path, folder: Path, server: FakeOllama) -> dict[str, str]:
    """Put one chat into oterm's folder; returns the environment in which it opens that chat."""
    env = os.environ | {"OTERM_DATA_DIR": str(folder), "OLLAMA_URL": server.address, "PYTHONPATH": ""}
    (folder / "config.json").write_text(json.dumps({"splash-screen": False}))
    subprocess.run([oterm.absolute().with_name("python"), "-c", CHAT], env=env, cwd=folder, check=True)
    return env


def play(
    server: FakeOllama,
    questions: Sequence[str],
    press: Callable[[bytes], object],
    settle: Callable[[Callable[[], bool]], object],
) -> Iterator[int]:
    """Ask each question; yields how many tokens were said to each, and first, when all is ready, 0.

    `press` types; `settle` waits for a condition, and then until nothing of note is written any more.
    """
    settle(lambda: server.was_asked)
    press(NEXT_CHAT)  # the same one: its prompt takes the focus
    settle(lambda: True)
    yield 0
    for number, question in enumerate(questions):
        press(question.encode())
        press(b"\r")
        settle(lambda number=number: server.answered > number)  # type: ignore[misc]
        yield len(server.answers[number])
