"""TextClassifier: scikit-learn's own checks and tools, forms of texts, and a real training."""

import inspect
import pickle
import subprocess
import sys
import warnings
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numbers_as_texts import NumbersAsTexts, QuickFit
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import DataConversionWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import estimator_checks_generator
from tiny_checkpoints import Tiny, TinyFolder
from whole_checkpoints import write_whole

import isobatch.training.fit
from isobatch import Classifier
from isobatch.errors import InputError, OptionError, TrainingError
from isobatch.sklearn import NOT_OPTIONS, TextClassifier, as_texts
from isobatch.training.recipe import RecipeOptions

TEXTS = ["aa b", "a aa", "b bb", "bb b c", "a a c", "b b", "aaa", "bbb c"] * 4
CLASSES = ["first", "first", "second", "second", "first", "second", "first", "second"] * 4

NOT_MET = {
    "check_sample_weight_equivalence_on_dense_data": "a step has a fixed number of texts, so that "
    "a text of weight 2 is in one step, and a repeated text in two",
}
"""Checks of scikit-learn that a trained classifier does not meet, and why."""


@pytest.fixture
def quick_fit(monkeypatch: pytest.MonkeyPatch) -> QuickFit:
    """A quick training in the place of the real one."""
    quick = QuickFit()
    monkeypatch.setattr(isobatch.training.fit, "fit", quick)
    return quick


def named_checks() -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = estimator_checks_generator(NumbersAsTexts(), legacy=True)
        checks = [check for _, check in found]
    names = [check.func.__name__ for check in checks]
    return {f"{name}-{names[:n].count(name)}": checks[n] for n, name in enumerate(names)}


CHECKS = named_checks()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CHECKS)
def test_a_check_of_scikit_learn_is_met(name: str, quick_fit: QuickFit) -> None:
    """On matrices of numbers, which are written as texts: most checks have no others."""
    check = CHECKS[name]
    if reason := NOT_MET.get(name.partition("-")[0]):
        with pytest.raises(AssertionError):
            check(NumbersAsTexts())
        pytest.skip(reason)
    check(NumbersAsTexts())


def test_most_checks_are_run() -> None:
    assert len(CHECKS) > 60
    assert {name.partition("-")[0] for name in CHECKS} > NOT_MET.keys()


def test_parameters_are_those_of_the_recipe() -> None:
    """The same names and defaults, but for the seed, which is scikit-learn's random_state."""
    given = inspect.signature(TextClassifier).parameters
    options = {field.name: field.default for field in fields(RecipeOptions)}
    del options["seed"]
    assert {n: p.default for n, p in given.items() if n not in NOT_OPTIONS} == options
    assert given["random_state"].default == RecipeOptions().seed
    assert given.keys() > NOT_OPTIONS
    assert TextClassifier().get_params().keys() == given.keys()


