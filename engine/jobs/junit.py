"""A gate's outcome as JUnit XML, for checks that nobody watches. Pure; knows nothing of what was checked."""

from collections.abc import Mapping, Sequence
from typing import Literal
from xml.etree import ElementTree as Xml

from msgspec import Struct

from engine.protocol.failure import Failure
from engine.sanitize import visible


class Case(Struct, frozen=True, kw_only=True):
    """One test case."""

    name: str
    """Whose it is: a profile."""
    kind: str
    """What was checked, such as `limits`."""
    outcome: Literal["passed", "failure", "error"]
    type: str = ""
    """Of a failure or an error, in a word or two."""
    text: str = ""


def failed(name: str, kind: str, failure: Failure) -> Case:
    """The case of what could not be checked: why, and what to do about it."""
    text = f"{failure.message} ({failure.hint})" if failure.hint else failure.message
    return Case(name=name, kind=kind, outcome="error", type=failure.kind, text=text)


def xml(suite: str, facts: Mapping[str, str], cases: Sequence[Case]) -> str:
    """The document: `facts` are properties of the whole suite."""
    outcomes = [case.outcome for case in cases]
    counts = {
        "tests": str(len(cases)),
        "failures": str(outcomes.count("failure")),
        "errors": str(outcomes.count("error")),
    }
    root = Xml.Element("testsuites", counts)
    within = Xml.SubElement(root, "testsuite", {"name": suite, **counts})
    properties = Xml.SubElement(within, "properties")
    for name, value in facts.items():
        Xml.SubElement(properties, "property", {"name": name, "value": visible(value, keep_newlines=False)})
    within.extend(map(_element, cases))
    Xml.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + Xml.tostring(root, encoding="unicode")


def _element(case: Case) -> Xml.Element:
    found = Xml.Element("testcase", {"classname": f"quantduel.{case.kind}", "name": visible(case.name)})
    if case.outcome != "passed":
        Xml.SubElement(found, case.outcome, {"type": case.type, "message": visible(case.text)})
    elif case.text:
        Xml.SubElement(found, "system-out").text = visible(case.text)
    return found
