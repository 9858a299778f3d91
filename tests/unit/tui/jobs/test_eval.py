"""The eval's settings as they are typed, and its charts."""

import pytest

from engine.errors import InputError
from engine.evaluation.report import Report, Row
from engine.stats.depth import Depth
from engine.stats.fidelity import Kld
from tui.jobs.eval import EvalJob, charts

KLD = Kld(mean=0.25, stderr=0.0125, p50=0.1, p95=1, p99=2, p999=3, max=4)


@pytest.mark.parametrize(("typed", "scored"), [("no", "half"), (" Yes", "all")])
def test_by_depth_all_tokens_are_scored(typed: str, scored: str) -> None:
    job = EvalJob(["a", "b"])
    values = {field.key: field.value for field in job.fields}
    values |= {"profiles": "random-tiny-bf16 random-tiny-nf4", "depth": typed}
    job.prepare(values)
    settings = job.work.settings  # type: ignore[union-attr]
    assert (settings.by_depth, settings.scored) == (scored == "all", scored)
    with pytest.raises(InputError, match="by depth: expected yes or no, not 'perhaps'"):
        job.prepare(values | {"depth": "perhaps"})


def test_depth_takes_the_place_of_speed_where_there_are_figures_by_it() -> None:
    plain = Row(profile="b", tokens=9, kld=KLD, weights_bytes=1 << 20, decode_tok_s=3.0)
    depths = (Depth(first=0, last=127, tokens=9, kld=KLD), Depth(first=128, last=511, tokens=9, kld=KLD))
    deep = Row(profile="b", tokens=9, kld=KLD, weights_bytes=1 << 20, depths=depths)
    found = [
        charts(Report(convention=None, reference=Row(profile="a"), candidates=(row,)), {"b": "$primary"})[1]
        for row in (plain, deep)
    ]
    assert [chart.title for chart in found] == [
        "KLD, nats, against decode, tok/s",
        "KLD, nats, by tokens before",
    ]
    assert found[1].points == [(128.0, 0.25), (512.0, 0.25)] and found[1].x.ticks == (128.0, 512.0)
