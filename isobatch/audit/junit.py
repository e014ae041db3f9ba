"""A report as JUnit XML, which systems that build software show beside their own tests.

It knows no files. Invariant: one test case for each probe, and none passes that was not tested.
"""

from collections.abc import Iterator, Sequence
from typing import Literal
from xml.etree import ElementTree

from isobatch.audit.result import AuditReport, Finding, ProbeResult
from isobatch.audit.wording import evidence, headline, story
from isobatch.drawing.display_text import printable

FailOn = Literal["bug", "drift"]
"""The least fault that counts as a failure."""


def junit_xml(report: AuditReport, fail_on: FailOn = "bug") -> str:
    """The report as the text of an XML file, to be written as UTF-8."""
    failed = [each for each in report.probes if fails(each, fail_on)]
    counts = {
        "tests": str(len(report.probes)),
        "failures": str(len(failed)),
        "errors": "0",
        "skipped": str(len(report.with_status("not tested"))),
        "time": f"{report.seconds:.3f}",
    }
    root = ElementTree.Element("testsuites", {"name": "isobatch audit", **counts})
    suite = ElementTree.SubElement(root, "testsuite", {"name": _name(report), **counts})
    properties = ElementTree.SubElement(suite, "properties")
    facts = {"verdict": headline(report), **report.facts, **report.versions}
    for name, value in facts.items():
        given = {"name": printable(name), "value": printable(value)}
        ElementTree.SubElement(properties, "property", given)
    for result in report.probes:
        suite.append(_case(result, report, fail_on))
    ElementTree.indent(root)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ElementTree.tostring(root, "unicode")}\n'


def fails(result: ProbeResult, fail_on: FailOn) -> bool:
    """Whether the outcome of the probe counts as a failure."""
    return result.status == "bug" or result.status == fail_on


def _case(result: ProbeResult, report: AuditReport, fail_on: FailOn) -> ElementTree.Element:
    given = {
        "classname": "isobatch.audit",
        "name": printable(result.probe),
        "time": f"{result.seconds:.3f}",
    }
    case = ElementTree.Element("testcase", given)
    summary = printable(result.summary)
    if fails(result, fail_on):
        found = [each for each in report.findings if result.probe in each.probes]
        kinds = ", ".join(each.name for each in found) or result.status
        failure = ElementTree.SubElement(
            case, "failure", {"message": summary, "type": printable(kinds)}
        )
        failure.text = printable("\n\n".join(_account(result, found)))
    elif result.status == "not tested":
        ElementTree.SubElement(case, "skipped", {"message": summary})
    else:
        ElementTree.SubElement(case, "system-out").text = f"{result.status}: {summary}"
    return case


def _account(result: ProbeResult, findings: Sequence[Finding]) -> Iterator[str]:
    """Everything that helps whoever reads the failure, in paragraphs."""
    yield f"changes: {result.changes}\nproves: {result.proves}"
    if result.movement:
        yield "\n".join(f"{name}: {value}" for name, value in evidence(result.movement))
    for finding in findings:
        yield f"{finding.title}\ncause: {finding.cause}\ncure: {finding.cure}"
        if finding.reproduction:
            yield "\n".join(f"{what}: {text}" for what, text in story(finding.reproduction))


def _name(report: AuditReport) -> str:
    return printable(f"isobatch audit {report.target}")
