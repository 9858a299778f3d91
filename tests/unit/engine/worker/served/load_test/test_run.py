"""A measured run of requests: counts, order and ends, against servers that play recorded streams."""

import json
import threading
from collections.abc import Callable, Iterator, Sequence

import pytest

from engine.config.profile import Prompt
from engine.errors import InputError
from engine.protocol.runs import (
    MeasureServed,
    ServedAdvanced,
    ServedAnswer,
    ServedAnswered,
    ServedMeasured,
    ServedRun,
)
from engine.protocol.wire import Event
from engine.worker.served.adapter import Adapter
from engine.worker.served.connection import Connection, ServerError
from engine.worker.served.llama_server import LlamaServer
from engine.worker.served.load_test import many
from engine.worker.served.load_test.made_up import MadeUp
from engine.worker.served.load_test.run import UNASKED, measure
from engine.worker.served.openai import OpenAI
from engine.worker.served.reads import Cancelled
from engine.worker.served.sglang import SGLang
from engine.worker.served.vllm import Vllm
from tests.served_streams import Play, Replay, recorded, stream, whole

CHAT, IDS = recorded("vllm-cpu.chat-usage"), recorded("vllm-cpu.text-prompt-ids")
REFUSED = whole(503, b'{"error": {"message": "overloaded"}}')


@pytest.fixture
def replays() -> Iterator[Callable[..., Replay]]:
    servers: list[Replay] = []

    def started(*plays: Play) -> Replay:
        servers.append(Replay(plays, {"/v1/models": (200, b"{}")}))
        return servers[-1]

    yield started
    for server in servers:
        server.close()


def measured(
    server: Replay,
    engine: Adapter,
    cancelled: Callable[[], bool] = lambda: False,
    made_up: MadeUp | None = None,
    **run: int,
) -> list[Event]:
    events: list[Event] = []
    command = MeasureServed(request=7, run=ServedRun(**{"context": 24, "steps": 8, **run}))
    made_up = made_up or MadeUp(engine, "model", Prompt())
    measure(made_up, lambda: Connection(server.root), command, cancelled, events.append)
    return events


def answers(events: Sequence[Event]) -> list[ServedAnswer]:
    return [event.answer for event in events if isinstance(event, ServedAnswered)]


def bodies(server: Replay) -> list[dict[str, object]]:
    posts = [request for request in server.requests if request.startswith(b"POST /v1/c")]
    return [json.loads(request.partition(b"\r\n\r\n")[2]) for request in posts]


def refuse(to: object, _: bytes) -> bool:
    to.sendall(REFUSED)  # type: ignore[attr-defined]
    return True


def test_every_request_is_answered_once_and_has_its_stamps_in_order(replays: Callable[..., Replay]) -> None:
    server = replays(*[stream(CHAT.reads)] * 9)
    events = measured(server, SGLang(), requests=9, at_once=4)
    found = answers(events)
    assert len(found) == 9 == len(bodies(server))
    pings = [request for request in server.requests if request.startswith(b"GET")]
    assert len(pings) == 9  # a connection a request, and none after the last: nobody may answer there
    for each in found:
        assert not each.failure and each.counted and not each.connected
        assert len(each.token_ns) == each.figures.tokens == 8  # type: ignore[union-attr]
        assert 0 < each.sent_ns <= each.token_ns[0] and list(each.token_ns) == sorted(each.token_ns)
    end = events[-1]
    assert isinstance(end, ServedMeasured) and end.contended is None and end.cpu_share > 0
    told = [event.done for event in events if isinstance(event, ServedAdvanced)]
    assert told == sorted(set(told)) and events.index(end) == len(told) + 9  # answers come at the end


def test_no_two_prompts_are_alike_and_equal_seeds_ask_the_same(replays: Callable[..., Replay]) -> None:
    server = replays(*[stream(CHAT.reads)] * 6)
    for seed in (1, 1, 2):
        measured(server, SGLang(), requests=2, seed=seed)
    asked = [json.dumps(body["messages"]) for body in bodies(server)]
    assert asked[:2] == asked[2:4] and len(set(asked)) == 4
    assert all(
        body["ignore_eos"] and body["min_tokens"] == body["max_tokens"] == 8 for body in bodies(server)
    )


def test_a_prompt_has_fewer_words_where_a_template_adds_tokens(replays: Callable[..., Replay]) -> None:
    """The recorded server counts what it read: the same, whatever is asked."""
    server, made_up = replays(*[stream(CHAT.reads)] * 2), MadeUp(OpenAI(), "model", Prompt())
    first, *_ = answers(measured(server, made_up.engine, made_up=made_up, context=20))
    measured(server, made_up.engine, made_up=made_up, context=20)
    words = [len(body["messages"][0]["content"].split()) for body in bodies(server)]  # type: ignore[index]
    read = first.figures.prompt_tokens  # type: ignore[union-attr]
    assert read and words == [20, max(1, 20 - (read - 20))]
    assert not any("ignore_eos" in body for body in bodies(server))  # which others would refuse


