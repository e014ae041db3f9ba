"""Evaluation against scikit-learn on whole arrays and against sums done by hand; the report.

Each number of the small cases is worked out in the comment or the literal next to it.
"""

import json
import random
import re
import shlex
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import matplotlib
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from isobatch.errors import InputError, OptionError
from isobatch.evaluation import (
    Evaluation,
    Evaluator,
    Example,
    RowError,
    check_task,
    match_labels,
    parse_label_map,
    render_report,
)
from isobatch.evaluation.charts import MAX_DRAWN, confusion_chart, drawn_labels
from isobatch.evaluation.html_report import calibration_gap, percent
from isobatch.evaluation.metrics import BIN_EDGES, NUM_BINS, Calibration, bin_index
from isobatch.evaluation.ranking import log_odds
from isobatch.evaluation.slices import SlicedEvaluator, check_slices
from isobatch.tasks import Prediction
from isobatch.types import TextInput

PAIR = ("NEGATIVE", "POSITIVE")
ROOT = Path(__file__).parent.parent


def example(
    expected: int,
    predicted: int,
    score: float = 0.9,
    *,
    labels: Sequence[str] = PAIR,
    place: str = "dev.csv:2",
    text: TextInput = "a text",
    truncated: bool = False,
) -> Example:
    prediction = Prediction(labels[predicted], score, (0.0,) * len(labels), truncated, 4, {})
    return Example(place, text, expected, prediction)


def evaluate(
    examples: Iterable[Example],
    labels: Sequence[str],
    *,
    errors: Iterable[RowError] = (),
    facts: Mapping[str, str] | None = None,
    num_mistakes: int = 10,
) -> Evaluation:
    evaluator = Evaluator(labels, num_mistakes=num_mistakes)
    for error in errors:
        evaluator.add_error(error.place, error.reason)
    for each in examples:
        evaluator.add(each)
    return evaluator.finish(facts)


def small_evaluation(**facts: str) -> Evaluation:
    """3 of 4 right, the mistake with 0.9; confidences sum to 3.4."""
    examples = [example(0, 0, 0.8), example(0, 1, 0.9), example(1, 1, 0.7), example(1, 1, 1.0)]
    return evaluate(examples, PAIR, facts=facts)


def many_labels(num_labels: int) -> Evaluation:
    """Every label once right; the last two are confused with each other."""
    labels = [f"label_{index}" for index in range(num_labels)]
    last = num_labels - 1
    pairs = [(index, index) for index in range(num_labels)] + [(last, last - 1)] * 3
    return evaluate([example(*pair, labels=labels) for pair in pairs], labels)


def test_the_numbers_of_a_small_case() -> None:
    found = small_evaluation(file="dev.csv")
    assert (found.num_texts, found.num_correct, found.accuracy) == (4, 3, 0.75)
    assert found.confusion == ((1, 1), (0, 2))
    negative, positive = found.classes
    assert (negative.precision, negative.recall, negative.support) == (1.0, 0.5, 2)
    assert (negative.num_predicted, positive.num_predicted) == (1, 3)
    assert positive.precision == pytest.approx(2 / 3)
    assert positive.f1 == pytest.approx(0.8)
    assert found.macro_f1 == pytest.approx((2 / 3 + 0.8) / 2)
    assert found.mean_confidence == pytest.approx(0.85)
    # Wilson: (3 + z²/2 ± z √(3·1/4 + z²/4)) / (4 + z²) with z = 1.959964
    assert found.accuracy_interval == pytest.approx((0.300642, 0.954413), abs=1e-6)
    # Each in a bin of its own: (|1-0.8| + |0-0.9| + |1-0.7| + |1-1|) / 4
    assert found.calibration_error == pytest.approx(1.4 / 4)
    assert found.facts == {"file": "dev.csv"}


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 3), st.floats(0, 1)), min_size=1, max_size=60
    )
)
@settings(max_examples=60)
def test_it_agrees_with_sklearn_on_whole_arrays(rows: list[tuple[int, int, float]]) -> None:
    labels = ("a", "b", "c", "never")
    found = evaluate([example(*row, labels=labels) for row in rows], labels)
    expected, predicted, _ = (list(column) for column in zip(*rows, strict=True))
    report: dict[str, Any] = metrics.classification_report(
        expected, predicted, labels=range(4), target_names=labels, output_dict=True, zero_division=0
    )
    assert found.accuracy == pytest.approx(metrics.accuracy_score(expected, predicted))
    macro = metrics.f1_score(expected, predicted, average="macro", zero_division=0)
    assert found.macro_f1 == pytest.approx(macro)
    for each in found.classes:
        row = report[each.label]
        assert each.support == row["support"]
        assert (each.precision or 0) == pytest.approx(row["precision"])
        assert (each.recall or 0) == pytest.approx(row["recall"])
        assert (each.f1 or 0) == pytest.approx(row["f1-score"])
    matrix = metrics.confusion_matrix(expected, predicted, labels=range(4))
    assert [list(row) for row in found.confusion] == matrix.tolist()
    assert sum(each.count for each in found.reliability) == len(rows)


