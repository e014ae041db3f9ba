"""JUnit XML of an audit: one test case a probe, and nothing that XML cannot hold."""

from xml.etree import ElementTree

import pytest
from sample_reports import buggy, drifting, exact, hostile

from isobatch.audit.report_data import AuditReport, Severity
from isobatch.audit.report_junit import junit_xml


def suite_of(report: AuditReport, fail_on: Severity = "bug") -> ElementTree.Element:
    """The one suite, after its counts were compared with its cases."""
    root = ElementTree.fromstring(junit_xml(report, fail_on).encode("utf-8"))
    (suite,) = root
    assert (root.tag, suite.tag) == ("testsuites", "testsuite")
    cases = suite.findall("testcase")
    assert suite.get("tests") == str(len(cases)) == str(len(report.probes))
    for count, tag in (("failures", "failure"), ("skipped", "skipped"), ("errors", "error")):
        number = str(len(suite.findall(f"testcase/{tag}")))
        assert suite.get(count) == root.get(count) == number
    return suite


def failed(suite: ElementTree.Element) -> list[str | None]:
    return [
        case.get("name") for case in suite.findall("testcase") if case.find("failure") is not None
    ]


def test_bugs_fail_and_what_was_not_tested_is_skipped() -> None:
    suite = suite_of(buggy())
    assert failed(suite) == ["neighbours", "pad-content", "empty-row"]
    case = suite.findall("testcase")[0]
    assert (case.get("classname"), case.get("time")) == ("isobatch.audit", "0.500")
    failure = case.find("failure")
    assert failure is not None
    assert failure.get("type") == "mask-dropped"
    assert failure.get("message") == "52 of 64 results moved, 3 labels flipped"
    for words in ("fix: Pass everything", "text: Today is a nice day!", "labels that flipped: 3"):
        assert words in str(failure.text)
    skipped = suite.find("testcase[@name='in-flight']/skipped")
    assert skipped is not None
    assert skipped.get("message") == "the system is no server"
    note = suite.find("testcase[@name='length-limit']/system-out")
    assert note is not None
    assert str(note.text).startswith("note: the tokenizer")


@pytest.mark.parametrize(("fail_on", "names"), [("bug", []), ("drift", ["batch-size"])])
def test_drift_fails_if_requested(fail_on: Severity, names: list[str]) -> None:
    assert failed(suite_of(drifting(), fail_on)) == names


def test_an_exact_system_fails_nowhere() -> None:
    assert failed(suite_of(exact(), "drift")) == []


def test_what_xml_cannot_hold_is_replaced() -> None:
    xml = junit_xml(hostile())
    assert xml.startswith('<?xml version="1.0" encoding="utf-8"?>\n')
    suite = suite_of(hostile())
    assert "<script>alert(1)</script>���" in str(suite.get("name"))
    assert junit_xml(hostile()) == xml
