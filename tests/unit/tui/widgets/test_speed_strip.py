"""The columns of an answer's speeds."""

from engine.stats.metrics import Metrics
from tui.duel.figures import Figures
from tui.widgets.speed_strip import cells, columns


def test_the_round_trip_stands_beside_ttft_and_is_the_first_to_give_way() -> None:
    metrics = Metrics(
        ttft_ms=120.0,
        prefill_tok_s=300.0,
        decode_tok_s=40.0,
        itl_p50_ms=None,
        itl_p95_ms=None,
        prompt_tokens=9,
        new_tokens=9,
        round_trip_ms=23.0,
        contended=False,
    )
    wanted = cells(figures(metrics), live=False)
    assert [label for label, _, _ in wanted][:2] == ["TTFT", "round trip"] and wanted[1][1] == "23.0 ms"
    shown = [[label for label, _, _ in columns(wanted, width)] for width in (60, 40)]
    assert "round trip" in shown[0] and "TTFT" in shown[1] and "round trip" not in shown[1]


def test_the_mean_draw_stands_beside_the_joules_and_gives_way_before_anything_moves() -> None:
    metrics = Metrics(
        ttft_ms=120.0,
        prefill_tok_s=300.0,
        decode_tok_s=40.0,
        itl_p50_ms=None,
        itl_p95_ms=None,
        prompt_tokens=9,
        new_tokens=9,
        joules_per_token=0.5,
        mean_watts=20.0,
        contended=False,
    )
    wanted = cells(figures(metrics), live=False)
    assert [value for _, value, _ in wanted][3:5] == ["0.5 J/tok", "20 W"]
    assert not {"energy", "mean draw"} & {label for label, _, _ in cells(figures(metrics), live=True)}
    wide, narrow = columns(wanted, 90), columns(wanted, 60)
    assert "mean draw" in {label for label, _, _ in wide}
    assert narrow == [column for column in wide if column[0] != "mean draw"]


def figures(metrics: Metrics) -> Figures:
    return Figures(metrics=metrics, live_tok_s=None, speeds_tok_s=(), prefilled_tokens=9, memory=None)
