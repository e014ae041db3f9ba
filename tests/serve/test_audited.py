"""The audit of our own server finds nothing on any API, under concurrent load."""

from collections.abc import Iterator

import pytest
from serve.served import running, write_tiny

from isobatch import Classifier
from isobatch.audit import AuditReport, audit, open_subject
from isobatch.serve.app import create_app
from isobatch.serve.settings import Settings

TEXTS = (
    "Today is a nice day!",
    "Never again.",
    "A gripping film, with a cast that is better than its plot.",
)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = write_tiny(tmp_path_factory.mktemp("audited"))
    app = create_app(Classifier.from_pretrained(folder), Settings(cache_size=0))
    with running(app) as address:
        yield address


def audited(address: str) -> AuditReport:
    return audit(open_subject(address), TEXTS, quick=True)


@pytest.mark.parametrize("path", ["/predict", "/v1/classify", "/"])
def test_our_server_is_exact_on_every_api(url: str, path: str) -> None:
    report = audited(url + path)
    assert report.verdict == "exact", report.findings
    exact = {each.probe for each in report.with_status("exact")}
    assert {"requests-in-flight", "order", "company-length", "batch-size"} <= exact


def test_probes_that_a_server_does_not_support_are_not_passed(url: str) -> None:
    untested = {each.probe for each in audited(url).with_status("not tested")}
    assert {"mask-honoured", "pad-side", "head-pooling", "thread-count"} <= untested
