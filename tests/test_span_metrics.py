"""Spans and their metrics are those of seqeval, on random sequences of tags."""

import warnings
from typing import Any

import pytest
import seqeval.metrics
import seqeval.scheme
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities

from isobatch.errors import InputError
from isobatch.evaluation.span_counts import SpanCounts
from isobatch.evaluation.tag_schemes import SCHEMES, Scheme, TagSpan, spans_of

LETTERS = {"iob2": "BI", "iobes": "BIES", "bilou": "BILU"}
TYPES = ("PER", "LOC", "B-ORG", "_x")


def tags_of(letters: str, types: tuple[str, ...] = TYPES) -> st.SearchStrategy[str]:
    tag = st.builds("{}-{}".format, st.sampled_from(letters), st.sampled_from(types))
    return st.one_of(st.just("O"), tag, st.sampled_from(letters))


def sequences(letters: str) -> st.SearchStrategy[list[list[str]]]:
    return st.lists(st.lists(tags_of(letters), max_size=9), min_size=1, max_size=4)


@st.composite
def texts(draw: st.DrawFn, letters: str) -> list[tuple[list[str], list[str]]]:
    """Several texts, each with expected and predicted tags of one length."""
    found = []
    for expected in draw(sequences(letters)):
        size = len(expected)
        found.append((expected, draw(st.lists(tags_of(letters), min_size=size, max_size=size))))
    return found


def theirs(tags: list[str]) -> set[TagSpan]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {TagSpan(start, last + 1, label) for label, start, last in get_entities(tags)}


@given(st.lists(tags_of("BIES"), max_size=12))
def test_default_spans_are_those_of_seqeval(tags: list[str]) -> None:
    assert spans_of(tags) == theirs(tags)


@given(st.lists(tags_of("BILU"), max_size=12))
def test_l_and_u_are_read_as_e_and_s(tags: list[str]) -> None:
    """seqeval's default mode takes both for tags of no kind: two U of a type are one span there."""
    renamed = [tag.replace("L", "E", 1) if tag[0] == "L" else tag for tag in tags]
    renamed = [tag.replace("U", "S", 1) if tag[0] == "U" else tag for tag in renamed]
    assert spans_of(tags) == theirs(renamed)
    assert spans_of(["U-PER", "U-PER"]) != theirs(["U-PER", "U-PER"])


@pytest.mark.parametrize("scheme", SCHEMES)
@given(data=st.data())
def test_strict_spans_are_those_of_seqeval(scheme: Scheme, data: st.DataObject) -> None:
    tags = data.draw(st.lists(tags_of(LETTERS[scheme]), max_size=12))
    found = seqeval.scheme.Entities([tags], getattr(seqeval.scheme, scheme.upper())).entities[0]
    assert spans_of(tags, scheme) == {TagSpan(each.start, each.end, each.tag) for each in found}


def report(pairs: list[tuple[list[str], list[str]]], **how: Any) -> dict[str, Any]:
    expected, predicted = ([list(each) for each in side] for side in zip(*pairs, strict=True))
    return dict(
        seqeval.metrics.classification_report(
            expected, predicted, output_dict=True, zero_division=0, **how
        )
    )


@pytest.mark.parametrize("scheme", [None, *SCHEMES])
@given(data=st.data())
def test_metrics_are_those_of_seqeval(scheme: Scheme | None, data: st.DataObject) -> None:
    pairs = data.draw(texts(LETTERS[scheme] if scheme else "BIES"))
    counts = SpanCounts()
    for expected, predicted in pairs:
        counts.add(spans_of(expected, scheme), spans_of(predicted, scheme))
    if not counts.types:  # of which seqeval raises an error
        assert counts.micro.f1 is counts.macro.f1 is counts.weighted.f1 is None
        return
    strict = {"mode": "strict", "scheme": getattr(seqeval.scheme, scheme.upper())} if scheme else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        known = report(pairs, **strict)
    found = {f"{each.label} avg": each for each in (counts.micro, counts.macro, counts.weighted)}
    found |= {each.label: each for each in counts.types}
    assert found.keys() == known.keys()
    for name, metrics in found.items():
        for metric in ("precision", "recall"):
            assert (getattr(metrics, metric) or 0) == pytest.approx(known[name][metric], abs=1e-12)
        assert (metrics.f1 or 0) == pytest.approx(known[name]["f1-score"], abs=1e-12)
        assert metrics.support == known[name]["support"]


def test_numbers_done_by_hand() -> None:
    counts = SpanCounts()
    expected = spans_of(["B-PER", "I-PER", "O", "B-LOC", "O", "B-LOC"])
    predicted = spans_of(["B-PER", "O", "O", "B-LOC", "B-ORG", "B-LOC"])
    counts.add(expected, predicted)
    loc, org, per = counts.types
    assert (loc.precision, loc.recall, loc.f1) == (1.0, 1.0, 1.0)
    assert (org.precision, org.recall, org.f1, org.support) == (0.0, None, 0.0, 0)
    assert (per.precision, per.recall, per.f1) == (0.0, 0.0, 0.0)
    assert (counts.micro.precision, counts.micro.recall) == (2 / 4, 2 / 3)
    assert counts.macro.f1 == 1 / 3


@pytest.mark.parametrize(
    ("tags", "scheme", "words"),
    [
        (["PER"], None, "'PER' is unknown"),
        (["B-"], None, "'B-' is unknown"),
        (["O-PER"], None, "'O-PER' is unknown"),
        (["b-per"], None, "'b-per' is unknown"),
        ([""], None, "'' is unknown"),
        (["S-PER"], "iob2", "'S-PER' is unknown.*B, I of the scheme iob2"),
        (["E-PER"], "bilou", "B, I, L, U of the scheme bilou"),
    ],
)
def test_an_unknown_tag_is_an_error(tags: list[str], scheme: Scheme | None, words: str) -> None:
    with pytest.raises(InputError, match=words):
        spans_of(tags, scheme)
