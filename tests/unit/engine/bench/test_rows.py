"""A bench's figures from stamps chosen so that the right figure is known."""

import asyncio
import csv
import dataclasses
import json
import os
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

from engine.bench import document, plan, rows
from engine.bench import text as texts
from engine.bench.checks import checks, differ
from engine.bench.plan import Settings, Shape
from engine.bench.rows import Figure, Latency, Row, Runs
from engine.bench.trial import Open, Trial
from engine.bench.watch import Watch, Worker, busy_processors
from engine.config import profile
from engine.errors import InputError
from engine.jobs import sheet as sheets
from engine.jobs.pace import Pace
from engine.jobs.profiles import distinct
from engine.machine.cpu_time import busy_s, used_s
from engine.machine.gpu_state import GpuState, foreign, slowdowns
from engine.protocol import CopyMeasured, Failed, Failure, Measured, Memory, ModelInfo, Pass, Weights

MS = 1_000_000
TINY = profile.of_model("random:tiny")
INFO = ModelInfo(
    label="fp8",
    kernel="Quick",
    step="native",
    architecture="",
    parameters=0,
    context_length=0,
    dtype="bfloat16",
    device="cpu",
    device_name="",
    threads=2,
    weights=Weights(linear_bytes=0, embedding_bytes=0, other_bytes=0),
    tokenizer_sha256="",
    has_chat_template=False,
    copy_bytes_s=7e9,
    versions={},
)


def settings(**changes: object) -> Settings:
    profiles = distinct([TINY] * 2)
    return Settings(profiles=profiles, **({"contexts": (32, 64), "steps": 5, "repeat": 2} | changes))


def memory(peak: int, process: int) -> Memory:
    return Memory(
        weights_bytes=1,
        kv_cache_bytes=1,
        peak_bytes=peak,
        process_bytes=process,
        device_used_bytes=1,
        device_total_bytes=2,
        process_source="resident set",
    )


def measured(*token_ms: float, cached: int = 36, reset: Memory | None = None) -> Measured:
    """Started at 1000 ms, its prompt read within 200 ms, its tokens known at these times after the start."""
    return Measured(
        request=1,
        started_ns=1000 * MS,
        prefilled_ns=1200 * MS,
        token_ns=tuple(int((1000 + ms) * MS) for ms in token_ms),
        cached_tokens=cached,
        kv_cache_bytes=77,
        step_bytes=4_000_000,
        threads=2,
        memory=memory(500, 400),
        memory_at_reset=reset or memory(400, 400),
    )


def row(batch: int = 1, *, name: str = "tiny", context: int = 32, **changes: object) -> Row:
    timed = (measured(250, 350, 450, 550, 650), measured(250, 300, 350, 400, 450))
    copy = CopyMeasured(request=2, buffer_bytes=1, bytes_s=(1e8, 9e9, 1e8))
    empty = rows.empty(name, Shape(context, batch), None)
    runs = Runs(timed=timed, peak=measured(250, 260, **changes), copy=copy)
    return rows.filled(empty, context, runs)


def test_speeds_are_those_of_all_sequences() -> None:
    one, four = row(), row(batch=4)
    assert one.prefill_tok_s == Figure(pytest.approx(160), pytest.approx(0), (160, 160))  # 32 in 0.2 s
    assert four.prefill_tok_s and four.prefill_tok_s.mean == pytest.approx(640)
    assert one.decode_tok_s and one.decode_tok_s.samples == (pytest.approx(10), pytest.approx(20))
    assert one.decode_tok_s.mean == pytest.approx(15)
    assert one.decode_tok_s.stdev == pytest.approx(50**0.5)  # of the sample: n - 1
    assert four.decode_tok_s and four.decode_tok_s.mean == pytest.approx(60)
    assert four.decode_tok_s_per_sequence == pytest.approx(15)


def test_latencies_and_memory() -> None:
    found = row()
    assert found.ttft_ms and found.ttft_ms.mean == pytest.approx(250)
    assert found.itl_ms and found.itl_ms.p50 == pytest.approx(75)  # four gaps of 50, four of 100 ms
    assert found.itl_ms.p95 == pytest.approx(100)
    assert (found.peak_bytes, found.kv_cache_bytes) == (500, 77)


def test_the_share_of_the_bandwidth_is_of_steps_not_of_sequences() -> None:
    for batch in (1, 4):
        found = row(batch)
        assert found.copy_bytes_s == 1e8  # the median
        assert found.bandwidth_share == pytest.approx(4e6 * 15 / 1e8)
    assert rows.share(None, 15, 1e8) is None and rows.share(4, 15, None) is None


