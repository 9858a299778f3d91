"""Losses as rows with bars."""

from engine import tables
from engine.checkpoints import layer_errors
from engine.config.record import ModuleError


def errors(*means: float) -> list[ModuleError]:
    return [
        ModuleError(layer=layer, module=f"{part}.{name}", loss=factor * mean)
        for layer, mean in enumerate(means)
        for part, name, factor in (("self_attn", "q_proj", 0.5), ("mlp", "up_proj", 1.5))
    ]


def test_a_row_a_layer_with_short_names_and_the_mean() -> None:
    rows = layer_errors.rows(errors(0.001, 0.1))
    assert list(rows[0]) == ["layer", "q_proj", "up_proj", "mean", "log scale"]
    assert rows[0]["mean"] == 0.001 and rows[1]["layer"] == 1
    assert len(tables.table(rows).splitlines()) == 3


def test_bars_grow_with_the_logarithm_from_the_best_layer_to_the_worst() -> None:
    bars = [str(row["log scale"]) for row in layer_errors.rows(errors(0.001, 0.01, 0.1))]
    assert bars[0] == "█" and bars[2] == "█" * layer_errors.BAR_CELLS
    assert len(bars[1]) == 11  # halfway


def test_layers_that_hardly_differ_look_it() -> None:
    shown = [len(str(row["log scale"])) for row in layer_errors.rows(errors(3.76, 3.88))]
    assert shown == [layer_errors.BAR_CELLS] * 2


def test_equal_layers_no_loss_and_no_layers() -> None:
    assert [row["log scale"] for row in layer_errors.rows(errors(0.1, 0.1))] == [
        "█" * layer_errors.BAR_CELLS
    ] * 2
    assert [row["log scale"] for row in layer_errors.rows(errors(0.0))] == [""]
    assert layer_errors.rows([]) == []


def test_names_that_only_differ_in_front_are_shown_whole() -> None:
    twins = [ModuleError(layer=0, module=module, loss=1.0) for module in ("self_attn.out", "cross_attn.out")]
    assert "self_attn.out" in layer_errors.rows(twins)[0]


def test_a_bar_in_eighths() -> None:
    assert layer_errors.bar(0.5, 4) == "██"
    assert layer_errors.bar(1 / 32, 4) == "▏"
    assert layer_errors.bar(2.0, 4) == "████" and layer_errors.bar(0.0) == ""
