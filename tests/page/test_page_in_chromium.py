"""The page in a real browser: clicks, keys, widths, themes; no console message, no other request.

Chromium runs headless with an empty profile. Screenshots are written to `artefacts/`, which git
ignores.
"""

from dataclasses import replace
from pathlib import Path

import devtools
import pytest

from isobatch.lesson import MaskCost, measure_mask_cost
from isobatch.page import LessonData, LessonPage, render_page

pytestmark = pytest.mark.skipif(devtools.CHROMIUM is None, reason="chromium is not installed")

WIDTHS = (360, 800, 1400)


@pytest.fixture(scope="module")
def recorded(bundled_data: LessonData, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a page that was written to a file."""
    path = tmp_path_factory.mktemp("recorded") / "lesson.html"
    path.write_text(render_page(bundled_data), encoding="utf-8")
    return path.as_uri()


def test_the_control_a_violation_is_recorded(page: devtools.Page, tmp_path: Path) -> None:
    path = tmp_path / "malicious.html"
    policy = "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'\">"
    path.write_text(f"{policy}<script>1</script><img src='http://127.0.0.1:9/x.png'>", "utf-8")
    page.open(path.as_uri())
    page.wait_for("document.readyState === 'complete'")
    assert len(page.messages) >= 2
    page.messages.clear()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_it_fits_and_fetches_nothing(
    page: devtools.Page, recorded: str, width: int, dark: bool
) -> None:
    page.open(recorded, width=width, dark=dark)
    assert page.value("document.documentElement.scrollWidth") <= width
    page.screenshot(devtools.ARTEFACTS / f"page-{width}-{'dark' if dark else 'light'}.png")
    assert page.requests == [recorded]
    ground = page.value("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, ground[4:-1].split(","))) < 3 * 128) == dark


def test_the_grid_shows_every_token_and_pad(
    page: devtools.Page, recorded: str, bundled_data: LessonData
) -> None:
    page.open(recorded)
    assert page.count("#grid td") == sum(len(each.tokens) for each in bundled_data.sentences)
    assert page.count("#grid td.pad") == 3
    assert page.text("#grid td.pad .token-name") == "[PAD]"
    assert "Padding added: 3 × [PAD]." in page.text("#grid-summary")
    page.point("#grid td:nth-child(3)")
    page.wait_for("!document.getElementById('tooltip').hidden")
    assert "input_id 2651" in page.text("#tooltip")
    assert "attention_mask 1" in page.text("#tooltip")


def test_arrow_keys_move_in_the_grid(page: devtools.Page, recorded: str) -> None:
    page.open(recorded)
    page.focus("#grid td")
    for _ in range(8):
        page.press("ArrowRight")
    assert page.text("#tooltip").startswith("[PAD]")
    assert "attention_mask 0" in page.text("#tooltip")
    label = page.value("document.activeElement.getAttribute('aria-label')")
    assert label == "[PAD], input_id 0, attention_mask 0: padding"
    page.press("ArrowDown")
    assert "sentence 2, column 9" in page.text("#tooltip")
    page.press("ArrowDown")
    assert "sentence 2, column 9" in page.text("#tooltip"), "there is no row below"
    page.press("Escape")
    assert page.value("document.getElementById('tooltip').hidden")
    assert page.count("#grid td[tabindex='0']") == 1


def test_sentences_have_names_for_screen_readers(page: devtools.Page, recorded: str) -> None:
    page.open(recorded)
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    names = [each["name"]["value"] for each in nodes if each["role"]["value"] == "textbox"]
    assert names == ["Sentence 1", "Sentence 2"]


def test_the_first_arrow_key_in_the_heat_map_reads_its_first_cell(
    page: devtools.Page, recorded: str
) -> None:
    page.open(recorded)
    page.focus("#map")
    page.press("ArrowRight")
    assert page.text("#cell").endswith("of its attention to [CLS], column 1.")
    page.press("ArrowRight")
    assert page.text("#cell").endswith("column 2.")


def test_the_mask_switch_removes_attention_to_padding(page: devtools.Page, recorded: str) -> None:
    page.open(recorded)
    boxes = "[...document.querySelectorAll('#map .on-pad.cell')]"
    opacities = f"{boxes}.map(box => +box.getAttribute('fill-opacity'))"
    assert page.value("document.getElementById('mask').getAttribute('aria-checked')") == "false"
    assert min(page.value(opacities)) > 0
    assert not page.text("#leak").startswith("0 %")
    page.click("#mask")
    assert page.value("document.getElementById('mask').getAttribute('aria-checked')") == "true"
    assert set(page.value(opacities)) == {0}
    assert page.text("#leak").startswith("0 %")
    assert "Exactly 0" in page.text("#announcement")
    shares = page.value(
        "[...document.querySelectorAll('#map .shares text')].map(t => t.textContent)"
    )
    assert {share.replace("\N{NO-BREAK SPACE}", " ") for share in shares} == {"0 %"}
    page.screenshot(devtools.ARTEFACTS / "page-1000-masked.png")
    page.click("#mask")
    assert min(page.value(opacities)) > 0


def test_the_first_head_shown_leaks_most(
    page: devtools.Page, recorded: str, bundled_data: LessonData
) -> None:
    page.open(recorded)
    leaks = bundled_data.sentences[0].unmasked.head_leaks
    most = max(max(layer) for layer in leaks)
    layer, head = (
        int(page.value(f"document.getElementById('{name}').value")) for name in ("layer", "head")
    )
    assert leaks[layer][head] == most
    assert page.text("#leak").startswith(f"{100 * most:.1f} %")


def test_layer_and_head_are_chosen_by_click_and_by_key(
    page: devtools.Page, recorded: str, bundled_data: LessonData
) -> None:
    page.open(recorded)
    page.click("#overview rect:nth-of-type(1)")
    leak = bundled_data.sentences[0].unmasked.head_leaks[0][0]
    assert page.text("#leak").startswith(f"{100 * leak:.1f} %")
    assert page.value("document.getElementById('layer').value") == "0"
    page.focus("#layer")
    page.press("ArrowDown")
    page.wait_for("document.getElementById('layer').value === '1'")
    leak = bundled_data.sentences[0].unmasked.head_leaks[1][0]
    assert page.text("#leak").startswith(f"{100 * leak:.1f} %")
    assert "layer 2, head 1" in page.text("#announcement")
    page.focus("#row")
    page.press("ArrowDown")
    page.wait_for("document.getElementById('row').value === '1'")
    assert "has no padding" in page.text("#leak")


def test_the_heat_map_is_read_by_arrow_keys(page: devtools.Page, recorded: str) -> None:
    page.open(recorded)
    page.focus("#map")
    page.press("End")
    assert page.text("#cell").startswith("[CLS] gives ")
    assert page.text("#cell").endswith("to [PAD] (padding), column 11.")
    page.press("ArrowDown")
    assert page.text("#cell").startswith("today gives ")
    page.press("Home")
    assert page.text("#cell").endswith("to [CLS], column 1.")
    page.screenshot(devtools.ARTEFACTS / "page-1000-heat-map.png")


def test_logits_bits_and_comparisons_are_shown_together(
    page: devtools.Page, recorded: str, bundled_data: LessonData
) -> None:
    page.open(recorded)
    assert page.count(".logits") == 2
    for index, sentence in enumerate(bundled_data.sentences):
        row = f"#logits article:nth-of-type({index + 1})"
        shown = page.value(
            f"[...document.querySelectorAll('{row} .hex')].map(each => each.textContent)"
        )
        assert shown == [bits for result in sentence.results for bits in result.bits]
        comparisons = page.value(
            f"[...document.querySelectorAll('{row} .comparison')].map(each => each.textContent)"
        )
        assert comparisons[0] == comparisons[3] == "baseline"
        assert comparisons[1] == _signed(sentence.results[1].comparison.summary)
        assert comparisons[4] == "=same bits as alone"
    assert page.count(".logits .bits") == 20
    assert page.count(".logits tbody:last-child mark") == 0
    forgotten = "#logits article:first-of-type tbody:first-of-type tr:nth-child(3)"
    assert page.count(f"{forgotten} .hex mark") > 0
    assert "Isobatch, same bits as alone" in page.text("#announcement")


def _signed(summary: str) -> str:
    return ("=" if summary.startswith("same") else "≠") + summary


def test_fifty_points_in_each_plot_and_isobatch_on_zero(
    page: devtools.Page, recorded: str, bundled_data: LessonData
) -> None:
    page.open(recorded)
    assert bundled_data.random_batches is not None
    for index, series in enumerate(bundled_data.random_batches.series, 1):
        figure = f"#random-batches figure:nth-of-type({index})"
        assert page.count(f"{figure} .point") == 50
        assert page.count(f"{figure} .point.moved") == series.num_moved
    assert "same bits in all 50 batches" in page.text("#random-batches figure:nth-of-type(3)")
    heights = page.value(
        "[...new Set([...document.querySelectorAll('#random-batches figure:nth-of-type(3) .point')]"
        ".map(each => each.getAttribute('transform').split(',')[1]))]"
    )
    zero = page.value(
        "document.querySelector('#random-batches figure:nth-of-type(3) .zero').getAttribute('y1')"
    )
    assert heights == [f"{zero})"]


def test_batches_are_read_by_arrow_keys(
    page: devtools.Page, recorded: str, bundled_data: LessonData
) -> None:
    page.open(recorded)
    page.focus("#random-batches")
    page.press("ArrowRight")
    page.press("ArrowRight")
    assert bundled_data.random_batches is not None
    batch = bundled_data.random_batches.batches[1]
    assert page.text("#random-batch").startswith(f"Batch 2 has {batch.columns} columns.")
    assert bundled_data.random_batches.neighbours[batch.neighbours[0]] in page.text("#random-batch")
    assert "Isobatch: 0" in page.text("#tooltip")
    page.press("End")
    assert page.text("#random-batch").startswith("Batch 50 has")
    page.screenshot(devtools.ARTEFACTS / "page-1000-batch.png")


def test_the_cost_of_a_forgotten_mask_is_drawn(
    page: devtools.Page, bundled_data: LessonData, bundled_cost: MaskCost, tmp_path: Path
) -> None:
    path = tmp_path / "cost.html"
    path.write_text(render_page(replace(bundled_data, cost=bundled_cost)), encoding="utf-8")
    furthest = bundled_cost.furthest
    assert furthest is not None
    for width in (360, 1400):
        page.open(path.as_uri(), width=width)
        assert page.value("document.documentElement.scrollWidth") <= width
        page.screenshot(devtools.ARTEFACTS / f"page-{width}-cost.png")
    assert page.text("#cost-figures dd.value") == str(bundled_cost.forgotten.num_flipped) == "1"
    bars = [each for each in bundled_cost.bins if each.num_texts > each.num_flipped]
    assert page.count("#cost-chart .bar:not(.flipped-part)") == len(bars)
    flipped = [each for each in bundled_cost.bins if each.num_flipped]
    assert page.count("#cost-chart .flipped-part") == len(flipped) > 0
    assert page.text("#cost-details .quoted") == furthest.text
    assert page.text("#cost-details .flipped") == f"⚑{furthest.label_forgotten}"
    assert page.count("#cost-details li") == len(furthest.neighbours) - 1
    page.resize(360)
    page.wait_for("document.querySelector('#cost-chart svg').clientWidth <= 360")


def test_a_page_without_padding_says_so(
    page: devtools.Page, bundled: LessonPage, bundled_data: LessonData, tmp_path: Path
) -> None:
    path = tmp_path / "equal.html"
    equal = measure_mask_cost(bundled.model.checkpoint, ["good", "bad"])
    path.write_text(render_page(replace(bundled_data, cost=equal)), encoding="utf-8")
    page.open(path.as_uri())
    assert "No text is padded" in page.text("#cost-summary")
    assert page.value("document.getElementById('cost').hidden")


def test_a_page_without_the_cost_has_no_section_of_it(page: devtools.Page, recorded: str) -> None:
    page.open(recorded)
    assert page.value("document.getElementById('cost-section').hidden")


def test_tab_alone_reaches_everything_in_order(page: devtools.Page, recorded: str) -> None:
    page.open(recorded)
    page.value("document.activeElement.blur()")
    reached = []
    for _ in range(40):
        page.press("Tab")
        here = page.value(
            "(() => { const e = document.activeElement; return e === document.body ? '' :"
            " (e.id || e.tagName.toLowerCase()); })()"
        )
        if not here:
            break
        reached.append(here)
        outline = page.value("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none", here
    wanted = [
        "textarea",
        "textarea",
        "td",
        "mask",
        "row",
        "layer",
        "head",
        "map",
        "summary",
        "random-batches",
    ]
    assert [each for each in reached if each in wanted] == wanted


def test_a_recorded_page_cannot_be_edited(page: devtools.Page, recorded: str) -> None:
    page.open(recorded)
    assert page.count("#sentences textarea[readonly]") == 2
    assert page.count("#sentences button") == 0
    assert "isobatch serve --page" in page.text("#recorded")


def test_plots_follow_the_width(page: devtools.Page, recorded: str) -> None:
    page.open(recorded, width=1200)
    page.resize(360)
    page.wait_for(
        "document.querySelector('#random-batches svg').getBoundingClientRect().width <= 360"
    )
    assert page.value("document.documentElement.scrollWidth") <= 360
    assert page.count("#grid .upright") == 1
    page.resize(1200)
    page.wait_for("!document.querySelector('#grid .upright')")


@pytest.mark.parametrize("still", [True, False])
def test_reduced_motion_is_respected(page: devtools.Page, recorded: str, still: bool) -> None:
    page.open(recorded, still=still)
    duration = "getComputedStyle(document.querySelector('#map .cell')).transitionDuration"
    assert (page.value(duration) in ("0s", "")) == still


def test_without_scripts_a_note_explains_the_empty_page(page: devtools.Page, recorded: str) -> None:
    page.open(recorded, scripts=False)
    assert page.value("document.querySelector('noscript p').getBoundingClientRect().height") > 0
    page.call("Emulation.setScriptExecutionDisabled", value=False)


def test_long_tokens_and_many_sentences_fit(
    page: devtools.Page, bundled: LessonPage, bundled_data: LessonData, tmp_path: Path
) -> None:
    texts = [
        "word " * 60,
        "<script>alert(1)</script>",
        "",
        "שלום עולם",
        "x" * 90,
        "a",
        "b",
        "c",
        "d",
    ]
    path = tmp_path / "many.html"
    many = replace(
        bundled.data(texts, random_batches=False), random_batches=bundled_data.random_batches
    )
    path.write_text(render_page(many), encoding="utf-8")
    for width in (360, 1400):
        page.open(path.as_uri(), width=width)
        assert page.value("document.documentElement.scrollWidth") <= width
        assert "1 sentence left out" in page.text("#limits")
        assert "Sentences 1, 5 truncated" in page.text("#limits")
        page.screenshot(devtools.ARTEFACTS / f"page-{width}-many.png")
    assert page.text("#logits article:nth-of-type(2) .quoted") == "<script>alert(1)</script>"
