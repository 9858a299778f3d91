"""The real worker process over its pipes."""

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Queue

import psutil
import pytest
from tokenizers import Regex, Tokenizer, pre_tokenizers

from engine.config import profile, profiles
from engine.config.profile import Generation
from engine.config.runtime import CPU_CAPACITY_STEP
from engine.protocol.answers import (
    Decoded,
    Finished,
    Generate,
    Message,
    Prefilled,
    Prompted,
    Render,
    Rendered,
)
from engine.protocol.failure import Cancel, Failed
from engine.protocol.loading import Load, Loaded, Staged, Started
from engine.protocol.wire import Command, Event, decode_event, encode
from engine.token_ids import sha256

COMMAND = [sys.executable, "-P", "-m", "engine.worker"]
PATIENCE_S = 120  # for imports on a busy machine


class Worker:
    """A worker process and everything it has said."""

    def __init__(self) -> None:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(COMMAND, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL)
        self.loading: list[Event] = []
        self._events: Queue[Event | None] = Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self._events.put(decode_event(line))
        self._events.put(None)

    def send(self, command: Command | bytes) -> int:
        """Send a command; the moment before it."""
        assert self.process.stdin
        now_ns = time.monotonic_ns()
        line = command if isinstance(command, bytes) else encode(command)
        self.process.stdin.write(line + b"\n")
        self.process.stdin.flush()
        return now_ns

    def until(self, *kinds: type[Event]) -> list[Event]:
        """Events up to the first of these kinds, or to a failure; an end of the stream fails the test."""
        seen: list[Event] = []
        while not seen or not isinstance(seen[-1], (*kinds, Failed)):
            event = self._events.get(timeout=PATIENCE_S)
            assert event is not None, f"the worker is gone after {seen}"
            seen.append(event)
        return seen

    def rest(self) -> list[Event]:
        """Everything up to the end of the stream."""
        return list(iter(lambda: self._events.get(timeout=PATIENCE_S), None))

    def load(self, source: str, dtype: str = "auto") -> list[Event]:
        self.send(Load(profile=profile.Profile(model=profile.Model(source=source, dtype=dtype)), threads=1))
        self.loading = self.until(Loaded)
        return self.loading

    def ask(self, number: int, text: str, **settings: object) -> list[Event]:
        self.send(generate(number, text, **settings))
        return self.until(Finished)

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


def generate(number: int, text: str, **settings: object) -> Generate:
    return Generate(
        request=number, messages=(Message("user", text),), generation=Generation(**settings), threads=1
    )


def text_of(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Decoded | Finished))


def of_kind(events: list[Event], kind: type[Event]) -> list[Event]:
    return [event for event in events if isinstance(event, kind)]


@pytest.fixture
def new_worker() -> Iterator[Worker]:
    worker = Worker()
    yield worker
    worker.close()


@pytest.fixture(scope="module")
def tiny() -> Iterator[Worker]:
    """One worker for all tests that leave it usable."""
    worker = Worker()
    assert isinstance(worker.load("random:tiny")[-1], Loaded)
    yield worker
    worker.close()


@pytest.fixture(scope="module")
def middling() -> Iterator[Worker]:
    """A model slow enough to be caught at work."""
    worker = Worker()
    assert isinstance(worker.load("random:smollm2-135m", "float32")[-1], Loaded)  # not packed: no free heap
    yield worker
    worker.close()


def test_from_start_to_loaded(tiny: Worker) -> None:
    started, *staged, loaded = tiny.loading
    assert isinstance(started, Started)
    assert started.pid == tiny.process.pid
    stages = [event.stage for event in staged if isinstance(event, Staged)]
    assert stages[0] == "resolve"
    assert stages[-1] == "warm up"
    assert isinstance(loaded, Loaded)
    assert loaded.memory.weights_bytes == loaded.info.weights.total_bytes > 0