def test_a_ratio_of_nothing_is_none_and_json_holds_no_nan() -> None:
    labels = ("seen", "only expected", "only predicted", "never")
    examples = [example(0, 0, labels=labels), example(1, 2, labels=labels)]
    found = evaluate(examples, labels)
    ratios = [(each.precision, each.recall, each.f1) for each in found.classes]
    assert ratios == [(1, 1, 1), (None, 0, 0), (0, None, 0), (None, None, None)]
    assert found.macro_f1 == pytest.approx(1 / 3)
    copy = json.loads(json.dumps(asdict(found), allow_nan=False))
    assert copy["classes"][3]["f1"] is None
    assert copy["confusion"][1] == [0, 0, 1, 0]


def test_calibration_error_of_one_bin_with_several_texts() -> None:
    calibration = Calibration()
    for confidence, correct in ((0.95, True), (0.97, False), (0.5, True)):
        calibration.add(confidence, correct)
    # 2/3 · |1/2 - 0.96| + 1/3 · |1 - 0.5|
    assert calibration.error == pytest.approx(2 / 3 * 0.46 + 0.5 / 3)
    last = calibration.bins()[-1]
    assert (last.count, last.accuracy) == (2, 0.5)
    assert last.mean_confidence == pytest.approx(0.96)
    assert calibration.bins()[0].accuracy is None


def test_bins_include_their_upper_edge_and_the_first_one_0() -> None:
    assert (bin_index(0.0), bin_index(1.0)) == (0, NUM_BINS - 1)
    for index in range(NUM_BINS):
        assert bin_index(BIN_EDGES[index + 1]) == index
        assert bin_index((BIN_EDGES[index] + BIN_EDGES[index + 1]) / 2) == index


def test_the_most_confident_mistakes_come_first_and_of_two_alike_the_earlier() -> None:
    scores = [0.6, 0.9, 0.7, 0.9, 0.8]
    examples = [example(0, 1, score, place=f"f:{n}") for n, score in enumerate(scores)]
    correct = [example(1, 1, 1.0, place="right")]
    found = evaluate(correct + examples, PAIR, num_mistakes=3)
    assert [mistake.place for mistake in found.mistakes] == ["f:1", "f:3", "f:4"]
    assert (found.mistakes[0].expected, found.mistakes[0].predicted) == PAIR
    assert not evaluate(examples, PAIR, num_mistakes=0).mistakes


def test_errors_and_cut_texts_are_counted_and_the_first_errors_kept() -> None:
    errors = [RowError(f"f:{n}", "no text") for n in range(12)]
    found = evaluate([example(0, 0, truncated=True), example(0, 0)], PAIR, errors=errors)
    assert (found.num_texts, found.num_errors, found.num_truncated) == (2, 12, 1)
    assert list(found.errors) == errors[:10]


def test_memory_does_not_grow_with_the_examples() -> None:
    numbers = random.Random(0)
    evaluator = Evaluator(PAIR)

    def feed(count: int) -> int:
        for n in range(count):
            pair = (numbers.randrange(2), numbers.randrange(2))
            evaluator.add(example(*pair, numbers.random(), text=f"{n} " * 200))
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        before, after = feed(1_000), feed(10_000)
    finally:
        tracemalloc.stop()
    # For the area under the ROC curve a number and a label, and room to grow; one byte more for
    # each further example would be too much.
    assert after - before < 10_000 * (8 + 4) * 1.15 + 10_000
    assert evaluator.finish().num_texts == 11_000


