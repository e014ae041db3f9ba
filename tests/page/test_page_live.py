"""The live page in a real browser against a minimal server: edits, responses, errors.

The server calls only `LessonPage.answer`. The random batches, which take ten times as long as the
rest, are computed once for all sentences. Any browser message fails the test.
"""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import devtools
import pytest

from isobatch.errors import InputError
from isobatch.lesson import MaskCost
from isobatch.page import LessonData, LessonPage, content_security_policy, render_page

pytestmark = pytest.mark.skipif(devtools.CHROMIUM is None, reason="chromium is not installed")


class _Endpoint(BaseHTTPRequestHandler):
    """A minimal server: the page at /, lessons at /lesson."""

    lesson: LessonPage
    random_batches: object
    cost: object
    html = render_page(endpoint="/lesson")

    def do_GET(self) -> None:
        if self.path != "/":
            self._send(404, "text/plain", b"")
            return
        policy = {"Content-Security-Policy": content_security_policy(self.html)}
        self._send(200, "text/html; charset=utf-8", self.html.encode(), policy)

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if "cost" in request and self.cost is None:
            self._send(503, "application/json", b'{"error": "shutting down"}')
            return
        if "cost" in request:
            self._send(200, "application/json", json.dumps({"cost": self.cost}).encode())
            return
        try:
            status, answer = 200, self.lesson.answer(request | {"random_batches": False})
            answer["random_batches"] = self.random_batches if request["random_batches"] else None
        except InputError as error:
            status, answer = 422, {"error": str(error), "error_type": "validation"}
        if request["sentences"][0] == "broken":
            status, answer = 503, {"error": "shutting down", "error_type": "unhealthy"}
        self._send(status, "application/json", json.dumps(answer).encode())

    def _send(
        self, status: int, kind: str, body: bytes, headers: dict[str, str] | None = None
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def served(bundled: LessonPage, bundled_data: LessonData, bundled_cost: MaskCost) -> Iterator[str]:
    """The address of a live page."""
    computed = {"lesson": bundled, "random_batches": asdict(bundled_data)["random_batches"]}
    computed["cost"] = bundled_cost.as_dict()
    with _running(computed) as address:
        yield address


@contextmanager
def _running(computed: Mapping[str, object]) -> Iterator[str]:
    kind = type("Endpoint", (_Endpoint,), dict(computed))
    with ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


DONE = "document.getElementById('random-batches').getAttribute('aria-busy') === 'false'"


def retype(page: devtools.Page, index: int, text: str) -> None:
    """Replace a sentence as typing would, and wait until everything is drawn."""
    page.value(
        f"(() => {{ const area = document.querySelectorAll('#sentences textarea')[{index}];"
        f"area.value = {json.dumps(text)};"
        "area.dispatchEvent(new InputEvent('input', {bubbles: true})); })()"
    )
    page.wait_for(DONE)


def test_a_live_page_requests_only_its_own_server(page: devtools.Page, served: str) -> None:
    page.open(served)
    page.wait_for(DONE)
    assert page.count("#grid td.pad") == 3
    assert page.count("#random-batches .point") == 150
    assert page.requests == [served, *[f"{served}lesson"] * 2]
    assert page.text("#cost-summary") == "", "nothing is computed before it is scrolled to"
    page.value("document.getElementById('cost-section').scrollIntoView()")
    page.wait_for("!document.getElementById('cost').hidden")
    assert page.requests == [served, *[f"{served}lesson"] * 3]
    assert page.text("#cost-summary").startswith("4 texts of few.txt in batches of 32")
    assert page.count("#cost-details li") == 2
    retype(page, 0, "This sentence is by far the longest one of the two of them now, is it not?")
    assert page.text("#grid tr:nth-child(1) td:nth-child(3)").startswith("this")
    assert page.count("#grid tr:nth-child(2) td.pad") > 3
    assert page.value("document.getElementById('row').value") == "1", "the one with pads is shown"
    assert all(request.startswith(served) for request in page.requests)


def test_the_random_batches_leave_focus_and_readings_where_they_are(
    page: devtools.Page, served: str
) -> None:
    page.open(served)
    page.wait_for("document.querySelectorAll('#grid td').length > 0")
    page.focus("#map")
    page.press("ArrowRight")
    reading = page.text("#cell")
    page.focus("#grid td")
    page.press("ArrowRight")
    page.value("window.before = document.activeElement")
    page.wait_for(DONE)
    assert page.count("#random-batches .point") == 150
    assert page.value("document.activeElement === window.before")
    assert page.text("#cell") == reading
    assert page.value("document.getElementById('progress').closest('[aria-busy]') === null")


def test_sentences_are_added_and_removed(page: devtools.Page, served: str) -> None:
    page.open(served)
    page.wait_for(DONE)
    assert page.count("#sentences button:disabled") == 2, "two are the fewest"
    page.click("#add")
    page.wait_for(DONE)
    assert page.count("#grid tr") == 3
    assert page.value("document.activeElement.tagName") == "TEXTAREA"
    page.press("H")
    page.press("i")
    page.wait_for(
        "document.querySelector('#grid tr:nth-child(3) td:nth-child(3)').textContent === 'hi1'"
    )
    page.wait_for(DONE)
    page.click("#sentences li:nth-child(1) button")
    page.wait_for(DONE)
    assert page.count("#grid tr") == 2
    assert page.text("#grid tr:nth-child(2) td:nth-child(3)") == "hi1"
    while not page.value("document.getElementById('add').disabled"):
        page.click("#add")
    assert page.count("#sentences li") == 8
    page.wait_for(DONE)
    assert page.count("#grid tr") == 8


def test_a_server_error_is_shown(page: devtools.Page, served: str) -> None:
    page.open(served)
    page.wait_for(DONE)
    retype(page, 0, "broken")
    assert "shutting down" in page.text("#failure")
    page.screenshot(devtools.ARTEFACTS / "page-1000-failure.png")
    retype(page, 0, "whole again")
    assert page.value("document.getElementById('failure').hidden")
    assert page.text("#grid tr:nth-child(1) td:nth-child(3)").startswith("whole")
    messages = [each for each in page.messages if "503" not in each]
    assert messages == [], "but for the browser's own line about the status"
    page.messages.clear()


def test_a_cost_that_fails_is_reported(
    page: devtools.Page, bundled: LessonPage, bundled_data: LessonData
) -> None:
    computed = {"lesson": bundled, "random_batches": asdict(bundled_data)["random_batches"]}
    with _running(computed | {"cost": None}) as address:
        page.open(address)
        page.wait_for(DONE)
        page.value("document.getElementById('cost-section').scrollIntoView()")
        page.wait_for("document.getElementById('cost-summary').textContent.endsWith('down')")
        retype(page, 0, "again")
        page.value("document.getElementById('cost-section').scrollIntoView()")
        page.wait_for("performance.getEntriesByType('resource').length === 6")
    assert all("503" in each for each in page.messages), "the browser's own line about the status"
    page.messages.clear()
