"""`quantduel bench` over a server that plays recorded streams, and is killed in the middle."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine import cli
from engine.bench import document
from tests.served_streams import Replay, recorded, stream

CHAT = recorded("vllm-cpu.chat-usage")
MODELS = {"/v1/models": (200, json.dumps({"data": [{"id": "m"}]}).encode())}
WHOLE = 1 + 2 + 2 + 3  # a warm-up, two requests; two warm-ups, three of four requests


@pytest.fixture
def server() -> Iterator[Replay]:
    found = Replay([], MODELS)

    def die(*_: object) -> bool:
        found.close()
        return False

    found._plays += [*[stream(CHAT.reads)] * WHOLE, die]
    yield found
    found.close()


def test_a_server_that_dies_leaves_the_levels_so_far_and_one_line_why(
    server: Replay, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "bench.json"
    asked = ["--concurrency", "1,2,4", "--contexts", "64", "--steps", "8", "--requests", "1"]
    assert cli.run(["bench", f"{server.root}/v1", *asked, "--out", str(out)]) == 4
    one, two, four = document.read(out).rows
    assert one.many and (one.many.requests, one.many.failed, one.many.tokens) == (2, 0, 16)
    assert one.many.total_tok_s == pytest.approx(16 / one.many.seconds) and one.error is None
    assert two.many and (two.many.requests, two.many.failed) == (4, 1)
    assert two.marks[0] == (
        "1 of 4 failed: the server closed the connection: Server disconnected without sending a response."
    )
    assert four.error is not None and four.many is None
    shown = capsys.readouterr().out
    assert "2 of 2" in shown and "3 of 4" in shown
    assert f"prompts of {one_prompt()} tokens" in shown
    posts = [request for request in server.requests if request.startswith(b"POST")]
    assert len({request.partition(b"\r\n\r\n")[2] for request in posts}) == len(posts)


def test_two_served_sides_take_turns(tmp_path: Path) -> None:
    """What servers hold takes no memory here: none has to fit next to another."""
    out = tmp_path / "bench.json"
    sides = [Replay([stream(CHAT.reads)] * 9, MODELS) for _ in range(2)]
    asked = ["--concurrency", "1", "--contexts", "64", "--steps", "8", "--requests", "1", "--out", str(out)]
    try:
        assert cli.run(["bench", *(f"{side.root}/v1" for side in sides), *asked]) == 0
    finally:
        for side in sides:
            side.close()
    assert [row.many and row.many.failed for row in document.read(out).rows] == [0, 0]


def one_prompt() -> int:
    """What the recorded server said that it read."""
    lines = b"".join(CHAT.reads).decode().splitlines()
    usages = [json.loads(line[6:]).get("usage") for line in lines if line.startswith("data: {")]
    return next(usage["prompt_tokens"] for usage in usages if usage)