def test_an_answer_from_prompted_to_finished(tiny: Worker) -> None:
    sent_ns = tiny.send(generate(10, "Hello", max_new_tokens=5))
    events = tiny.until(Finished)
    assert [type(event) for event in events] == [Prompted, Prefilled, Prefilled, *[Decoded] * 5, Finished]
    assert {event.request for event in events} == {10}
    assert [event.ns for event in events] == sorted(event.ns for event in events)
    prompted, first, last = events[:3]
    assert isinstance(prompted, Prompted)
    assert prompted.ns - sent_ns < 1e9
    assert prompted.tokens == 5
    assert prompted.sha256 == sha256(list(b"Hello"))
    assert [(e.done, e.total) for e in (first, last) if isinstance(e, Prefilled)] == [(0, 5), (5, 5)]
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert finished.reason == "length"
    room = CPU_CAPACITY_STEP * 2 * 2 * 64 * 2  # K, V; two layers of 64 in bf16
    assert finished.memory.kv_cache_bytes == room


def test_the_rendered_prompt(tiny: Worker) -> None:
    tiny.send(Render(request=20, messages=(Message("user", "Hello"),)))
    rendered = tiny.until(Rendered)[-1]
    assert isinstance(rendered, Rendered)
    assert (rendered.request, rendered.text, rendered.token_ids) == (20, "Hello", tuple(b"Hello"))


def test_the_same_seed_gives_the_same_answer(tiny: Worker) -> None:
    settings = {"temperature": 1.0, "seed": 3, "max_new_tokens": 12}
    first, again = (text_of(tiny.ask(number, "Hello", **settings)) for number in (30, 31))
    assert first == again != text_of(tiny.ask(32, "Hello", **(settings | {"seed": 4})))


def test_malformed_commands_do_no_harm(tiny: Worker) -> None:
    for line in (b"garbage", b'{"command": "generate", "request": 1}', b"\xff"):
        tiny.send(line)
        failed = tiny.until()[-1]
        assert isinstance(failed, Failed)
        assert failed.kind == "bad_input"
    assert isinstance(tiny.ask(40, "Hello", max_new_tokens=1)[-1], Finished)


def test_a_prompt_longer_than_the_window_names_both(tiny: Worker) -> None:
    failed = tiny.ask(50, "x" * 3000)[-1]
    assert isinstance(failed, Failed)
    assert (failed.kind, failed.request) == ("bad_input", 50)
    assert "3000" in failed.message
    assert "2048" in failed.message
    assert isinstance(tiny.ask(51, "Hello", max_new_tokens=1)[-1], Finished)


def test_cancel_while_decoding(tiny: Worker) -> None:
    tiny.send(generate(60, "Hello", max_new_tokens=2000))
    seen = tiny.until(Decoded)
    cancelled_ns = tiny.send(Cancel(request=60))
    seen += tiny.until(Finished)
    finished = seen[-1]
    assert isinstance(finished, Finished)
    assert finished.reason == "cancelled"
    late = [event for event in of_kind(seen, Decoded) if event.ns > cancelled_ns + 1e9]
    assert not late
    assert isinstance(tiny.ask(61, "Hello", max_new_tokens=1)[-1], Finished)


def test_cancel_while_the_prompt_is_read(middling: Worker) -> None:
    middling.send(generate(9, "x" * 6000))  # twelve chunks
    seen = middling.until(Prefilled)
    middling.send(Cancel(request=9))
    seen += middling.until(Finished)
    finished = seen[-1]
    assert isinstance(finished, Finished)
    assert finished.reason == "cancelled"
    assert not of_kind(seen, Decoded)
    assert len(of_kind(seen, Prefilled)) <= 2


def test_a_request_waits_its_turn_and_can_be_cancelled_there(tiny: Worker) -> None:
    tiny.send(generate(70, "Hello", max_new_tokens=40))
    tiny.send(generate(71, "Hello", max_new_tokens=40))
    tiny.send(Cancel(request=71))
    first, second = tiny.until(Finished), tiny.until(Finished)
    assert len(of_kind(first, Decoded)) == 40
    assert not of_kind(second, Decoded)


