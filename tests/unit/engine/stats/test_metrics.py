"""Speeds from stamps, with stamps chosen so that the right figure is known."""

import pytest

from engine.protocol.answers import Decoded, Prefilled, Prompted
from engine.protocol.failure import Failed
from engine.protocol.wire import Event
from engine.stats.metrics import Timeline, percentile

MS = 1_000_000


def timeline(*events: Event) -> Timeline:
    folded = Timeline()
    for event in events:
        folded.add(event)
    return folded


def answer(*token_ms: float) -> Timeline:
    """10 prompt tokens received at 0 ms, read from 100 to 300 ms, then tokens at the given times."""
    return timeline(
        Prompted(request=1, tokens=10, sha256="", ns=0),
        Prefilled(request=1, done=0, total=10, ns=100 * MS),
        Prefilled(request=1, done=10, total=10, ns=300 * MS),
        *(Decoded(request=1, token_id=0, text="", ns=int(ms * MS)) for ms in token_ms),
    )


def test_decode_speed_counts_gaps_and_never_the_prefill() -> None:
    metrics = answer(400, 500, 600, 700, 800).metrics()
    assert metrics.decode_tok_s == pytest.approx(10)  # 4 gaps in 0.4 s
    assert metrics.ttft_ms == pytest.approx(400)
    assert metrics.prefill_tok_s == pytest.approx(50)  # 10 tokens in 0.2 s
    assert (metrics.prompt_tokens, metrics.new_tokens) == (10, 5)


def test_one_token_has_a_ttft_but_no_decode_speed() -> None:
    metrics = answer(400).metrics()
    assert metrics.ttft_ms == pytest.approx(400)
    assert metrics.decode_tok_s is None and metrics.itl_p50_ms is None


def test_nothing_measured_is_none_not_zero() -> None:
    metrics = timeline().metrics()
    assert (metrics.ttft_ms, metrics.prefill_tok_s, metrics.decode_tok_s) == (None, None, None)


def test_a_prefill_that_was_cut_short_has_no_speed() -> None:
    begun = (
        Prefilled(request=1, done=0, total=10, ns=100 * MS),
        Prefilled(request=1, done=5, total=10, ns=200 * MS),
    )
    assert timeline(*begun).metrics().prefill_tok_s == pytest.approx(50)  # while it goes on
    ended = timeline(*begun, Failed(kind="cancelled", message="cancelled"))
    assert ended.metrics().prefill_tok_s is None


def test_sub_second_answers_are_not_rounded() -> None:
    assert answer(400, 400.5, 401).metrics().decode_tok_s == pytest.approx(2000)


def test_a_decoding_of_little_time_or_few_tokens_is_too_short() -> None:
    step_ms = {8: 72, 7: 1000, 100: 4}
    assert {n: answer(*(ms * n for n in range(n))).metrics().too_short for n, ms in step_ms.items()} == {
        8: False,  # 7 × 72 ms is 0.504 s
        7: True,
        100: True,
    }
    assert not answer(400).metrics().too_short  # it has no speed


def test_itl_percentiles() -> None:
    metrics = answer(400, 410, 420, 430, 530).metrics()  # gaps 10, 10, 10, 100
    assert metrics.itl_p50_ms == pytest.approx(10)
    assert metrics.itl_p95_ms == pytest.approx(86.5)  # interpolated: 10 + 0.85 · 90


def test_live_speed_is_that_of_the_last_second() -> None:
    slow_then_fast = [400, 1400, 2400, *(2400 + 10 * i for i in range(1, 101))]
    assert answer(*slow_then_fast).live_tok_s() == pytest.approx(100)


def test_contended_is_carried() -> None:
    assert answer(400, 500).metrics(contended=True).contended


def test_percentile_of_few_values() -> None:
    assert percentile([], 50) is None
    assert percentile([3.0], 95) == 3.0