def test_nothing_to_evaluate_is_refused() -> None:
    with pytest.raises(InputError, match="no labelled texts"):
        evaluate([], PAIR)
    with pytest.raises(InputError, match=r"no row .*1 error, 0 rows .* f:3: text is null"):
        evaluate([], PAIR, errors=[RowError("f:3", "text is null")])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (example(2, 0), r"dev.csv:2: the expected label 2 .*0 to 1"),
        (example(-1, 0), r"dev.csv:2: the expected label -1"),
        (example(0, 0, labels=("joy", "fear")), r"dev.csv:2: unknown predicted .*'joy'.* NEGATIVE"),
        (example(0, 0, 1.5), r"dev.csv:2: the score 1.5"),
        (example(0, 0, float("nan")), r"dev.csv:2: the score nan"),
    ],
)
def test_a_senseless_example_is_refused_with_its_place(wrong: Example, message: str) -> None:
    with pytest.raises(InputError, match=message):
        evaluate([wrong], PAIR)


@pytest.mark.parametrize("labels", [(), ("one",), ("twice", "twice")])
def test_senseless_options_are_refused(labels: tuple[str, ...]) -> None:
    with pytest.raises(OptionError, match="two or more"):
        Evaluator(labels)
    with pytest.raises(OptionError, match="num_mistakes"):
        Evaluator(PAIR, num_mistakes=-1)


def test_only_single_label_checkpoints_can_be_evaluated() -> None:
    check_task("softmax")
    with pytest.raises(OptionError, match=r"multi-label.*reranker \(--query-column\)"):
        check_task("sigmoid")
    with pytest.raises(OptionError, match=r"regression.*one label of two or more"):
        check_task("none")


