"""Equal texts are computed once, and cached logits are bit-identical to recomputed ones."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jobs.small_jobs import TEXTS, command, read_rows, small_checkpoint, write_rows

from isobatch import Classifier
from isobatch.batching.cache import MAX_CACHED_BYTES, Output, OutputCache, encoding_key
from isobatch.errors import InputError, OptionError
from isobatch.scoring import chunks
from isobatch.specification import PositionRule
from isobatch.tasks import Prediction, pipeline
from isobatch.types import Encoding


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_checkpoint(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def classifier(checkpoint: Path) -> Classifier:
    return Classifier.from_pretrained(checkpoint)


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The ids of every sequence that is packed for the model, one by one."""
    ids: list[tuple[int, ...]] = []
    pack = pipeline.pack

    def packed(encodings: Sequence[Encoding], positions: PositionRule) -> object:
        ids.extend(tuple(encoding.input_ids) for encoding in encodings)
        return pack(encodings, positions)

    monkeypatch.setattr(pipeline, "pack", packed)
    return ids


class Computer:
    """A fake model: logits of an encoding, and a record of its inputs."""

    def __init__(self) -> None:
        self.inputs: list[tuple[int, ...]] = []

    def __call__(self, encodings: Sequence[Encoding]) -> list[Output]:
        self.inputs += [tuple(each.input_ids) for each in encodings]
        return [np.array([each.input_ids[0], -1.0], np.float32) for each in encodings]


def encodings(*numbers: int) -> list[Encoding]:
    return [Encoding([number], [0]) for number in numbers]


def recalled(cache: OutputCache, computer: Computer, *numbers: int) -> list[tuple[int, ...]]:
    """Request these, check the outputs, and return which were computed."""
    computer.inputs.clear()
    rows = cache.get_or_compute(encodings(*numbers), computer)
    assert [row.tolist() for row in rows] == [[float(number), -1.0] for number in numbers]
    return computer.inputs


# -------------------------------------------------------------------------------------- the cache


def test_equal_encodings_of_one_call_are_computed_once() -> None:
    cache, computer = OutputCache(), Computer()
    assert recalled(cache, computer, 1, 2, 1, 1) == [(1,), (2,)]
    assert (cache.hits, len(cache)) == (2, 2)
    assert recalled(cache, computer, 2, 3) == [(3,)]
    assert (cache.hits, len(cache)) == (3, 3)


def test_the_least_recently_used_entry_is_evicted() -> None:
    cache, computer = OutputCache(3), Computer()
    recalled(cache, computer, 1, 2, 3)
    recalled(cache, computer, 1)
    recalled(cache, computer, 4)
    assert len(cache) == 3
    assert recalled(cache, computer, 1, 3, 4) == []
    assert recalled(cache, computer, 2) == [(2,)]
    assert recalled(cache, computer, 3, 4) == []
    assert recalled(cache, computer, 1) == [(1,)]


@pytest.mark.parametrize("bound", [0, 1, 5])
def test_the_bound_holds_also_after_a_call_beyond_it(bound: int) -> None:
    cache, computer = OutputCache(bound), Computer()
    assert recalled(cache, computer, *range(20), *range(20)) == [(number,) for number in range(20)]
    assert len(cache) == bound
    assert cache.hits == 20
    newest = list(range(20 - bound, 20))
    assert recalled(cache, computer, *newest) == []


def test_no_encodings_compute_nothing() -> None:
    cache = OutputCache()
    assert recalled(cache, Computer()) == []
    assert cache.get_or_compute([], lambda _: pytest.fail("computed nothing")) == []


def test_the_numbers_of_outputs_are_bounded_too() -> None:
    """Two numbers each, which are 8 bytes; the least recently used are evicted."""
    cache, computer = OutputCache(max_bytes=3 * 8 + 7), Computer()
    recalled(cache, computer, 1, 2, 3, 4, 5)
    assert (len(cache), cache.num_bytes) == (3, 24)
    assert recalled(cache, computer, 3, 4, 5) == []
    assert recalled(cache, computer, 1) == [(1,)]
    assert recalled(cache, computer, 4, 5, 1) == []
    assert (len(cache), cache.num_bytes) == (3, 24)


def test_the_bound_counts_outputs_of_any_shape() -> None:
    cache = OutputCache(max_bytes=4 * 1000)
    outputs = [np.zeros((length, 10), np.float32) for length in (30, 50, 20, 101)]
    for number, output in enumerate(outputs):
        found = cache.get_or_compute(encodings(number), lambda _, made=output: [made])
        assert found[0].shape == output.shape
        assert cache.num_bytes <= cache.max_bytes
    assert len(cache) == cache.num_bytes == 0, "the last one is larger than the bound"


