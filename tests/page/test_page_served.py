"""The live page in a real browser, served by the real command, `isobatch serve --page`.

As test_page_live.py, but against the real server, its policy and its model included. Any browser
message fails the test.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator

import devtools
import pytest

from isobatch import Classifier
from isobatch.page.logit_comparison import float_bits

pytestmark = pytest.mark.skipif(devtools.CHROMIUM is None, reason="chromium is not installed")

WIDTHS = (1440, 768, 360)

DONE = "document.getElementById('random-batches').getAttribute('aria-busy') === 'false'"
PACKED = "#logits article:first-of-type tbody:last-child"


@pytest.fixture(scope="module")
def served() -> Iterator[str]:
    """The address of `isobatch serve --page` on the bundled model; SIGTERM ends it with 0."""
    options = ["--page", "--port", "0", "--precision", "fp32"]
    command = [sys.executable, "-m", "isobatch", "serve", *options]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("isobatch: serving "), line
            yield line.split()[-1]
            process.terminate()
            assert process.wait(20) == 0
        finally:
            process.kill()
            process.communicate()


def bits(page: devtools.Page, row: str) -> list[str]:
    """The hexadecimal digits in a row of the packed half of the first table."""
    shown = f"document.querySelectorAll('{PACKED} {row} .hex')"
    return [str(each) for each in page.value(f"[...{shown}].map(each => each.textContent)")]


def test_the_mask_is_switched_and_a_sentence_edited(
    page: devtools.Page, served: str, bundled_classifier: Callable[[str], Classifier]
) -> None:
    page.open(f"{served}/")
    page.wait_for("document.querySelectorAll('#map .on-pad.cell').length > 0")
    boxes = "[...document.querySelectorAll('#map .on-pad.cell')]"
    opacities = f"{boxes}.map(box => +box.getAttribute('fill-opacity'))"
    assert min(page.value(opacities)) > 0
    assert not page.text("#leak").startswith("0 %")
    page.click("#mask")
    assert set(page.value(opacities)) == {0}
    assert page.text("#leak").startswith("0 %")
    before = bits(page, "tr:last-child")
    text = "A dull film."
    page.focus("#sentences textarea")
    page.value("document.activeElement.select()")
    page.call("Input.insertText", text=text)
    page.wait_for(f"document.querySelector('#logits .quoted').textContent === {json.dumps(text)}")
    after = bits(page, "tr:last-child")
    assert after != before
    assert after == bits(page, "tr:nth-child(2)"), "the row of the sentence alone"
    alone = bundled_classifier("fp32")(text)
    assert after == [float_bits(each) for each in alone.logits]
    assert page.text(f"{PACKED} tr:last-child .comparison") == "=same bits as alone"
    assert page.count("#grid tr:first-child td.pad") == 5
    assert {*page.requests} == {f"{served}/", f"{served}/lesson"}


def test_it_fits_every_width_and_theme(page: devtools.Page, served: str) -> None:
    page.open(f"{served}/", width=WIDTHS[0])
    page.wait_for(DONE)
    assert page.count("#random-batches .point") == 150
    for width in WIDTHS:
        page.resize(width)
        page.wait_for(f"document.querySelector('#random-batches svg').clientWidth <= {width}")
        assert page.value("document.documentElement.scrollWidth") <= width
        for picture in ("#map", "#overview"):
            frame = f"document.querySelector('{picture}')"
            assert page.value(f"{frame}.scrollWidth - {frame}.clientWidth") == 0
        for theme in ("light", "dark"):
            scheme = {"name": "prefers-color-scheme", "value": theme}
            page.call("Emulation.setEmulatedMedia", features=[scheme])
            page.screenshot(devtools.ARTEFACTS / f"served-{width}-{theme}.png")


RESPONSE_SHOWN = """(() => {
    if (document.querySelector('.live-responses-table .response')) return true
    document.querySelector('.opblock.is-open .execute')?.click()
    return false
})()"""
"""Clicks until there is a response: while the block opens, the button does nothing yet."""


def test_the_description_of_the_api_is_opened_and_tried(page: devtools.Page, served: str) -> None:
    page.open(f"{served}/docs", width=WIDTHS[0])
    page.wait_for("document.querySelectorAll('.opblock').length === 9")
    page.click(".opblock-summary-control")
    page.wait_for("document.querySelector('.opblock.is-open .execute') !== null")
    page.wait_for(RESPONSE_SHOWN)
    assert page.text(".live-responses-table .response .response-col_status").startswith("200")
    assert "POSITIVE" in page.text(".live-responses-table .response .response-col_description")
    page.screenshot(devtools.ARTEFACTS / "served-docs.png")
    elsewhere = [each for each in page.requests if not each.startswith((f"{served}/", "data:"))]
    assert elsewhere == []
