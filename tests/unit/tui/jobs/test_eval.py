"""The eval's settings as they are typed, and its charts."""

import pytest
from msgspec.structs import replace

from engine.errors import InputError
from engine.evaluation.report import Layer, Report, Row
from engine.stats.depth import Depth
from engine.stats.fidelity import Kld
from tui.jobs.eval import EvalJob, charts

KLD = Kld(mean=0.25, stderr=0.0125, p50=0.1, p95=1, p99=2, p999=3, max=4)


@pytest.mark.parametrize(
    ("typed", "by", "scored"),
    [("no", (False, False), "half"), (" Layer", (False, True), "half"), ("both", (True, True), "all")],
)
def test_by_depth_all_tokens_are_scored(typed: str, by: tuple[bool, bool], scored: str) -> None:
    job = EvalJob(["a", "b"])
    values = {field.key: field.value for field in job.fields}
    values |= {"profiles": "random-tiny-bf16 random-tiny-nf4", "by": typed}
    job.prepare(values)
    settings = job.work.settings  # type: ignore[union-attr]
    assert (settings.by_depth, settings.by_layer) == by and settings.scored == scored
    with pytest.raises(InputError, match="also by: expected no, depth, layer, both, not 'perhaps'"):
        job.prepare(values | {"by": "perhaps"})


def test_depth_and_layers_take_the_place_of_others_where_there_are_figures_by_them() -> None:
    plain = Row(profile="b", tokens=9, kld=KLD, weights_bytes=1 << 20, decode_tok_s=3.0)
    depths = (Depth(first=0, last=127, tokens=9, kld=KLD), Depth(first=128, last=511, tokens=9, kld=KLD))
    layers = tuple(
        Layer(index=place, kld=replace(KLD, mean=mean), same_top=90, same_top_stderr=1)
        for place, mean in enumerate((0.5, 0.0, 0.25))
    )
    rows = (plain, replace(plain, depths=depths), replace(plain, layers=layers, depths=depths))
    found = [
        charts(Report(convention=None, reference=Row(profile="a"), candidates=(row,)), {"b": "$primary"})
        for row in rows
    ]
    sizes, speeds = "KLD, nats, against weights, MiB", "KLD, nats, against decode, tok/s"
    depth, layer = "KLD, nats, by tokens before", "KLD, nats, of one layer"
    assert [[chart.title for chart in each] for each in found] == [
        [sizes, speeds],
        [sizes, depth],
        [depth, layer],
    ]
    by_depth, by_layer = found[-1]
    assert by_depth.points == [(128.0, 0.25), (512.0, 0.25)] and by_depth.x.ticks == (128.0, 512.0)
    assert by_layer.points == [(0.0, 0.5), (2.0, 0.25)]
