"""An evaluation's report in every format."""

import csv
import io
import json
import math

import msgspec

from engine.evaluation import noise, text
from engine.evaluation.report import Layer, Report, Row
from engine.evaluation.settings import Convention
from engine.jobs import sheet as sheets
from engine.protocol.model import Energy
from engine.stats.depth import Depth
from engine.stats.fidelity import Kld

REPORT = Report(
    convention=None,
    reference=Row(profile="a", label="bf16", tokens=4, perplexity=12.5, perplexity_stderr=0.25),
    candidates=(
        Row(profile="far", kld=Kld(mean=0.25, stderr=0.0125, p50=0.1, p95=1, p99=2, p999=3, max=4)),
        Row(profile="broken"),
        Row(
            profile="near|er",
            kld=Kld(mean=0.03125, stderr=0.001, p50=0.01, p95=1, p99=2, p999=3, max=4),
            same_top=97.5,
            same_top_stderr=0.5,
        ),
    ),
)


def test_the_table_ranks_by_divergence() -> None:
    lines = sheets.text(text.sheet(REPORT), "md").splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert [row.split(" | ")[0] for row in rows[2:]] == [
        "| a (reference)",
        "| near\\|er",
        "| far",
        "| broken",
    ]
    assert "0.0312 ± 0.0010" in rows[3] and "97.50 ± 0.50 %" in rows[3] and "12.50 ± 0.25" in rows[2]


def test_the_convention_says_a_thing_once_and_the_star_what_it_means() -> None:
    cut = Convention(
        text="t", window=8, stride=8, scored="half", begins="nothing", windows=2, tokens=16, scored_tokens=8
    )
    near = Row(profile="b", tokens=4, weights_bytes=1, kld=REPORT.candidates[0].kld)
    convention, star = text.facts(msgspec.structs.replace(REPORT, convention=cut, candidates=(near,)))
    assert convention.count("half") == 1 and convention.endswith("no BOS, nearly llama.cpp's convention")
    assert star.startswith("★ ")


def test_csv_has_bare_numbers_in_the_order_that_was_asked_for() -> None:
    rows = list(csv.DictReader(io.StringIO(sheets.text(text.sheet(REPORT), "csv"))))
    assert [row["profile"] for row in rows] == ["a", "far", "broken", "near|er"]
    assert float(rows[3]["kld_mean"]) == 0.03125 and rows[0]["kld_mean"] == ""


def test_a_broken_model_is_null_in_json() -> None:
    broken = msgspec.structs.replace(REPORT, reference=Row(profile="a", perplexity=math.inf))
    assert json.loads(sheets.text(text.sheet(broken), "json"))["reference"]["perplexity"] is None


def test_figures_by_depth_are_a_table_and_a_plot_of_their_own() -> None:
    kld = Kld(mean=0.25, stderr=0.0125, p50=0.1, p95=1, p99=2, p999=3, max=4)
    depths = (
        Depth(first=0, last=127, tokens=90, kld=kld, same_top=97.5, same_top_stderr=0.5),
        Depth(first=128, last=511, tokens=9, kld=msgspec.structs.replace(kld, mean=0.5)),
    )
    found = text.sheet(
        msgspec.structs.replace(REPORT, candidates=(Row(profile="b", tokens=9, depths=depths),))
    )
    rows = found.more["by depth: b"]
    assert [row["tokens before"] for row in rows] == ["0–127", "128–511"]
    assert [str(row[""]) for row in rows] == ["█" * 12, "█" * 24] and rows[1]["same top"] == "–"
    assert [(point.x, point.y) for point in found.plots[-1].points] == [(63.5, 0.25), (319.5, 0.5)]
    assert json.loads(sheets.text(found, "json"))["candidates"][0]["depths"][1]["first"] == 128


def test_a_bound_is_one_in_every_table_and_plot() -> None:
    kld = Kld(mean=0.25, stderr=0.0125, p50=0.1, p95=1, p99=2, p999=3, max=4)
    depths = (Depth(first=0, last=127, tokens=90, kld=kld),)
    layers = (Layer(index=0, kld=kld, same_top=90.0, same_top_stderr=1.0),)
    row = Row(
        profile="b", tokens=9, kld=kld, kld_is_bound=True, depths=depths, layers=layers, weights_bytes=1
    )
    found = text.sheet(msgspec.structs.replace(REPORT, candidates=(row,)))
    tables = [found.rows, *found.more.values()]
    assert len(tables) == 3 and all(str(rows[-1]["KLD"]).startswith("≥ 0.25") for rows in tables)
    of_one = [plot for plot in found.plots if "layer" in plot.title or "depth" in plot.title]
    assert len(of_one) == 2 and all(plot.title.endswith("≥ b") for plot in of_one)
    noise_row = msgspec.structs.replace(row, same_top=90.0)
    assert "KLD ≥ 0.25" in noise.line(noise_row)


def test_joules_stand_next_to_the_speed_and_are_doubted_with_it() -> None:
    timed = Row(
        profile="a",
        tokens=4,
        device="cuda:0",
        decode_tok_s=40.0,
        decode_samples_tok_s=(40.0, 40.0),
        joules_per_token=1.234,
        mean_watts=50.0,
        energy=Energy(counter="NVML", idle_watts=70.0, idle_is_shared=True),
    )
    alone = Energy(counter="NVML", idle_watts=71.0)
    others = (
        msgspec.structs.replace(timed, profile="b", decode_marks=("busy CPU",), energy=alone),
        msgspec.structs.replace(timed, profile="c", joules_per_token=None, mean_watts=None),
    )
    found = text.sheet(msgspec.structs.replace(REPORT, reference=timed, candidates=others))
    assert [row["J/token"] for row in found.rows] == ["1.23", "1.23 ?", "–"]
    assert [row["mean W"] for row in found.rows] == ["50", "50 ?", "–"]
    assert [row["mean_watts"] for row in found.numbers] == [50.0, 50.0, None]
    assert found.below[-2:] == [
        "idle draw of cuda:0, before loading: 71 W",
        "c: J/token –: the counter gave no figure",
    ]
    assert not any("J/token" in row for row in text.sheet(REPORT).rows)