def test_a_row_far_below_the_bandwidth_says_why() -> None:
    slow = replace(row(), bandwidth_share=0.2)
    said = rows.explained(slow, INFO)
    assert said.bottleneck and said.bottleneck.startswith("20% of the bandwidth")
    assert rows.explained(row(), INFO).bottleneck is None  # 60 %
    slower = replace(row(context=64), bandwidth_share=0.1, bottleneck="10% of the bandwidth: x")
    found = document.begun(settings()).with_model(TINY.name, INFO)
    named = [replace(found_row, profile=TINY.name) for found_row in (said, slower)]
    for each in named:
        found = found.with_row(each)
    assert texts.reasons(found) == [f"{TINY.name} 64×1: 10% of the bandwidth: x"]
    for form in ("table", "md"):
        assert "10% of the bandwidth: x" in sheets.text(texts.sheet(found), form)
        assert "tiny: fp8, kernel Quick, step native, 2 threads on cpu, copies 7.0 GB/s" in sheets.text(
            texts.sheet(found), form
        )


def test_one_repeat_has_no_deviation() -> None:
    assert rows.figure([3.0]) == Figure(3.0, None, (3.0,))


def test_the_figures_can_be_had_from_the_stamps_again() -> None:
    first = row().stamps[0]
    assert first.prefilled_ns == 200 * MS
    assert [ns // MS for ns in first.token_ns] == [250, 350, 450, 550, 650]


def test_the_matrix_goes_batch_after_batch() -> None:
    shapes = settings(batches=(1, 4)).shapes
    assert shapes == (Shape(32, 1), Shape(64, 1), Shape(32, 4), Shape(64, 4))


def test_a_row_warms_up_at_its_own_shape_and_takes_its_peak_apart() -> None:
    warm_up, peak, *timed = settings(steps=100, repeat=3).runs(Shape(64, 4))
    assert (warm_up.context, warm_up.batch, warm_up.with_memory) == (64, 4, False)
    assert peak.with_memory and peak.steps == 100
    assert len(timed) == 3 and {(run.steps, run.with_memory) for run in timed} == {(100, False)}


def test_depth_puts_the_context_into_the_cache() -> None:
    run = settings(depth=True).run(Shape(512, 2))
    assert (run.depth, run.context) == (512, plan.FOLLOW_UP_TOKENS)


def test_a_profile_named_twice_gets_two_names() -> None:
    names = [found.name for found in distinct([TINY, TINY, TINY])]
    assert len(set(names)) == 3 and names[1] == f"{names[0]} #2"
    with pytest.raises(InputError, match="no profile named"):
        distinct([])


def test_every_format_shows_every_row() -> None:
    name = TINY.name
    bad = rows.failed(rows.empty(name, Shape(64, 1), None), Failed(kind="out_of_memory", message="too | big"))
    found = document.begun(settings()).with_row(bad).with_row(row(name=name))
    assert [each.context for each in found.rows] == [32, 64]  # in the matrix's order
    whole = json.loads(sheets.text(texts.sheet(found), "json"))
    assert whole["rows"][0]["decode_tok_s"] == {
        "mean": 15,
        "stdev": pytest.approx(50**0.5),
        "samples": [10, 20],
    }
    assert whole["rows"][1]["error"]["kind"] == "out_of_memory" and whole["rows"][1]["decode_tok_s"] is None
    assert whole["header"]["settings"]["contexts"] == [32, 64] and whole["header"]["starts"][0]["at"]
    assert [json.loads(line) for line in sheets.text(texts.sheet(found), "jsonl").splitlines()] == whole[
        "rows"
    ]
    first, second = csv.DictReader(sheets.text(texts.sheet(found), "csv").splitlines())
    assert (first["decode_tok_s"], first["peak_bytes"]) == ("15.0", "500")
    assert (second["decode_tok_s"], second["error"]) == ("", "too | big")
    table, markdown = sheets.text(texts.sheet(found), "table"), sheets.text(texts.sheet(found), "md")
    assert "15.0 ± 7.1" in table and "15.0 ± 7.1" in markdown
    assert "too | big" in table and "too \\| big" in markdown
    assert "per sequence" not in table  # nothing was batched


def test_the_time_left_follows_the_pace() -> None:
    pace = Pace()
    pace.left = 100
    assert pace.left_s is None
    pace.add(25, seconds=5)
    assert (pace.share, pace.left_s) == (0.25, 15)


# the self-check


def verdicts(found: list[Row], again: list[Row], **changes: object) -> dict[str, str]:
    return {check.name: check.verdict for check in checks(settings(**changes), found, again)}


def test_a_good_run_passes() -> None:
    found = verdicts([row(), row(batch=4)], [row(batch=4), row()])
    assert list(found.values()) == ["passed"] * 4


def test_a_polluted_first_row_is_found() -> None:
    slow = Figure(5.0, 0.1, (4.9, 5.0, 5.1))
    quick = Figure(15.0, 0.1, (14.9, 15.0, 15.1))
    assert differ(slow, quick) and not differ(slow, Figure(5.3, 0.1, (5.2, 5.3, 5.4)))
    assert not differ(Figure(5.0, 6.0, (0.0, 10.0)), quick)  # its own noise explains it
    first, again = with_decode(row(), slow), with_decode(row(), quick)
    assert verdicts([first], [again])["order changes nothing"] == "failed"
    assert verdicts([marked(first)], [again])["order changes nothing"] == "unclear"
    assert verdicts([first], [])["order changes nothing"] == "unclear"


def with_decode(found: Row, figure: Figure) -> Row:
    return replace(found, decode_tok_s=figure)


def marked(found: Row) -> Row:
    return replace(found, marks=("busy CPU: others 50%",))


def test_decoding_without_the_context_is_found() -> None:
    assert row().evidence and row().evidence.cached_tokens == (36, 36)  # 32 + 5 - 1
    assert verdicts([row(context=64)], [])["decode uses its context"] == "failed"


def test_how_a_step_grows_with_its_context_is_told() -> None:
    short, long = row(), row(context=64)
    assert long.evidence
    held = replace(long.evidence, cached_tokens=(68, 68))  # 64 + 5 - 1
    slow = replace(long, itl_ms=Latency(90.0, 99.0), evidence=held)
    told = {check.name: check.detail for check in checks(settings(), [short, slow], [short])}
    wanted = "3 rows; tiny: 75.00 ms a token behind 32, 90.00 behind 64"
    assert told["decode uses its context"] == wanted


def test_a_peak_of_earlier_rows_is_found() -> None:
    never_reset = row(reset=memory(900 << 20, 400 << 20))
    assert verdicts([never_reset], [])["the peak begins anew"] == "failed"


def test_a_prefill_inside_decode_is_found() -> None:
    found = row()
    late = [replace(stamps, prefilled_ns=stamps.token_ns[1]) for stamps in found.stamps]
    mixed = replace(found, stamps=tuple(late))
    assert verdicts([mixed], [])["no prefill inside decode"] == "failed"


# going on


def test_only_what_is_missing_is_measured_again() -> None:
    name, other = (found.name for found in settings().profiles)
    crash = Failed(kind="worker_lost", message="gone")
    no_room = Failed(kind="out_of_memory", message="too big")
    empty = rows.empty(other, Shape(64, 1), None)
    found = document.begun(settings()).with_row(row(name=name))
    found = found.with_row(rows.failed(rows.empty(other, Shape(32, 1), None), no_room))
    found = found.with_row(rows.failed(empty, crash))
    assert found.missing() == [(Shape(64, 1), name), (Shape(64, 1), other)]
    assert empty.error is None and found.rows[-1].error == Failure("worker_lost", "gone")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"steps": 6}, "its steps is 5, not 6"),
        ({"repeat": 3}, "its repeat is 2, not 3"),
        ({"depth": True}, "its depth is False, not True"),
        ({"generator": "hf"}, "its generator is engine, not hf"),
        ({"schedule": "swap"}, "its schedule is sequential, not swap"),
        ({"profiles": (TINY,)}, "its profiles are"),
    ],
)
def test_other_settings_are_refused(changes: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        document.resumed(document.begun(settings()), replace(settings(), **changes))


def test_other_versions_and_machines_are_refused() -> None:
    begun = document.begun(settings())
    older = replace(begun.header, versions={"msgspec": "0.0.1"})
    with pytest.raises(InputError, match=r"msgspec was 0\.0\.1 then"):
        document.resumed(replace(begun, header=older), settings())
    host = dataclasses.replace(begun.header.hardware.host, name="an abacus")
    hardware = dataclasses.replace(begun.header.hardware, host=host)
    elsewhere = replace(begun, header=replace(begun.header, hardware=hardware))
    with pytest.raises(InputError, match="another machine"):
        document.resumed(elsewhere, settings())


def test_a_matrix_may_grow_when_it_goes_on() -> None:
    name = TINY.name
    found = document.resumed(document.begun(settings()).with_row(row(name=name)), settings(contexts=(16, 32)))
    assert len(found.rows) == 1 and len(found.missing()) == 3
    assert len(found.header.starts) == 2


# the machine


def gpu(*pids: int, mask: int = 0) -> GpuState:
    return GpuState(
        index=0,
        name="X",
        sm_mhz=None,
        sm_max_mhz=None,
        memory_mhz=None,
        power_w=None,
        power_cap_w=None,
        temperature_c=None,
        slowdowns=slowdowns(mask),
        pids=pids,
    )


def test_foreign_processes_on_a_gpu() -> None:
    assert foreign(gpu(10, 11), own={10, 11}, own_here=2) == 0
    assert foreign(gpu(10, 99), own={10, 11}, own_here=1) == 1
    assert foreign(gpu(1, 2), own={10, 11}, own_here=2) == 0  # a container shows other ids
    assert foreign(gpu(1, 2, 3), own={10, 11}, own_here=2) == 1
    assert foreign(gpu(), own={10}, own_here=1) == 0  # … or none


def test_slowdowns_in_words() -> None:
    assert slowdowns(0x01 | 0x02) == ()  # idle, and clocks set by a user: no fault
    assert slowdowns(0x04 | 0x20) == ("power cap", "thermal slowdown")


async def test_a_watch_marks_the_gpus_of_each_worker() -> None:
    workers = [Worker(10, "cuda:0"), Worker(11, "cuda:1"), Worker(12, "cpu")]
    async with Watch(workers) as watch:
        watch.note(gpu(10, 99, mask=0x04))
        watch.note(replace(gpu(11), index=1))
    marks = [[mark for mark in watch.marks(worker) if "CPU" not in mark] for worker in workers]
    assert marks == [["another process on the GPU", "clocks held back: power cap"], [], []]


@dataclasses.dataclass
class MeasuredSession:
    """A worker whose runs have given figures."""

    results: list[Measured]
    pid: int = 1

    async def measure(self, run: Pass, *, threads: int | None) -> Measured:
        return self.results.pop(0)


@pytest.mark.parametrize(
    ("given", "fewest", "marks"),
    [(None, (2, 2), ()), (None, (2, 1), ("on 1 of 2 threads",)), (1, (1, 1), ())],
)
async def test_threads_that_others_took_are_marked(
    given: int | None, fewest: tuple[int, int], marks: tuple[str, ...]
) -> None:
    """Those of the timed runs; fewer that were asked for are no loss."""
    one = measured(250, 350)
    session = MeasuredSession([replace(one, threads=threads) for threads in (1, *fewest)])
    trial = Trial(Open("tiny", session, INFO, None), settings(), Shape(32, 1))
    trial.threads, trial.marks = given, ("contended",)
    await trial.take_peak(Pass(context=32, steps=2))
    for _ in fewest:
        await trial.time(Pass(context=32, steps=2))
    assert trial.row().marks == ("contended", *marks)


async def test_others_on_the_processors_are_marked() -> None:
    """By an orphan: a child's time counts as ours once it was waited for."""
    spin = "import time; end = time.monotonic() + 1\nwhile time.monotonic() < end: pass"
    orphan = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {spin!r}])"
    pipe = asyncio.subprocess.PIPE
    async with Watch([]) as watch:
        parent = await asyncio.create_subprocess_exec(sys.executable, "-c", orphan, stdout=pipe)
        await parent.communicate()  # the orphan has the pipe, too: this waits for its end
    (mark,) = watch.marks(Worker(1, "cpu"))
    assert mark.startswith("busy CPU: others ")