@pytest.mark.parametrize("library", ["sklearn", "scipy.stats", "jinja2", "matplotlib.figure"])
def test_a_missing_library_names_the_extra(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(OptionError, match=r'pip install "isobatch\[evaluate\]"'):
        render_report(small_evaluation(), "title")


@pytest.mark.parametrize(
    ("labels", "given_values", "indices"),
    [
        (PAIR, ["POSITIVE", "NEGATIVE"], [1, 0]),
        (PAIR, ["positive", "Negative"], [1, 0]),
        (PAIR, [1, 0, "1", "0"], [1, 0, 1, 0]),
        (("LABEL_0", "LABEL_1"), ["LABEL_1", "LABEL_0"], [1, 0]),
        (("False", "True"), [True, False], [1, 0]),
        # Where labels are numbers, a number is a name: 1 is not the index of "2".
        (("1", "2", "3"), [1, 2, "3"], [0, 1, 2]),
        (("a", "A"), ["A", "a"], [1, 0]),
        (PAIR, [" POSITIVE", "negative "], [1, 0]),
        # pandas writes integers so if one of the column is missing
        (PAIR, ["1.0", "0.0", "0."], [1, 0, 0]),
        (PAIR, [1.0, 0.0, 1], [1, 0, 1]),
        (("1", "2", "3"), [1.0, "3.0"], [0, 2]),
        (("schön", "häßlich"), ["HÄSSLICH", "Schön"], [1, 0]),
        (PAIR, [], []),
    ],
)
def test_labels_are_matched(
    labels: Sequence[str], given_values: list[object], indices: list[int]
) -> None:
    places = [f"f:{row}" for row in range(len(given_values))]
    matched = match_labels(given_values, labels, places)
    assert (matched.indices, matched.unknown) == (indices, "")
    is_float = any(isinstance(each, float) or "." in str(each) for each in given_values)
    assert ("1.0 as" in matched.note) == is_float


@pytest.mark.parametrize(
    ("labels", "given_values", "message"),
    [
        (
            PAIR,
            ["POSITIVE", "meh", "meh"],
            r"'meh' \(f:1\); expected one of NEGATIVE, POSITIVE.*0 to 1",
        ),
        (PAIR, ["POSITIVE", 0], r"0 \(f:1\).*consistently"),
        (PAIR, [0, 2], r" 2 \(f:1\)"),
        (PAIR, [0, -1], r"-1 \(f:1\)"),
        (PAIR, [True, False], r"True as a boolean \(f:0\), False as a boolean \(f:1\)"),
        (PAIR, ["01", "0"], r"'01' \(f:0\)"),
        (PAIR, [1.5], r"1.5 as a float \(f:0\)"),
        (PAIR, [2.0], r"2.0 as a float \(f:0\); .*0 to 1"),
        (PAIR, ["1.0", "POSITIVE"], r"'1.0' \(f:0\)"),
        (PAIR, [["POSITIVE"]], r"\['POSITIVE'\] \(f:0\)"),
        (("a", "A", "b"), ["B"], r"'B' \(f:0\)"),
        (("1", "2"), [0, 1], r" 0 \(f:0\); expected one of 1, 2\)\. "),
        (PAIR, [f"text {n}" for n in range(99)], "The column has 99 such values"),
        (PAIR, list("abcdefg"), r"'e' \(f:4\), 2 more;"),
        ([f"l{n}" for n in range(150)], ["x"], r"l19, 130 more"),
    ],
)
def test_labels_that_do_not_fit_are_refused_with_places(
    labels: Sequence[str], given_values: list[object], message: str
) -> None:
    places = [f"f:{row}" for row in range(len(given_values))]
    assert re.search(message, match_labels(given_values, labels, places).unknown)
    with pytest.raises(InputError, match="pass one for each"):
        match_labels(given_values, labels, [*places, "one more"])


@pytest.mark.parametrize(
    ("given_values", "expected"),
    [
        (["pos", "neg"], [1, 0]),
        (["LABEL_1", "label_0"], [1, 0]),
        ([True, False], [1, 0]),
        (["True", "False"], [1, 0]),
        (["it's = meh", "POSITIVE"], [0, 1]),
        ([2, 0], [0, 0]),
    ],
)
def test_the_label_map_of_the_message_is_accepted(
    given_values: list[object], expected: list[int]
) -> None:
    places = ["f:0", "f:1"]
    message = match_labels(given_values, PAIR, places).unknown
    words = shlex.split(message[message.index("--label-map") :].partition("; or ")[0])
    options = [word for word in words if word != "--label-map"]
    matched = match_labels(given_values, PAIR, places, parse_label_map(options, PAIR))
    assert (matched.indices, matched.unknown) == (expected, "")


def test_a_label_map_is_checked() -> None:
    assert parse_label_map(["a=b=x=y"], ("x=y", "z")) == {"a=b": 0}
    with pytest.raises(OptionError, match=r"--label-map pos=yes: .*NEGATIVE, POSITIVE"):
        parse_label_map(["pos=yes"], PAIR)
    for senseless in ("pos", "=POSITIVE", ""):
        with pytest.raises(OptionError, match="expected VALUE=LABEL"):
            parse_label_map([senseless], PAIR)
    with pytest.raises(OptionError, match="pos is POSITIVE already"):
        parse_label_map(["pos=POSITIVE", "pos=NEGATIVE"], PAIR)


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.tuples(*[st.floats(-40, 40)] * 3)), min_size=1, max_size=40
    )
)
@settings(max_examples=60)
def test_ranks_agree_with_sklearn_on_whole_arrays(rows: list[tuple[int, Any]]) -> None:
    labels = ("a", "b", "c")
    examples = [
        Example("f", "t", expected, Prediction(labels[0], 0.5, logits, False, 4, {}))
        for expected, logits in rows
    ]
    found = evaluate(examples, labels)
    areas = []
    for index, each in enumerate(found.classes):
        positive = [expected == index for expected, _ in rows]
        odds = [log_odds(logits)[index] for _, logits in rows]
        if len(set(positive)) < 2:
            assert each.roc_auc is None
        else:
            areas.append(metrics.roc_auc_score(positive, odds))
            assert each.roc_auc == pytest.approx(areas[-1])
    assert found.roc_auc == (pytest.approx(sum(areas) / len(areas)) if areas else None)
    assert ("roc_auc" in found.undefined) == (not areas)


