"""The smallest pair still shows the fault, is never longer, and costs no more tries than given."""

from hypothesis import given
from hypothesis import strategies as st

from isobatch.audit.diagnosis import Shrinker

WORDS = st.lists(st.sampled_from(["a", "bb", "ccc", "needle", "thread"]), min_size=1, max_size=12)


@given(WORDS, WORDS, st.integers(1, 60), st.booleans())
def test_what_comes_out_shows_the_fault_and_is_no_longer(
    words: list[str], others: list[str], tries: int, both: bool
) -> None:
    tried: list[tuple[str, str]] = []

    def shows(text: str, other: str) -> bool:
        tried.append((text, other))
        return "needle" in other and (not both or "thread" in text)

    text, other = " ".join(words), " ".join(others)
    shrinker = Shrinker(shows, tries)
    found = shrinker.first([(text, other)])
    if found is None:
        assert not ("needle" in other and (not both or "thread" in text))
        return
    small_text, small_other = shrinker.smallest(*found)
    assert len(tried) == len(set(tried)) <= tries
    assert len(small_text) <= len(text)
    assert len(small_other) <= len(other)
    assert (small_text, small_other) in tried
    assert shows(small_text, small_other)


def test_with_tries_enough_one_word_is_left() -> None:
    shrinker = Shrinker(lambda text, other: "needle" in other, 80)
    other = " ".join([*"abcdefgh", "needle", *"ijkl"])
    assert shrinker.smallest("x y z", other) == ("z", "needle")


def test_texts_without_words_stay_as_they_are() -> None:
    assert Shrinker(lambda text, other: True, 9).smallest("", "  ") in (("", ""), ("", "  "))


def test_without_a_pair_there_is_none() -> None:
    assert Shrinker(lambda text, other: False, 9).first([("a", "b")]) is None
    assert Shrinker(lambda text, other: True, 0).first([("a", "b")]) is None