async def test_our_own_children_are_no_others() -> None:
    spin = "import time; end = time.process_time() + 0.3\nwhile time.process_time() < end: pass"
    before_s = used_s(os.getpid())
    await (await asyncio.create_subprocess_exec(sys.executable, "-c", spin)).wait()
    assert used_s(os.getpid()) >= before_s + 0.25


@pytest.mark.parametrize(
    ("device", "processors", "allowed"), [("cpu", 2, 0.2), ("cpu", 64, 0.5), ("cuda:0", 64, 6.4)]
)
def test_how_much_of_the_processors_others_may_use(device: str, processors: int, allowed: float) -> None:
    assert busy_processors(device, processors) == pytest.approx(allowed)


def test_our_own_work_is_known() -> None:
    before_s, all_before_s = used_s(os.getpid()), busy_s()
    while used_s(os.getpid()) < before_s + 0.2:
        sum(range(10_000))
    assert busy_s() >= all_before_s + 0.1
    assert used_s(2**22 + 1) == 0  # nobody has this id


def test_what_is_no_bench_is_one_line_and_not_waited_for(tmp_path: Path) -> None:
    pipe, binary, deep = (tmp_path / f"{name}.json" for name in ("pipe", "binary", "deep"))
    os.mkfifo(pipe)
    binary.write_bytes(b'{"\xff": 1}')
    deep.write_bytes(b"[" * 100_000)
    for file, said in (
        (pipe, "is a pipe"),
        (binary, "is no bench"),
        (deep, "is no bench"),
        (tmp_path, "folder"),
    ):
        with pytest.raises(InputError, match=said):
            document.read(file)