def test_everything_is_passed_on_to_fit(quick_fit: QuickFit) -> None:
    weights = np.linspace(0.5, 1.5, len(TEXTS))
    events: list[Any] = []
    estimator = TextClassifier(
        "base",
        epochs=4,
        learning_rate=1e-3,
        class_weight={"first": 2.0, "second": 1.0},
        validation_share=0.25,
        random_state=7,
        out="folder",
        teacher="teacher",
        layers=2,
        threads=2,
        blocks_in_flight=1,
        callback=events.append,
    )
    estimator.fit(TEXTS, CLASSES, sample_weight=weights)
    given = quick_fit.given
    options = given.pop("options")
    assert (options["epochs"], options["learning_rate"], options["seed"]) == (4, 1e-3, 7)
    assert given == {
        "base": "base",
        "texts": TEXTS,
        "labels": CLASSES,
        "weights": weights.tolist(),
        "validation": None,
        "validation_share": 0.25,
        "out": "folder",
        "task": "single",
        "class_weights": {"first": 2.0, "second": 1.0},
        "threads": 2,
        "blocks_in_flight": 1,
        "restart": False,
        "teacher": "teacher",
        "unlabelled": None,
        "layers": 2,
        "callback": estimator.callback,
    }


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (["b", "a"], ["a", "b"]),
        ([10, 9], ["9", "10"]),
        (["item 10", "item 9"], ["item 9", "item 10"]),
        ([2.0, 1.0], ["1", "2"]),
        ([True, False], None),
        (["1.50", "1.25"], ["1.25", "1.50"]),
        (np.array(["x", "é"], dtype=object), ["x", "é"]),
    ],
)
def test_classes_are_sorted_and_have_the_scores_of_their_labels(
    values: Any, names: list[str] | None, quick_fit: QuickFit
) -> None:
    """The natural order of labels ("9" before "10") need not be the order of `classes_`."""
    y = np.array([values[0] if each == "first" else values[1] for each in CLASSES])
    estimator = TextClassifier(class_weight="balanced").fit(TEXTS, y)
    assert estimator.classes_.tolist() == sorted(values)
    if names:
        assert list(estimator.classifier_.labels) == names
    predicted = estimator.predict(TEXTS)
    assert predicted.dtype == y.dtype
    assert estimator.score(TEXTS, y) == 1.0
    proba = estimator.predict_proba(TEXTS)
    assert (estimator.classes_[proba.argmax(axis=1)] == y).all()
    above = estimator.decision_function(TEXTS) > 0
    assert (estimator.classes_[above.astype(int)] == y).all()
    weights = {each: 1.0 for each in estimator.classes_.tolist()}
    assert TextClassifier(class_weight=weights).fit(TEXTS, y).score(TEXTS, y) == 1.0


def test_classes_that_are_one_label_are_refused(quick_fit: QuickFit) -> None:
    with pytest.raises(TrainingError, match="cannot be distinguished"):
        TextClassifier().fit(TEXTS[:4] * 3, ["a", " a", "b", "b"] * 3)


def test_several_labels_are_a_matrix(quick_fit: QuickFit) -> None:
    y = np.array([["a" in text, "b" in text, "c" in text] for text in TEXTS], int)
    estimator = TextClassifier().fit(TEXTS, y)
    assert quick_fit.given["task"] == "multi"
    assert estimator.classes_.tolist() == [0, 1, 2]
    assert (estimator.predict(TEXTS) == y).all()
    assert estimator.predict_proba(TEXTS).shape == y.shape
    assert ((estimator.decision_function(TEXTS) > 0) == y).all()


class Series(list[str]):
    """As a pandas Series is read."""

    def to_numpy(self) -> Any:
        return np.array(list(self), dtype=object)


def test_texts_may_have_any_form() -> None:
    texts, pairs = ["a", "b c"], [("a", "b"), ("c", "d")]
    for given in (texts, tuple(texts), np.array(texts), np.array(texts, object), Series(texts)):
        assert as_texts(given) == texts
        assert [type(each) for each in as_texts(given)] == [str, str]
    assert as_texts(np.array([["a"], ["b c"]])) == texts
    for given in (pairs, np.array(pairs), np.array(pairs, object), [["a", "b"], ["c", "d"]]):
        assert as_texts(given) == pairs


@pytest.mark.parametrize(
    "given", ["text", b"text", {"a": 1}, iter(["a"]), np.zeros((2, 3)), np.zeros((2, 2, 2)), [], 3]
)
def test_no_texts_are_refused(given: Any) -> None:
    with pytest.raises(InputError, match="expected"):
        as_texts(given)


@pytest.mark.parametrize("item", [None, float("nan"), 3, ("a",), ("a", 3), ("a", "b", "c"), ["a"]])
def test_an_item_that_is_no_text_is_named_by_its_index(item: Any) -> None:
    with pytest.raises(InputError, match=r"^text 1: expected a text, or a pair of texts"):
        as_texts(["a", item])


