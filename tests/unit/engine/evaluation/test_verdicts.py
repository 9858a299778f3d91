"""Verdicts on a report's candidates: the sentence, Pareto marks, the gate, and a baseline."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from msgspec.structs import replace

from engine.config import profiles
from engine.errors import FileError, InputError
from engine.evaluation import baseline, gate, text
from engine.evaluation.report import Report, Row
from engine.evaluation.settings import Convention, Settings
from engine.evaluation.verdicts import judged
from engine.jobs import sheet as sheets
from engine.protocol.failure import Failure
from engine.stats.fidelity import Kld
from engine.stats.verdict import Limits

CONVENTION = Convention(
    text="python-docs (every eighth topic, which no calibration reads)",
    window=64,
    stride=64,
    scored="half",
    begins="nothing",
    windows=125,
    tokens=8000,
    scored_tokens=4000,
)
KLD = Kld(mean=0.1, stderr=0.01, p50=0.1, p95=0.1, p99=0.1, p999=0.1, max=0.1)


def row(name: str, kld: float, stderr: float, decode: float, size: int, *, same_top: float = 97.1) -> Row:
    return Row(
        profile=name,
        tokens=4000,
        kld=Kld(mean=kld, stderr=stderr, p50=kld, p95=kld, p99=kld, p999=kld, max=kld),
        same_top=same_top,
        same_top_stderr=0.3,
        perplexity=16.0,
        perplexity_ratio=1.003,
        perplexity_ratio_stderr=0.0011,
        decode_tok_s=decode,
        decode_samples_tok_s=(decode - 1, decode + 1),
        weights_bytes=size,
        complete=True,
    )


REPORT = Report(
    convention=CONVENTION,
    reference=Row(
        complete=True,
        profile="full",
        tokens=4000,
        perplexity=16.0,
        decode_tok_s=50.0,
        decode_samples_tok_s=(49.0, 51.0),
        weights_bytes=1000,
    ),
    candidates=(
        row("good", 0.017, 0.001, 120, 400),
        row("poor", 0.43, 0.009, 130, 430, same_top=69),
        row("idle", 0.43, 0.009, 100, 430),
        row("close", 0.045, 0.005, 60, 390),
    ),
)


def test_of_several_the_fastest_that_is_good_enough_is_named_once_all_are_measured() -> None:
    assert list(text.pick_lines(REPORT)) == [
        "pick: good, the only one that is good enough of 4 that were tried"
    ]
    fast, slow = REPORT.candidates[0], row("slow", 0.01, 0.001, 60, 500)
    both = replace(REPORT, candidates=(slow, fast))
    assert list(text.pick_lines(both)) == ["pick: good, the fastest that is good enough of 2 that were tried"]
    both = replace(REPORT, candidates=(slow, replace(fast, decode_marks=("busy CPU: others 80%",))))
    assert list(text.pick_lines(both)) == [
        "pick: slow, the nearest that is good enough, for not all speeds can be told "
        "(good: busy CPU: others 80%), of 2 that were tried"
    ]
    *others, last = REPORT.candidates
    assert not list(text.pick_lines(replace(REPORT, candidates=(*others, replace(last, complete=False)))))
    assert not list(text.pick_lines(replace(REPORT, candidates=(others[1], last))))  # none is good enough
    assert not list(text.pick_lines(replace(REPORT, candidates=(others[0],))))  # nothing to choose from


def test_a_verdict_is_a_sentence_with_its_reasons() -> None:
    found = {each.profile: each for each in judged(REPORT)}
    assert found["good"].text == (
        "near lossless: KLD 0.0170 ± 0.0010, same top 97.10 ± 0.30 %, perplexity × 1.0030 ± 0.0011; "
        "2.400 ± 0.052 × the decode speed, 40 % of the memory for weights"
    )
    assert found["poor"].text.startswith(
        "not good enough: KLD 0.4300 ± 0.0090 (at most 0.05), same top 69.00"
    )
    assert "(at least 90 %)" in found["poor"].text
    undecided = found["close"]
    assert undecided.decision == "undecided" and undecided.more_tokens == 2 * 11366
    assert undecided.text.endswith("; about 22732 more tokens of text would decide")


def test_what_nothing_beats_is_marked() -> None:
    assert {each.profile for each in judged(REPORT) if each.pareto} == {"good", "poor", "close"}
    cells = {line["profile"]: line["verdict"] for line in text.readable(REPORT)}
    assert cells == {
        "full (reference)": "–",
        "good": "near lossless ★",
        "close": "undecided ★",
        "poor": "not good enough ★",
        "idle": "not good enough",
    }
    shown = sheets.text(text.sheet(REPORT), "table")
    assert shown.splitlines()[-2].startswith("close: undecided") and "★ no other model" in shown


@pytest.mark.parametrize(
    ("spoiled", "why"),
    [
        ({"decode_marks": ("busy CPU: others 80%", "on 1 of 2 threads")}, "busy CPU: others 80%"),
        ({"decode_samples_tok_s": (70.0, 190.0)}, "2 short answers differ by ± 65%"),
        ({"decode_samples_tok_s": ()}, "it was timed once"),
    ],
)
def test_a_speed_that_cannot_be_told_makes_no_claim(spoiled: dict[str, Any], why: str) -> None:
    good, poor, *others = REPORT.candidates
    found = replace(REPORT, candidates=(good, replace(poor, **spoiled), *others))
    assert f"; no word on the decode speed (poor: {why}), 43 %" in judged(found)[1].text
    assert "2.400 ± 0.052 ×" in judged(found)[0].text and not judged(found)[1].pareto
    shown = sheets.text(text.sheet(found), "table")
    assert f"poor: the decode speed says nothing: {why}" in shown and "speeds left out" in shown


def test_a_model_that_was_not_compared_has_no_verdict() -> None:
    alone = replace(REPORT, candidates=(Row(profile="other", tokens=900, perplexity=9.0, complete=True),))
    assert judged(alone)[0].text == "no verdict: not compared with the reference"
    assert gate.shut_by(alone) == ["other: no verdict: not compared with the reference"]


def test_limits_that_are_given_count_alone() -> None:
    loose = replace(REPORT, limits=Limits(max_kld=0.5))
    assert [each.decision for each in judged(loose)] == ["good enough"] * 4
    assert judged(loose)[1].headline == "within the limits, damaged" and gate.shut_by(loose) == []


def test_every_format_has_the_verdict() -> None:
    found = text.sheet(REPORT)
    document = json.loads(sheets.text(found, "json"))
    assert document["verdicts"][3]["verdict"]["checks"][0]["outcome"] == "undecided"
    assert document["verdicts"][0]["pareto"] is True and document["limits"]["max_kld"] == 0.05
    assert sheets.text(found, "csv").splitlines()[2].startswith("good,,,good enough,near lossless,True,")
    assert json.loads(sheets.text(found, "jsonl").splitlines()[1])["verdict"]["profile"] == "good"
    assert "- good: near lossless: KLD" in sheets.text(found, "md")


def test_a_gate_stays_shut_for_what_is_not_shown_to_be_good_enough() -> None:
    lines = gate.shut_by(REPORT)
    assert [line.partition(":")[0] for line in lines] == ["poor", "idle", "close"]


def test_junit_has_a_case_a_candidate() -> None:
    failed = Row(profile="a\x1b<&", error=Failure(kind="out_of_memory", message="too \x00 large"))
    report = replace(REPORT, candidates=(*REPORT.candidates[:2], failed))
    suites = ElementTree.fromstring(gate.junit(report).encode())
    assert suites.attrib == {"tests": "3", "failures": "1", "errors": "1"}
    good, poor, broken = suites.iter("testcase")
    assert good.attrib == {"classname": "quantduel.limits", "name": "good"} and good.find("failure") is None
    failure = poor.find("failure")
    assert failure is not None and failure.attrib["type"] == "not good enough"
    assert "KLD 0.43" in failure.attrib["message"]
    error = broken.find("error")
    assert error is not None and error.attrib["type"] == "out_of_memory" and "<&" in broken.attrib["name"]
    properties = {each.attrib["name"]: each.attrib["value"] for each in suites.iter("property")}
    assert properties["max_kld"] == "0.05" and properties["reference"] == "full"
    refused = gate.junit(
        replace(REPORT, candidates=()), Failure("bad_input", "the text is too short", "name one")
    )
    assert 'name="full"><error type="bad_input" message="the text is too short (name one)"' in "".join(
        line.strip() for line in refused.splitlines()
    )


def test_a_run_against_a_kept_one(tmp_path: Path) -> None:
    file = tmp_path / "kept.json"
    file.write_text(sheets.text(text.sheet(REPORT), "json"))
    known = baseline.read(file)
    assert known.perplexity == REPORT.reference.perplexity is not None
    now = replace(
        REPORT,
        candidates=(
            row("good", 0.025, 0.001, 120, 400),
            row("idle", 0.43, 0.01, 1, 1),
            row("new", 0, 0, 1, 1),
        ),
    )
    found = list(baseline.changes(known, now))
    assert [(change.profile, change.trend) for change in found] == [("good", "worse"), ("idle", "same")]
    shut = gate.shut_by(replace(now, changes=tuple(found), limits=Limits(max_kld=1)))
    assert shut == ["good: KLD 0.025 against 0.017 in the baseline: worse (0.0080 ± 0.0014)"]
    assert "no difference beyond the error bars" in sheets.text(
        text.sheet(replace(now, changes=tuple(found))), "table"
    )
    other = replace(now, convention=replace(CONVENTION, tokens=9000))
    assert list(baseline.changes(known, other)) == []


def test_a_candidate_that_did_not_finish_there_is_in_no_baseline(tmp_path: Path) -> None:
    good, poor, *_ = REPORT.candidates
    cut = replace(REPORT, candidates=(good, replace(poor, complete=False)))
    (file := tmp_path / "kept.json").write_text(sheets.text(text.sheet(cut), "json"))
    assert list(baseline.read(file).klds) == ["good"]


@pytest.mark.parametrize("content", ["", "[]", '{"convention": null}', "{", "[" * 100_000])
def test_a_baseline_that_is_none_is_refused(tmp_path: Path, content: str) -> None:
    (file := tmp_path / "kept.json").write_text(content)
    with pytest.raises(FileError, match=r"kept\.json"):
        baseline.read(file)


def test_a_baseline_of_another_convention_is_refused_before_anything_is_loaded() -> None:
    tiny = profiles.find("random-tiny-bf16")
    settings = Settings(profiles=(replace(tiny, name="full"), tiny), window=64, tokens=8000)
    known = baseline.Baseline(CONVENTION, "full", {tiny.name: KLD})
    baseline.require_comparable(known, settings)
    for changed in ({"window": 128}, {"scored": "all"}, {"tokens": 4000}, {"text": "wikitext2"}):
        with pytest.raises(InputError, match="--baseline"):
            baseline.require_comparable(known, replace(settings, **changed))
    with pytest.raises(InputError, match="the reference was other there"):
        baseline.require_comparable(replace(known, reference="other"), settings)
    with pytest.raises(InputError, match="no candidate of this run is in it; it has renamed"):
        baseline.require_comparable(replace(known, klds={"renamed": KLD}), settings)
    assert baseline.gaps(replace(known, klds={}), settings) == [
        f"{tiny.name}: not in the baseline, so compared with its limits alone"
    ]


def test_a_longer_text_than_the_baselines_is_refused_once_it_is_tokenized() -> None:
    known = baseline.Baseline(CONVENTION, "full", {})
    assert baseline.refusal(known, CONVENTION) is None
    refused = baseline.refusal(known, replace(CONVENTION, tokens=9000))
    assert refused and refused.message == "--baseline: 8000 tokens there, 9000 tokens here"
    assert refused.hint == "--tokens 8000"
    refused = baseline.refusal(known, replace(CONVENTION, begins="each window"))
    assert refused and "no BOS" in refused.message and "BOS before each window" in refused.message


def test_another_text_of_the_same_name_and_length_is_no_baseline() -> None:
    here, there = (replace(CONVENTION, tokens_sha256=each) for each in "ab")
    known = baseline.Baseline(there, "full", {"good": KLD})
    refused = baseline.refusal(known, here)
    assert refused and "is another text here" in refused.message
    assert not list(baseline.changes(known, replace(REPORT, convention=here)))
    for untold in (replace(known, convention=CONVENTION), replace(known, convention=here)):
        assert baseline.refusal(untold, here) is None
        assert list(baseline.changes(untold, replace(REPORT, convention=here)))