def test_saturated_scores_are_ranked_by_their_logits() -> None:
    rows = [(0, (-40.0, 10.0)), (1, (-40.0, 20.0)), (1, (-41.0, 20.0)), (0, (0.0, 5.0))]
    examples = [
        Example("f", "t", expected, Prediction("POSITIVE", 1.0, logits, False, 4, {}))
        for expected, logits in rows
    ]
    assert evaluate(examples, PAIR).roc_auc == 1.0
    assert log_odds((-40.0, 10.0, 9.0))[1] == pytest.approx(1.0)
    assert log_odds((float("-inf"), 0.0)) == [float("-inf"), float("inf")]


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=40))
@settings(max_examples=40)
def test_other_averages_and_the_correlation_agree_with_sklearn(rows: list[tuple[int, int]]) -> None:
    labels = ("a", "b", "c")
    found = evaluate([example(*row, labels=labels) for row in rows], labels)
    expected, predicted = zip(*rows, strict=True)
    for average in ("micro", "weighted"):
        score = metrics.f1_score(expected, predicted, average=average, zero_division=0)
        assert getattr(found, f"{average}_f1") == pytest.approx(score)
    if len(set(expected)) > 1 and len(set(predicted)) > 1:
        assert found.mcc == pytest.approx(metrics.matthews_corrcoef(expected, predicted))
    else:
        assert found.mcc is None
        assert "only one label is" in found.undefined["mcc"]


def test_metrics_that_are_undefined_have_a_reason_and_are_not_0() -> None:
    one_class = evaluate([example(1, 1), example(1, 0)], PAIR)
    assert (one_class.mcc, one_class.roc_auc) == (None, None)
    assert one_class.undefined == dict.fromkeys(("mcc", "roc_auc"), "only one label is expected")
    constant = evaluate([example(1, 1), example(0, 1)], PAIR)
    assert constant.undefined == {"mcc": "only one label is predicted"}
    assert constant.roc_auc == 0.5
    words = Page(render_report(one_class, "title")).words
    assert words.count("undefined: only one label is expected") == 2


def test_slices_add_up_and_the_page_has_them() -> None:
    evaluator = SlicedEvaluator(PAIR, by="lang")
    for each in (example(0, 0), example(1, 0), example(1, 1)):
        evaluator.add(replace(each, slice="en"))
    evaluator.add_error("f:9", "text is null", "de")
    evaluator.add_unlabelled("de")
    evaluator.add(replace(example(1, 1), slice="<b>"))
    found = evaluator.finish({}, ["1.0 as 1"])
    assert (found.num_texts, found.num_errors, found.num_unlabelled) == (4, 1, 1)
    assert [each.value for each in found.slices] == ["<b>", "de", "en"]
    _, de, en = found.slices
    assert (en.num_texts, en.accuracy) == (3, pytest.approx(2 / 3))
    assert en.mcc == pytest.approx(
        evaluate([example(0, 0), example(1, 0), example(1, 1)], PAIR).mcc
    )
    assert (de.num_texts, de.num_errors, de.num_unlabelled, de.accuracy) == (0, 1, 1, None)
    assert de.undefined["accuracy"] == "no row could be evaluated"
    json.dumps(asdict(found), allow_nan=False)
    words = Page(render_report(found, "title")).words
    for part in (
        "By lang",
        "<b>",
        "Note: 1.0 as 1.",
        "1 row without a label was left out",
        "1 row could",
    ):
        assert part in words
    with pytest.raises(OptionError, match="more than 200 different values"):
        check_slices([str(n) for n in range(201)], "id")