def test_targets_that_are_no_classes_are_refused(quick_fit: QuickFit) -> None:
    estimator = TextClassifier()
    for y, message in (
        (None, "requires y to be passed"),
        (["a"] * len(TEXTS), "at least 2 classes, got 1 class: 'a'"),
        (np.linspace(0, 1, len(TEXTS)), "continuous"),
        (CLASSES[1:], "inconsistent numbers of samples"),
    ):
        with pytest.raises(ValueError, match=message):
            estimator.fit(TEXTS, y)
    with pytest.warns(DataConversionWarning):
        estimator.fit(TEXTS, np.array(CLASSES)[:, None])
    with pytest.raises(OptionError, match="epochs must be"):
        TextClassifier(epochs=0).fit(TEXTS, CLASSES)
    with pytest.raises(NotFittedError):
        clone(estimator).predict(TEXTS)


def test_the_seed_follows_from_the_random_state(quick_fit: QuickFit) -> None:
    def seed(random_state: Any) -> int:
        return int(TextClassifier(random_state=random_state).fit(TEXTS, CLASSES).seed_)

    assert seed(3) == seed(np.int64(3)) == 3
    assert seed(np.random.RandomState(5)) == seed(np.random.RandomState(5))
    np.random.seed(0)
    assert seed(None) != seed(None)


def test_the_tools_of_scikit_learn_take_it(quick_fit: QuickFit) -> None:
    pairs = [(text, text[::-1]) for text in TEXTS]
    estimator = TextClassifier(epochs=1)
    assert cross_val_score(estimator, TEXTS, CLASSES, cv=2).tolist() == [1.0, 1.0]
    assert cross_val_predict(estimator, pairs, CLASSES, cv=2).tolist() == CLASSES
    proba = cross_val_predict(estimator, np.array(TEXTS), CLASSES, cv=2, method="predict_proba")
    assert proba.shape == (len(TEXTS), 2)
    grid = GridSearchCV(estimator, {"epochs": [1, 2], "class_weight": [None, "balanced"]}, cv=2)
    assert grid.fit(TEXTS, CLASSES).best_score_ == 1.0
    assert grid.predict(TEXTS).tolist() == CLASSES
    calibrated = CalibratedClassifierCV(estimator, cv=2).fit(TEXTS, CLASSES)
    assert calibrated.predict(TEXTS).tolist() == CLASSES
    lower = FunctionTransformer(lambda texts: [text.lower() for text in texts])
    pipeline = Pipeline([("lower", lower), ("classifier", estimator)])
    upper = [text.upper() for text in TEXTS]
    pipeline.fit(upper, CLASSES, classifier__sample_weight=np.ones(len(TEXTS)))
    assert pipeline.predict(upper).tolist() == CLASSES
    assert quick_fit.given["weights"] == [1.0] * len(TEXTS)


@pytest.fixture(scope="module")
def checkpoint(tiny_folder: TinyFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_whole(tmp_path_factory.mktemp("base") / "tiny", Tiny("bert"), tiny_folder)


def test_a_real_training_is_repeated_by_a_clone_and_survives_pickling(checkpoint: Path) -> None:
    texts = [f"{text} {'a' * (number % 5)}" for number, text in enumerate(TEXTS)]
    estimator = TextClassifier(checkpoint, epochs=1, batch_size=8, random_state=1)
    estimator.fit(texts, CLASSES)
    assert isinstance(estimator.classifier_, Classifier)
    logits = estimator.decision_function(texts)
    scores = estimator.predict_proba(texts)
    assert np.array_equal(scores, estimator.classifier_.predict_proba(texts))
    again = clone(estimator).fit(texts, CLASSES)
    assert np.array_equal(again.decision_function(texts), logits)
    stored = pickle.dumps(estimator)
    del estimator
    assert np.array_equal(pickle.loads(stored).predict_proba(texts), scores)
    other = clone(again).set_params(random_state=2).fit(texts, CLASSES)
    assert not np.array_equal(other.decision_function(texts), logits)


def test_the_extra_is_named_where_scikit_learn_is_missing() -> None:
    code = (
        "import sys; sys.modules['sklearn'] = None\n"
        "try: import isobatch.sklearn\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("OptionError isobatch.sklearn: the library 'sklearn")
    assert 'pip install "isobatch[train]"' in done.stdout


def test_importing_it_loads_no_torch() -> None:
    code = "import sys, isobatch.sklearn; print(sorted(m for m in sys.modules if 'torch' == m))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
