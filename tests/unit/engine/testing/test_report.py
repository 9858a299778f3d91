"""A test's figures, its words, and its gate."""

import json
from xml.etree import ElementTree

import pytest
from msgspec.structs import replace
from scipy import stats

from engine.jobs import sheet as sheets
from engine.protocol.failure import Failed
from engine.testing import gate, text
from engine.testing.gate import Limits
from tests.unit.engine.testing.samples import A, B, C, report


def test_figures_are_those_of_a_hand_count() -> None:
    first, other = report(A, B).rows
    assert first.accuracy and first.accuracy.right == 6 and first.accuracy.percent == 60
    assert first.against is None and first.complete
    assert other.accuracy and other.accuracy.right == 4
    assert other.against and (other.against.to_wrong, other.against.to_right) == (3, 1)
    assert other.p_value == pytest.approx(stats.binomtest(3, 4, 0.5).pvalue)
    assert other.difference == -20 and other.same_answers == 6 and other.other_input == 0


def test_models_are_compared_on_the_questions_that_both_answered() -> None:
    found = report(A, C)
    row = found.rows[1]
    assert row.against and row.against.count == 6 and row.against.both_right == 6
    assert not row.complete and "not finished: 6 of 10 questions" in " ".join(text.remarks(found))
    assert text.verdicts(found)[0].endswith("no answer flipped against random-tiny-bf16")


def test_every_format_has_the_flips() -> None:
    found = text.sheet(report(A, B))
    page, markdown = sheets.text(found, "html"), sheets.text(found, "md")
    for shown in (page, markdown):
        assert "Flips" in shown and "3 right answers of random-tiny-bf16 became wrong" in shown
        assert "✓ 4" in shown and "✗ 3" in shown
    assert "✗" not in sheets.text(found, "table")
    lines = [json.loads(line) for line in sheets.text(found, "jsonl").splitlines()]
    assert len(lines) == 10 and lines[3]["answers"]["random-tiny-bf16 #2"]["verdict"]["right"] is False
    document = json.loads(sheets.text(found, "json"))
    assert document["rows"][1]["against"]["to_wrong"] == 3
    assert "to_wrong" in sheets.text(found, "csv").splitlines()[0]


def test_a_flip_is_a_right_answer_lost_or_won() -> None:
    entries = report(A, B).entries
    assert [entry.flip(1) for entry in entries] == [""] * 3 + ["right → wrong"] * 3 + [""] * 3 + [
        "wrong → right"
    ]
    assert sum(entry.flips for entry in entries) == 4


def test_a_gate_opens_for_what_is_shown_alone() -> None:
    found = report(A, A)
    assert gate.shut_by(found, Limits()) == []
    assert gate.shut_by(found, Limits(min_accuracy=25, max_drop=40)) == []
    (line,) = gate.shut_by(found, Limits(min_accuracy=55))
    assert "undecided" in line
    (line,) = gate.shut_by(found, Limits(min_accuracy=90))
    assert "over the limit" in line
    (line,) = gate.shut_by(report(A, C), Limits(min_accuracy=1))
    assert "not finished" in line


def test_junit_has_a_case_a_model_and_limit() -> None:
    limits = Limits(min_accuracy=25, max_drop=1)
    suites = ElementTree.fromstring(gate.junit(report(A, B, A), limits).encode())
    assert suites.attrib == {"tests": "4", "failures": "3", "errors": "0"}
    failed = report(A, "", failed=Failed(kind="not_loaded", message="no \x1b such model"))
    suites = ElementTree.fromstring(gate.junit(failed, limits).encode())
    assert suites.attrib == {"tests": "1", "failures": "0", "errors": "1"}
    assert "no ␛ such model" in ElementTree.tostring(suites, encoding="unicode")
    refused = replace(failed, rows=(replace(failed.rows[1], profile="A"), failed.rows[0]))
    suites = ElementTree.fromstring(gate.junit(refused, limits).encode())
    assert [case.attrib["name"] for case in suites.iter("testcase") if case.find("error") is not None] == [
        "A"
    ]
