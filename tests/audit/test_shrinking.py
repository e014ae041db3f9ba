"""The smallest pair still shows the fault, is never longer, and costs no more tries than given."""

from hypothesis import given
from hypothesis import strategies as st

from isobatch.audit.shrinking import Shrinker

WORDS = st.lists(st.sampled_from(["a", "bb", "ccc", "needle", "thread"]), min_size=1, max_size=12)


@given(WORDS, WORDS, st.integers(1, 60), st.booleans())
def test_what_comes_out_shows_the_fault_and_is_no_longer(
    words: list[str], others: list[str], tries: int, both: bool
) -> None:
    asked: list[tuple[str, str]] = []

    def shows(text: str, company: str) -> bool:
        asked.append((text, company))
        return "needle" in company and (not both or "thread" in text)

    text, company = " ".join(words), " ".join(others)
    shrinker = Shrinker(shows, tries)
    found = shrinker.first([(text, company)])
    if found is None:
        assert not ("needle" in company and (not both or "thread" in text))
        return
    small_text, small_company = shrinker.smallest(*found)
    assert len(asked) == len(set(asked)) <= tries
    assert len(small_text) <= len(text)
    assert len(small_company) <= len(company)
    assert (small_text, small_company) in asked
    assert shows(small_text, small_company)


def test_with_tries_enough_one_word_is_left() -> None:
    shrinker = Shrinker(lambda text, company: "needle" in company, 80)
    company = " ".join([*"abcdefgh", "needle", *"ijkl"])
    assert shrinker.smallest("x y z", company) == ("z", "needle")


def test_texts_without_words_stay_as_they_are() -> None:
    assert Shrinker(lambda text, company: True, 9).smallest("", "  ") in (("", ""), ("", "  "))


def test_without_a_pair_there_is_none() -> None:
    assert Shrinker(lambda text, company: False, 9).first([("a", "b")]) is None
    assert Shrinker(lambda text, company: True, 0).first([("a", "b")]) is None
