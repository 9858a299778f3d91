"""A bench's figures from stamps chosen so that the right figure is known."""

import pytest
from msgspec.structs import replace

from engine.bench import document, rows
from engine.bench import text as texts
from engine.bench.rows import Figure
from engine.jobs import sheet as sheets
from tests.unit.engine.bench.samples import INFO, MS, TINY, row, settings


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