def test_out_of_memory_is_a_result_and_the_worker_goes_on(middling: Worker) -> None:
    assert isinstance(middling.ask(1, "x" * 600, max_new_tokens=2)[-1], Finished)  # every kernel is built now
    process = psutil.Process(middling.process.pid)
    limits = process.rlimit(psutil.RLIMIT_AS)
    process.rlimit(psutil.RLIMIT_AS, (process.memory_info().vms + (40 << 20), limits[1]))
    try:
        failed = middling.ask(2, "x" * 4000)[-1]
    finally:
        process.rlimit(psutil.RLIMIT_AS, (resource.RLIM_INFINITY, limits[1]))
    assert isinstance(failed, Failed)
    assert (failed.kind, failed.request) == ("out_of_memory", 2), failed
    assert "requested" in failed.message
    assert failed.hint
    assert isinstance(middling.ask(3, "Hello", max_new_tokens=1)[-1], Finished)


def test_failures_before_a_model_is_loaded_and_then_text_as_it_is(
    new_worker: Worker, parrot: Callable[..., Path], tmp_path: Path
) -> None:
    new_worker.send(generate(1, "hi"))
    failed = new_worker.until(Failed)[-1]
    assert isinstance(failed, Failed)
    assert (failed.kind, failed.request) == ("bad_input", 1)
    failed = new_worker.load(str(tmp_path))[-1]
    assert isinstance(failed, Failed)
    assert (failed.kind, failed.request) == ("not_loaded", None)
    assert str(tmp_path) in failed.message
    pieces = (
        "[bold red]x[/]",
        "\x1b[31m",
        "\x1b]0;title\x07",
        "\x1b]52;c;aGk=\x07",
        "\x00\n\r\u2028",
        "{}",
        '"',
    )
    assert isinstance(new_worker.load(str(parrot(*pieces)))[-1], Loaded)
    events = new_worker.ask(2, "go", max_new_tokens=len(pieces))
    assert [event.text for event in events if isinstance(event, Decoded)] == list(pieces)


def test_a_tokenizers_panic_costs_one_request(new_worker: Worker, parrot: Callable[..., Path]) -> None:
    folder = parrot("a")
    core = Tokenizer.from_file(str(folder / "tokenizer.json"))
    core.pre_tokenizer = pre_tokenizers.Split(Regex("(a|aa)+$"), "isolated")
    core.save(str(folder / "tokenizer.json"))
    assert isinstance(new_worker.load(str(folder))[-1], Loaded)
    failed = new_worker.ask(1, "a" * 60 + "!")[-1]
    assert isinstance(failed, Failed)
    assert (failed.request, failed.message.partition(":")[0]) == (1, "PanicException")
    assert isinstance(new_worker.ask(2, "go", max_new_tokens=1)[-1], Finished)


def test_a_second_load_is_refused(tiny: Worker) -> None:
    tiny.send(Load(profile=profiles.of_model("random:tiny")))
    failed = tiny.until(Loaded)[-1]
    assert isinstance(failed, Failed)
    assert "already" in failed.message
    assert isinstance(tiny.ask(80, "Hello", max_new_tokens=1)[-1], Finished)


def test_the_end_of_stdin_ends_a_load_at_once(new_worker: Worker) -> None:
    new_worker.send(Load(profile=profiles.of_model("random:smollm2-135m"), threads=1))
    new_worker.until(Staged)
    assert new_worker.process.stdin
    new_worker.process.stdin.close()
    assert new_worker.process.wait(5) == 0
    assert not of_kind(new_worker.rest(), Loaded)
    new_worker.process.stdin = None


def test_kill_9_of_the_parent_leaves_no_worker() -> None:
    start = f"import subprocess; subprocess.Popen({COMMAND!r}, stdin=subprocess.PIPE).wait()"
    parent = subprocess.Popen(
        [sys.executable, "-c", start], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert parent.stdout
    assert isinstance(decode_event(parent.stdout.readline()), Started)
    killed_s = time.monotonic()
    os.kill(parent.pid, signal.SIGKILL)
    assert parent.stdout.read() == b""  # until the worker, the other holder of the pipe, is gone
    assert time.monotonic() - killed_s < 5
    parent.wait()
