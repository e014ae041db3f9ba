"""A report as JUnit XML, which CI systems show next to their own tests.

Invariant: one test case for each probe, and one for a comparison; a probe that could not run is
skipped, never passed; a fault without any batch is an error, not a failure.
"""

from collections.abc import Iterator, Sequence
from xml.etree import ElementTree

from isobatch.audit.machine_comparison import MachineComparison
from isobatch.audit.report_data import AuditReport, Finding, ProbeResult, Severity
from isobatch.audit.report_view import evidence, headline, texts
from isobatch.drawing.display_text import printable


def junit_xml(report: AuditReport, fail_on: Severity = "bug") -> str:
    """Return the text of an XML file, to be written as UTF-8.

    fail_on: the least severe status that counts as a failure.
    """
    compared = report.comparison
    num_failed = sum(_fails(each, fail_on) for each in report.probes)
    num_failed += compared is not None and compared.status in ("bug", fail_on)
    counts = {
        "tests": str(len(report.probes) + bool(report.error) + bool(compared)),
        "failures": str(num_failed),
        "errors": str(len(report.with_status("configuration")) + bool(report.error)),
        "skipped": str(len(report.with_status("not tested"))),
        "time": f"{report.seconds:.3f}",
    }
    root = ElementTree.Element("testsuites", {"name": "isobatch audit", **counts})
    name = printable(f"isobatch audit {report.target}")
    suite = ElementTree.SubElement(root, "testsuite", {"name": name, **counts})
    properties = ElementTree.SubElement(suite, "properties")
    for fact, value in {"verdict": headline(report), **report.facts, **report.versions}.items():
        given = {"name": printable(fact), "value": printable(value)}
        ElementTree.SubElement(properties, "property", given)
    for result in report.probes:
        found = [each for each in report.findings if result.probe in each.probes]
        suite.append(_case(result, found, fail_on))
    if compared:
        suite.append(_comparison_case(compared, fail_on))
    if report.error:
        case = ElementTree.SubElement(
            suite, "testcase", {"classname": "isobatch.audit", "name": "audit", "time": "0.000"}
        )
        given = {"message": printable(report.error), "type": "error"}
        ElementTree.SubElement(case, "error", given).text = printable(report.error)
    ElementTree.indent(root)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ElementTree.tostring(root, "unicode")}\n'


def _comparison_case(compared: MachineComparison, fail_on: Severity) -> ElementTree.Element:
    given = {"classname": "isobatch.audit", "name": "compared-with-saved-answers", "time": "0.000"}
    case = ElementTree.Element("testcase", given)
    lines = [compared.summary, compared.explanation, *(each.text for each in compared.texts)]
    content = printable("\n".join(filter(None, lines)))
    if compared.status in ("bug", fail_on):
        message = {"message": printable(compared.summary), "type": compared.status}
        ElementTree.SubElement(case, "failure", message).text = content
    else:
        ElementTree.SubElement(case, "system-out").text = f"{compared.status}: {content}"
    return case


def _fails(result: ProbeResult, fail_on: Severity) -> bool:
    return result.status in ("bug", fail_on)


def _case(result: ProbeResult, found: Sequence[Finding], fail_on: Severity) -> ElementTree.Element:
    name, seconds = printable(result.probe), f"{result.seconds:.3f}"
    given = {"classname": "isobatch.audit", "name": name, "time": seconds}
    case = ElementTree.Element("testcase", given)
    summary = printable(result.summary)
    if _fails(result, fail_on) or result.status == "configuration":
        kinds = ", ".join(each.name for each in found) or result.status
        given = {"message": summary, "type": printable(kinds)}
        tag = "failure" if _fails(result, fail_on) else "error"
        failure = ElementTree.SubElement(case, tag, given)
        failure.text = printable("\n\n".join(_paragraphs(result, found)))
    elif result.status == "not tested":
        ElementTree.SubElement(case, "skipped", {"message": summary})
    else:
        ElementTree.SubElement(case, "system-out").text = f"{result.status}: {summary}"
    return case


def _paragraphs(result: ProbeResult, found: Sequence[Finding]) -> Iterator[str]:
    yield f"changes: {result.changes}\nproves: {result.proves}"
    if result.movement:
        yield "\n".join(f"{name}: {value}" for name, value in evidence(result.movement))
    for finding in found:
        yield f"{finding.title}\ncause: {finding.cause}\nfix: {finding.fix}"
        if shown := texts(finding.reproduction):
            yield "\n".join(f"{role}: {text}" for role, text in shown)
