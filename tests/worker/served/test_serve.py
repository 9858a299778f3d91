"""A real server, llama.cpp's, as a side; and llama.cpp within a worker. The demo's GGUF file, no torch."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import psutil
import pytest

from engine.bench import document
from engine.bench.plan import OF_A_WORKER
from engine.bench.plan import Settings as BenchSettings
from engine.bench.run import Bench
from engine.config.methods import LlamaCpp
from engine.config.profile import Generation, Model, Profile
from engine.config.sources import Remote
from engine.duel import lens_text
from engine.duel.answer import Answer
from engine.duel.duel import Duel
from engine.duel.lens import Lens
from engine.duel.looking import look
from engine.evaluation.run import Evaluation
from engine.evaluation.settings import Settings
from engine.evaluation.verdicts import judged
from engine.jobs.events import Advanced
from engine.jobs.profiles import distinct
from engine.protocol.answers import Decoded, Finished, Message, Prompted, Rendered, Resumed
from engine.protocol.failure import Failed
from engine.protocol.loading import Loaded
from engine.protocol.runs import BenchRun, ServedMeasured, ServedRun
from engine.protocol.scores import Passage, Scored, Tokenized
from engine.protocol.wire import Event
from engine.session.client import Session
from engine.worker.checkpoints import demo

Loader = Callable[[Profile], Awaitable[Session]]
QUESTION = (Message("user", "What is the capital of France? Answer in one sentence."),)
KEY = "a-key-of-the-tests"
SAID = "The capital of France is Paris."
STORY = (Message("user", "Tell a long story."),)


class Server:
    """A process that can be killed."""

    def __init__(self, model: Path) -> None:
        script = str(Path(__file__).with_name("llama_server.py"))
        self.process = subprocess.Popen(
            [sys.executable, script, str(model), KEY],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout is not None
        lines = (line.split() for line in self.process.stdout)
        self.url = next(words[1] for words in lines if words[:1] == ["up"]) + "/v1"

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@pytest.fixture(scope="module")
def model(home: Path) -> Path:
    return demo.gguf(lambda _: None)


@pytest.fixture(scope="module")
def server(model: Path) -> Iterator[Server]:
    found = Server(model)
    yield found
    found.kill()


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAMA_KEY", KEY)
    monkeypatch.setenv("WRONG_KEY", "a-wrong-key")


def served(server: Server, **remote: str) -> Profile:
    return Profile(
        name="served", model=Model(source=server.url), remote=Remote(**{"key_env": "LLAMA_KEY", **remote})
    )


async def collect(events: AsyncIterator[Event]) -> list[Event]:
    return [event async for event in events]


async def failure(profile: Profile) -> Failed:
    session = Session(profile)
    events = await collect(session.load())
    await session.close()
    assert isinstance(events[-1], Failed)
    return events[-1]


def folded(events: list[Event]) -> Answer:
    found = Answer()
    for event in events:
        found.add(event)
    return found


async def test_what_is_loaded_is_described_and_no_torch_is(server: Server, load: Loader) -> None:
    session = await load(served(server))
    info = session.info
    assert info is not None and info.served is not None and session.memory is None
    assert (info.label, info.parameters, info.context_length) == ("q4_1", 134515008, 512)
    assert info.weights_bytes == 96576768
    assert info.served.engine == "llama-server" and info.served.ids and info.served.is_here
    mapped = {Path(each.path).name for each in psutil.Process(session.pid).memory_maps()}
    assert not any(name.startswith("libtorch") for name in mapped)


async def test_an_answer_has_the_ids_and_the_servers_times(server: Server, load: Loader) -> None:
    session = await load(served(server))
    events = await collect(session.generate(QUESTION, Generation(), cold=True))
    one = folded(events)
    assert one.text == SAID and one.finish_reason == "stop"
    rendered = await session.render(QUESTION)
    assert isinstance(rendered, Rendered)
    prompted = next(event for event in events if isinstance(event, Prompted))
    assert prompted.tokens == len(rendered.token_ids) and len(prompted.sha256) == 64
    finished = events[-1]
    assert isinstance(finished, Finished) and finished.served is not None
    assert finished.served.tokens == one.metrics.new_tokens == len(one.pieces) == 8
    assert finished.served.reused_tokens == 0 and not finished.served.contended
    assert one.metrics.server_decode_tok_s and one.metrics.prefill_tok_s
    assert one.token_ids == [504, 3575, 282, 4649, 314, 7042, 30, 2]


async def test_every_sampling_setting_reaches_the_server(server: Server, load: Loader) -> None:
    session = await load(served(server))
    hot = Generation(
        max_new_tokens=12, temperature=1.5, top_k=50, top_p=0.9, min_p=0.02, repetition_penalty=1.1
    )
    first, again = [folded(await collect(session.generate(STORY, hot))) for _ in range(2)]
    other = folded(
        await collect(session.generate(STORY, Generation(max_new_tokens=12, temperature=1.5, seed=5)))
    )
    assert first.text == again.text != other.text
    assert not any("sampled with" in note for note in first.notes)


async def test_a_cancelled_answer_goes_on_after_its_own_tokens(server: Server, load: Loader) -> None:
    session = await load(served(server))
    before: list[Event] = []
    async for event in session.generate(STORY, Generation(max_new_tokens=300)):
        before.append(event)
        if sum(isinstance(each, Decoded) for each in before) == 5:
            session.cancel()
    first = folded(before)
    assert first.finish_reason == "cancelled" and first.is_cut
    ids = tuple(first.token_ids)
    after = await collect(session.generate(STORY, Generation(max_new_tokens=3), answered=ids))
    resumed = next(event for event in after if isinstance(event, Resumed))
    assert resumed.token_ids == ids and "".join(resumed.pieces) == first.text
    assert folded(after).finish_reason == "length" and folded(after).text.startswith(first.text)


async def test_too_long_a_prompt_is_refused_and_the_next_answered(server: Server, load: Loader) -> None:
    session = await load(served(server))
    events = await collect(session.generate((Message("user", "word " * 600),), Generation()))
    assert isinstance(events[-1], Failed) and events[-1].kind == "bad_input"
    assert "512" in events[-1].message
    assert folded(await collect(session.generate(QUESTION, Generation()))).text == SAID


async def test_a_given_text_is_scored_and_a_served_reference_is_compared_with(server: Server) -> None:
    """The reference hands over what it tells; the same model again is as near as rounding lets it be."""
    pair = distinct([served(server), served(server)])
    evaluation = Evaluation(Settings(profiles=pair, window=48, tokens=48, decode_steps=0, top_k=50))
    await collect(evaluation.run())
    report = evaluation.report
    (row,) = report.candidates
    assert report.reference.complete and row.complete and row.tokens == 24 and not row.error
    assert row.kld is not None and row.kld_is_bound and row.kld_top_k == 50 and row.kld.mean < 0.01
    assert 0.01 < (row.kld_tail or 0) < 0.5 and row.perplexity_ratio == pytest.approx(1, abs=0.05)
    assert any("a lower bound (top 50, tail" in note for note in row.notes)
    assert judged(report)[0].decision == "undecided" and row.margins is not None


async def test_the_lens_shows_what_the_server_tells(server: Server, load: Loader) -> None:
    duel = Duel([await load(served(server)), await load(served(server))])
    await collect(duel.ask(QUESTION[0].content, Generation(max_new_tokens=6)))
    found = await look(duel)
    assert (
        isinstance(found, Lens)
        and found.verdict is None
        and found.summary.text.startswith("top tokens differ at 0")
    )
    assert found.summary.kld_is_bound and found.summary.mean_kld < 0.05
    assert "mean KLD ≥ " in lens_text.lines(found)[0] and "(tail " in lens_text.lines(found)[0]
    said = duel.answers[1].token_ids
    said[1] += 1
    found = await look(duel)
    assert isinstance(found, Lens) and found.verdict is not None
    assert (found.verdict.kind, found.verdict.index, found.verdict.noise) == ("not judged", 1, None)


async def test_a_cancelled_score_ends_and_the_next_is_scored(server: Server, load: Loader) -> None:
    session = await load(served(server))
    text = await session.tokenize("python-docs", 300)
    assert isinstance(text, Tokenized) and text.beginning == () and len(text.token_ids) == 300
    waiting = asyncio.create_task(session.score(Passage(token_ids=text.token_ids, first=1)))
    while not session.stopping:
        await asyncio.sleep(0.01)
        session.cancel()
    found = await waiting
    assert isinstance(found, Failed) and found.kind == "cancelled"
    scored = await session.score(Passage(token_ids=text.token_ids[:20], first=16, top=3))
    assert isinstance(scored, Scored) and len(scored.log_probs) == 4 and max(scored.log_probs) < 0
    for ids, likely in zip(scored.top_ids, scored.top_log_probs, strict=True):
        assert list(likely) == sorted(likely, reverse=True) and all(scored.pieces[each] for each in ids)


async def test_what_a_server_does_not_do_is_refused(server: Server, load: Loader) -> None:
    session = await load(served(server))
    for found in (
        await session.measure(BenchRun(context=8)),
        await session.measure_copy(),
    ):
        assert isinstance(found, Failed) and found.kind == "bad_input" and "server's" in found.message
    assert session.ready


async def test_it_is_measured_one_by_one_and_at_once_and_what_came_stays(
    server: Server, load: Loader
) -> None:
    """Four slots of 512 tokens; the second context does not fit."""
    settings = {"profiles": (served(server),), "steps": 4, "repeat": 2, "requests": 1}
    one = Bench(document.begun(BenchSettings(**settings, contexts=(16, 512), batches=(1, 2))))
    assert [event async for event in one.run()]
    row, long, *batched = one.document.rows
    assert row.error is None and row.served and len(row.stamps) == 2
    assert all(len(stamps.token_ns) == 4 for stamps in row.stamps)
    assert row.prefill_tok_s and row.decode_tok_s and row.ttft_ms and row.peak_bytes is None
    assert row.weights_bytes == 96576768
    assert long.error is not None and "512" in long.error.message
    assert {each.error and each.error.message for each in batched} == {OF_A_WORKER}
    many = Bench(document.begun(BenchSettings(**settings, contexts=(16,), concurrency=(1, 4))))
    events = [event async for event in many.run()]
    assert [
        (each.at_once, each.many and (each.many.requests, each.many.failed)) for each in many.document.rows
    ] == [
        (1, (2, 0)),
        (4, (8, 0)),
    ]
    assert all(each.many and each.many.tokens == 4 * each.many.requests for each in many.document.rows)
    assert not [
        mark for each in many.document.rows for mark in each.marks if "cache" in mark or "anew" in mark
    ]
    assert any(isinstance(event, Advanced) and event.doing.endswith("answered") for event in events)


async def test_wrong_keys_names_and_addresses_are_said(server: Server) -> None:
    wrong = await failure(served(server, key_env="WRONG_KEY"))
    assert "HTTP 401" in wrong.message and "WRONG_KEY" in wrong.hint and "a-wrong-key" not in str(wrong)
    unset = await failure(served(server, key_env="NOT_SET_AT_ALL"))
    assert "NOT_SET_AT_ALL is not set" in unset.message
    other = await failure(served(server, model="no-such-model"))
    assert "no model named 'no-such-model'" in other.message
    nobody = Profile(name="nobody", model=Model(source="http://127.0.0.1:9/v1"))
    assert "cannot be reached" in (await failure(nobody)).message


async def test_a_server_that_is_killed_leaves_the_text_and_is_loaded_again(model: Path) -> None:
    victim = Server(model)
    session = Session(served(victim))
    assert isinstance((await collect(session.load()))[-1], Loaded)
    events: list[Event] = []
    async for event in session.generate(STORY, Generation(max_new_tokens=400)):
        events.append(event)
        if sum(isinstance(each, Decoded) for each in events) == 5:
            victim.kill()
    one = folded(events)
    assert one.failure is not None and one.failure.message.startswith("cut off after")
    assert len(one.pieces) >= 5 and one.text and session.ready
    gone = (await collect(session.generate(STORY, Generation())))[-1]
    assert isinstance(gone, Failed) and "cannot be reached" in gone.message
    await session.close()


async def test_llama_cpp_in_a_worker_keeps_the_weights_packed(load: Loader, home: Path) -> None:
    profile = Profile(name="packed", model=Model(source="demo"), quantization=LlamaCpp(context=512))
    session = await load(profile)
    info, memory = session.info, session.memory
    assert info is not None and memory is not None and info.served is not None
    assert (info.label, info.device, info.kernel.partition(" ")[0]) == ("q4_1", "cpu", "llama.cpp")
    assert memory.weights_bytes == info.weights_bytes == 96576768
    assert memory.kv_cache_bytes == 2 * 3 * 64 * 2 * 30 * 512
    assert memory.weights_bytes < memory.process_bytes <= memory.peak_bytes
    events = await collect(session.generate(QUESTION, Generation()))
    finished = events[-1]
    assert folded(events).text == SAID
    assert isinstance(finished, Finished) and finished.memory is not None
    *_, end = await collect(session.measure_served(ServedRun(context=16, steps=16, requests=2, seed=1)))
    assert isinstance(end, ServedMeasured) and 0 < end.cpu_share < 0.5, (
        "the model in this process is no client"
    )
    os.kill(session.pid or 0, signal.SIGKILL)
    assert (await session.ended()).kind == "worker_lost"
