"""Points as lines of text: in their order, on one logarithmic axis, and in a fence that they cannot end."""

from engine.jobs import sheet
from engine.jobs.plot import Plot, Point
from engine.jobs.plot_text import DOT, lines
from engine.jobs.sheet import Sheet

PLOT = Plot(
    title="KLD, nats",
    x_name="weights, MiB",
    points=(Point("nf4", 107.9, 0.1, 0.02), Point("int8 ```\n", 142.0, 0.001)),
)


def test_the_nearest_is_first_and_each_stands_where_it_is() -> None:
    title, best, worst, axis = lines(PLOT)
    assert "KLD, nats" in title and "weights, MiB" in title
    assert best.split()[0] == "int8" and worst.split()[:2] == ["nf4", "107.9"]
    assert best.index(DOT) < worst.index(DOT) and best.index(DOT) == axis.index("0.001")
    assert worst.endswith("0.1 ± 0.02") and "─" in worst


def test_markdown_has_them_in_a_fence() -> None:
    text = sheet.text(Sheet(rows=[{"a": 1}], plots=[PLOT]), "md")
    assert text.count("```text\nKLD") == 1 and text.endswith("\n```")
    assert [line for line in text.splitlines() if line.startswith("```")] == ["```text", "```"]


def test_without_points_it_says_so() -> None:
    assert lines(Plot(title="KLD", x_name="x", points=()))[1] == "nothing was measured"