class Page(HTMLParser):
    """Reads a page: its words, its elements and their attributes; every element must be closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.words = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


HOSTILE = "<script>alert(1)</script>\x00\x1b\ud800 $x_1$ & 好 ‮"


def hostile_page() -> str:
    """Text from outside in every place that takes one."""
    labels = (f"{HOSTILE} a", f"{HOSTILE} b")
    wrong = example(0, 1, labels=labels, text=(HOSTILE, HOSTILE), place=HOSTILE)
    errors = [RowError(HOSTILE, HOSTILE)]
    return render_report(
        evaluate([wrong], labels, errors=errors, facts={HOSTILE: HOSTILE}), HOSTILE
    )


def test_the_report_says_the_numbers() -> None:
    words = Page(render_report(small_evaluation(file="dev.csv"), "A title")).words
    words = words.replace("\N{NO-BREAK SPACE}", " ")
    assert "Right in 3 of 4 texts." in words
    assert "confidence is 85.0 %, the accuracy 75.0 %: over-confident by 10.0 points" in words
    for expected in ("A title", "73.3 %", "35.0 points", "30.1 % to 95.4 %", "dev.csv:2", "66.7 %"):
        assert expected in words
    assert "could not be evaluated" not in words


def test_what_comes_from_outside_stays_text() -> None:
    html = hostile_page()
    page = Page(html)
    assert not page.open
    assert "script" not in page.tags
    # The parser gives back what was written, in the title, labels, places, reasons and facts.
    assert page.words.count("<script>alert(1)</script>") > 10
    assert not set(html.encode()) & {0x00, 0x1B}


def test_a_label_in_a_picture_is_what_it_says() -> None:
    labels = ("$x_1$ <b>\x00", f"a{'-' * 40}z")
    found = evaluate([example(0, 1, labels=labels)], labels)
    picture = confusion_chart(found, "in words")
    words = Page(picture).words
    assert words.count("$x_1$ <b>\N{REPLACEMENT CHARACTER}") == 2, "a dollar begins no formula"
    assert words.count("a-----------…----------z") == 2, "both ends of a long label"
    assert words.strip().startswith("in words")


@pytest.mark.parametrize("make", [hostile_page, lambda: render_report(many_labels(150), "t")])
def test_the_report_fetches_nothing_and_its_ids_are_its_own(make: Callable[[], str]) -> None:
    html = make()
    page = Page(html)
    assert not {"link", "img", "iframe", "object", "base", "form"} & {*page.tags}
    addresses = [value for name, value in page.attributes if name in ("src", "href", "xlink:href")]
    ids = [value for name, value in page.attributes if name == "id"]
    assert addresses, "the control: marks of a picture are drawn by reference"
    assert {address.removeprefix("#") for address in addresses} <= {*ids}
    assert {*re.findall(r"url\(#?([^)]*)\)", html)} <= {*ids}
    assert len({*ids}) == len(ids)
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in html
    assert "//" not in html
    assert "@import" not in html


def test_the_same_evaluation_gives_the_same_bytes_whatever_the_settings() -> None:
    found = small_evaluation()
    html = render_report(found, "title")
    with matplotlib.rc_context({"font.size": 30, "svg.hashsalt": None, "axes.grid": True}):
        before = dict(matplotlib.rcParams)
        assert render_report(found, "title") == html
        assert dict(matplotlib.rcParams) == before
    assert render_report(found, "other") != html


def test_a_report_leaves_pyplot_out() -> None:
    code = """
import sys, tests.test_evaluation as here
here.render_report(here.small_evaluation(), "title")
assert "matplotlib.figure" in sys.modules and "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_of_many_labels_only_the_most_confused_are_drawn_and_the_report_says_so() -> None:
    found = many_labels(150)
    assert len(drawn_labels(found)) == MAX_DRAWN
    assert {148, 149} <= {*drawn_labels(found)}
    words = Page(render_report(found, "title")).words
    assert "Only the 12 of 150 labels" in words
    assert "The other 135 labels" in words
    assert words.count("label_77") == 1, "in the table, though not in the picture"
    assert drawn_labels(many_labels(4)) == [0, 1, 2, 3]
    assert "Only the" not in render_report(many_labels(4), "title")


def test_shares_are_never_rounded_to_perfect() -> None:
    shares = [percent(share).replace("\N{NO-BREAK SPACE}", " ") for share in (1, 0.99999, 1e-6, 0)]
    assert shares == ["100.0 %", "> 99.9 %", "< 0.1 %", "0.0 %"]
    assert percent(None) == "–"


@pytest.mark.parametrize(
    ("score", "words"),
    [
        (1.0, "over-confident by 50.0"),
        (0.3, "under-confident by 20.0"),
        (0.5, "about as confident"),
    ],
)
def test_the_gap_in_words(score: float, words: str) -> None:
    half = evaluate([example(0, 0, score), example(0, 1, score)], PAIR)
    assert calibration_gap(half).startswith(words)


def test_a_long_text_is_cut_and_a_perfect_score_has_no_mistakes() -> None:
    page = render_report(evaluate([example(0, 1, text="x" * 5000)], PAIR), "title")
    assert "x" * 600 + " … (5,000 characters)" in page
    perfect = render_report(evaluate([example(0, 0)], PAIR), "title")
    assert "Most confident mistakes" not in perfect
    assert "No mistakes." in perfect