def test_a_cache_of_vectors_has_a_bound_by_default() -> None:
    """768 numbers for each of 131,072 texts would be 403 MB."""
    cache = OutputCache()
    vector = np.zeros(768 * 1024, np.float32)
    for number in range(60):
        cache.get_or_compute(encodings(number), lambda _: [vector])
    assert cache.num_bytes <= MAX_CACHED_BYTES == 128 * 1024**2
    assert len(cache) == MAX_CACHED_BYTES // vector.nbytes


def test_a_bound_below_zero_is_refused() -> None:
    with pytest.raises(OptionError, match="-1"):
        OutputCache(-1)
    with pytest.raises(OptionError, match="max_bytes must be at least 0, got 3 and -2"):
        OutputCache(3, max_bytes=-2)


def test_a_failure_keeps_nothing() -> None:
    cache = OutputCache()

    def fail(_: Sequence[Encoding]) -> list[tuple[float, ...]]:
        raise MemoryError

    with pytest.raises(MemoryError):
        cache.get_or_compute(encodings(1), fail)
    assert len(cache) == cache.hits == 0


def test_encodings_that_the_model_reads_differently_have_keys_of_their_own() -> None:
    read = [([1, 2], [0, 0]), ([1, 2], [0, 1]), ([1], [0]), ([1, 2, 0], [0, 0, 0]), ([], [])]
    read += [([1, 2, 0, 0], [0] * 4), ([2, 1], [0, 0])]
    assert len({encoding_key(Encoding(*each)) for each in read}) == len(read)
    assert encoding_key(Encoding([1], [0], truncated=True)) == encoding_key(Encoding([1], [0]))


# --------------------------------------------------------------------------------- the classifier


@settings(max_examples=60)
@given(
    texts=st.lists(
        st.sampled_from([*TEXTS, "", "NICE", " nice ", "a " * 60, "a " * 50, None, 7, "\ud800"]),
        max_size=25,
    ),
    bound=st.integers(min_value=0, max_value=9),
    cuts=st.lists(st.integers(min_value=1, max_value=7), min_size=25, max_size=25),
)
def test_with_any_cache_every_text_has_the_prediction_it_has_alone(
    classifier: Classifier, texts: list[object], bound: int, cuts: list[int]
) -> None:
    cache = OutputCache(bound)
    predictions: list[Prediction | InputError] = []
    while len(predictions) < len(texts):
        size = cuts[len(predictions)]
        part = texts[len(predictions) : len(predictions) + size]
        predictions += classifier.predict_or_errors(part, cache=cache)
    for text, prediction in zip(texts, predictions, strict=True):
        if isinstance(text, str) and text != "\ud800":
            assert prediction == classifier(text)
        else:
            assert isinstance(prediction, InputError)
    assert len(cache) <= bound


def test_logits_from_the_cache_are_the_same_bits(
    classifier: Classifier, computed: list[tuple[int, ...]]
) -> None:
    cache = OutputCache()
    first = classifier.predict_or_errors(TEXTS, cache=cache)
    again = classifier.predict_or_errors(TEXTS[::-1], cache=cache)[::-1]
    assert len(computed) == len(TEXTS)
    kept = np.array([each.logits for each in again if isinstance(each, Prediction)], np.float32)
    assert kept.tobytes() == classifier.logits(TEXTS).tobytes()
    assert first == again


def test_a_stream_computes_equal_texts_once_across_its_windows(
    classifier: Classifier, computed: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "TEXTS_AHEAD", 4)
    texts = [*TEXTS, *TEXTS[::-1], "nice", "NICE"]
    predictions = list(classifier.predict_stream(texts))
    assert len(computed) == len(set(computed)) == len(TEXTS)
    assert predictions == [classifier(text) for text in texts]


def test_a_list_is_computed_as_it_is_given(
    classifier: Classifier, computed: list[tuple[int, ...]]
) -> None:
    """Only streams and jobs remember: else a claim about batches would compare the cache."""
    classifier(["nice", "nice"])
    assert len(computed) == 2


def test_a_job_computes_equal_texts_once_across_chunks_and_files(
    tmp_path: Path,
    checkpoint: Path,
    computed: list[tuple[int, ...]],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(chunks, "MAX_CHUNK_ROWS", 4)
    files = [write_rows(tmp_path / f"{name}.jsonl", [*TEXTS, *TEXTS, ""]) for name in "abc"]
    (tmp_path / "out").mkdir()
    assert command("run", *files, "-o", tmp_path / "out", "--model", checkpoint) == 0
    assert len(computed) == len(set(computed)) == len(TEXTS) + 1
    assert "32 duplicates not computed again" in capfd.readouterr().err
    written = [read_rows(tmp_path / "out" / file.name) for file in files]
    assert written[0] == written[1] == written[2]
    assert len({row["score"] for row in written[0]}) == len(TEXTS) + 1
