"""The lesson page and the API's page in a real browser, behind a proxy with a path prefix.

Any browser message fails the test.
"""

from collections.abc import Callable, Iterator

import devtools
import pytest
from serve.path_proxy import PREFIX, proxied
from serve.served import running

from isobatch import Classifier
from isobatch.serve.app import create_app
from isobatch.serve.settings import Settings

pytestmark = pytest.mark.skipif(devtools.CHROMIUM is None, reason="chromium is not installed")

DONE = "document.getElementById('random-batches').getAttribute('aria-busy') === 'false'"

RESPONSE_SHOWN = """(() => {
    if (document.querySelector('.live-responses-table .response')) return true
    document.querySelector('.opblock.is-open .execute')?.click()
    return false
})()"""
"""Clicks until there is a response: while the block opens, the button does nothing yet."""

WAYS = {"stripped": (True, ""), "passed on": (False, PREFIX)}


@pytest.fixture(scope="module", params=WAYS)
def url(
    request: pytest.FixtureRequest, bundled_classifier: Callable[[str], Classifier]
) -> Iterator[str]:
    strips, root_path = WAYS[request.param]
    settings = Settings(page=True, root_path=root_path)
    with (
        running(create_app(bundled_classifier("fp32"), settings)) as server,
        proxied(server, strips=strips) as url,
    ):
        yield url


@pytest.mark.parametrize("slash", ["/", ""])
def test_the_lesson_is_computed(page: devtools.Page, url: str, slash: str) -> None:
    page.open(f"{url}{slash}")
    page.wait_for("document.querySelectorAll('#grid td.pad').length === 3")
    page.wait_for(DONE)
    assert {*page.requests} == {f"{url}{slash}", f"{url}/lesson"}


def test_a_request_is_tried_out(page: devtools.Page, url: str) -> None:
    page.open(f"{url}/docs", width=1440)
    page.wait_for("document.querySelectorAll('.opblock').length === 9")
    page.click(".opblock-summary-control")
    page.wait_for("document.querySelector('.opblock.is-open .execute') !== null")
    page.wait_for(RESPONSE_SHOWN)
    assert page.text(".live-responses-table .response .response-col_status").startswith("200")
    assert f"{url}/predict" in page.requests
    elsewhere = [each for each in page.requests if not each.startswith((f"{url}/", "data:"))]
    assert elsewhere == []