def test_a_count_that_is_not_told_makes_no_prompt_longer(replays: Callable[..., Replay]) -> None:
    silent = [each.replace(b'"prompt_tokens"', b'"other_tokens"') for each in CHAT.reads]
    server, made_up = replays(*[stream(silent)] * 2), MadeUp(OpenAI(), "model", Prompt())
    for _ in range(2):
        measured(server, made_up.engine, made_up=made_up, context=20)
    assert [len(body["messages"][0]["content"].split()) for body in bodies(server)] == [20, 20]  # type: ignore[index]


def test_a_server_that_opens_no_connection_in_time_is_one_line(
    replays: Callable[..., Replay], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(many, "CONNECT_S", 0.05)
    waiting = threading.Event()
    monkeypatch.setattr(Connection, "warm", lambda *_: waiting.wait())
    try:
        with pytest.raises(ServerError, match="did not answer on 2 connections within"):
            measured(replays(), OpenAI(), requests=2, at_once=2)
    finally:
        waiting.set()


def test_ids_are_asked_for_and_only_ordinary_ones(replays: Callable[..., Replay]) -> None:
    tokenized = whole(200, json.dumps({"tokens": [1, *range(500, 700), 2], "prompt": "x"}).encode())

    def tokenize(to: object, _: bytes) -> bool:
        to.sendall(tokenized)  # type: ignore[attr-defined]
        return True

    server = replays(tokenize, tokenize, *[stream(IDS.reads)] * 3)
    found = answers(measured(server, Vllm(), requests=3, at_once=3))
    assert [len(each.token_ns) for each in found] == [12] * 3
    asked = bodies(server)
    assert all(len(body["prompt"]) == 24 and {*body["prompt"]} <= {*range(500, 700)} for body in asked)  # type: ignore[arg-type, misc]
    assert len({str(body["prompt"]) for body in asked}) == len({body["cache_salt"] for body in asked}) == 3


def test_failures_are_counted_each_with_its_reason(replays: Callable[..., Replay]) -> None:
    server = replays(refuse, stream(CHAT.reads[:5], ends=False), stream(CHAT.reads), stream([b"data: {"]))
    found = answers(measured(server, SGLang(), requests=4))
    assert [bool(each.failure) for each in found] == [True, True, False, True]
    assert "HTTP 503" in found[0].failure and "overloaded" in found[0].failure
    assert found[1].failure.startswith("cut off after") and found[1].token_ns
    assert "what is no answer" in found[3].failure
    assert len(bodies(server)) == 4  # and none was asked twice


def test_a_server_that_is_gone_is_not_asked_again(replays: Callable[..., Replay]) -> None:
    server = replays()

    def die(to: object, _: bytes) -> bool:
        server.close()
        return False

    server._plays.append(die)
    why = [each.failure for each in answers(measured(server, SGLang(), requests=5))]
    assert "closed the connection" in why[0]
    refused = [place for place, said in enumerate(why) if "cannot be reached" in said]
    assert len(refused) == 1 and set(why[refused[0] + 1 :]) == {UNASKED}


def test_a_cancel_ends_all_that_is_under_way(replays: Callable[..., Replay]) -> None:
    hold, under_way = threading.Event(), threading.Semaphore(0)

    def play(to: object, request: bytes) -> bool:
        under_way.release()
        return stream(CHAT.reads[:3], hold=hold)(to, request)  # type: ignore[arg-type]

    server = replays(*[play] * 3)
    with pytest.raises(Cancelled):
        measured(server, SGLang(), lambda: under_way._value == 3, requests=3, at_once=3)
    assert not [thread for thread in threading.enumerate() if thread.name == "stream"]
    hold.set()


def test_the_most_at_once_is_said(replays: Callable[..., Replay]) -> None:
    with pytest.raises(InputError, match="from 1 to 1024"):
        measured(replays(), OpenAI(), requests=1, at_once=2000)


def test_llama_server_is_told_to_ignore_the_end() -> None:
    made_up = MadeUp(LlamaServer(), "model", Prompt())
    made_up._ids = (5, 6, 7)
    (asked,) = made_up.asked(Connection("http://127.0.0.1:9"), ServedRun(context=4, steps=2))
    _, body = made_up.engine.request("model", asked)
    assert body["ignore_eos"] and body["n_predict"] == 2 and not body["cache_prompt"]
    assert len(body["prompt"]) == 4 and {*body["prompt"]} <= {5, 6, 7}
