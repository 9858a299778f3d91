"""The self-check: each way in which a bench could mislead is found."""

from msgspec.structs import replace

from engine.bench.checks import checks, differ
from engine.bench.rows import Figure, Latency, Row
from tests.unit.engine.bench.samples import memory, row, settings


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


def test_how_a_step_grows_with_its_context_is_shown() -> None:
    short, long = row(), row(context=64)
    assert long.evidence
    held = replace(long.evidence, cached_tokens=(68, 68))  # 64 + 5 - 1
    slow = replace(long, itl_ms=Latency(90.0, 99.0), evidence=held)
    reported = {check.name: check.detail for check in checks(settings(), [short, slow], [short])}
    wanted = "3 rows; tiny: 75.00 ms a token after 32, 90.00 after 64"
    assert reported["decode uses its context"] == wanted


def test_a_peak_of_earlier_rows_is_found() -> None:
    never_reset = row(reset=memory(900 << 20, 400 << 20))
    assert verdicts([never_reset], [])["the peak is reset"] == "failed"


def test_a_prefill_inside_decode_is_found() -> None:
    found = row()
    late = [replace(stamps, prefilled_ns=stamps.token_ns[1]) for stamps in found.stamps]
    mixed = replace(found, stamps=tuple(late))
    assert verdicts([mixed], [])["no prefill inside decode"] == "failed"
