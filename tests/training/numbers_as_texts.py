"""Parts for scikit-learn's checks of TextClassifier: a quick training, and numbers as texts."""

# ruff: noqa: N803  # X is the name of scikit-learn

import inspect
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.utils.validation import validate_data

from isobatch.sklearn import TextClassifier
from isobatch.training.data.class_weights import text_weights
from isobatch.training.data.dataset import labelled_texts
from isobatch.training.data.label_scheme import infer_labels
from isobatch.training.data.targets import make_targets
from isobatch.training.fit import fit
from isobatch.training.recipe import RecipeOptions
from isobatch.types import TextInput

SIGNATURE = inspect.signature(fit)


class QuickClassifier:
    """Logistic regressions with the methods of a Classifier."""

    def __init__(self, labels: tuple[str, ...], models: list[Any], *, multi: bool) -> None:
        self.labels, self._models, self._multi = labels, models, multi

    def logits(self, texts: list[TextInput]) -> NDArray[np.float32]:
        rows = features(texts)
        columns = [each.decision_function(rows) for each in self._models]
        if not self._multi:
            [column] = columns
            columns = [-column / 2, column / 2] if column.ndim == 1 else list(column.T)
        return np.stack(columns, axis=1).astype(np.float32)

    def predict_proba(self, texts: list[TextInput]) -> NDArray[np.float64]:
        logits = self.logits(texts).astype(float)
        if self._multi:
            return np.asarray(1 / (1 + np.exp(-logits)))
        scores = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(scores / scores.sum(axis=1, keepdims=True))


class QuickFit:
    """Takes the place of `isobatch.training.fit.fit`: its arguments, checks and order of labels."""

    def __init__(self) -> None:
        self.given: dict[str, Any] = {}

    def __call__(self, *positional: Any, **named: Any) -> QuickClassifier:
        bound = SIGNATURE.bind(*positional, **named)
        bound.apply_defaults()
        self.given = dict(bound.arguments)
        RecipeOptions.from_dict(bound.arguments["options"])
        texts, labels, weights = (bound.arguments[n] for n in ("texts", "labels", "weights"))
        data = labelled_texts(texts, labels, weights)
        scheme = infer_labels(data.values, data.places, bound.arguments["task"], data.label_columns)
        targets = make_targets(scheme, data.values, data.places, data.label_columns)
        multi = scheme.task == "multi"
        choice = bound.arguments["class_weights"]
        shares = text_weights(scheme, targets, data.weights, choice)
        rows = features(data.texts)
        columns = targets.T if multi else [targets.argmax(axis=1)]
        models = [
            LogisticRegression(C=100.0, max_iter=1000).fit(rows, column, sample_weight=shares)
            for column in columns
        ]
        return QuickClassifier(scheme.labels, models, multi=multi)


def features(texts: list[TextInput]) -> NDArray[np.float64]:
    """The numbers that a text is written with, or how often it has each letter."""
    if texts and isinstance(texts[0], str) and texts[0].startswith("numbers "):
        return np.array([[float(n) for n in str(text).split()[1:]] for text in texts])
    joined = [text if isinstance(text, str) else " ".join(text) for text in texts]
    return np.array([[text.count(chr(97 + n)) for n in range(26)] for text in joined], float)


class NumbersAsTexts(TextClassifier):
    """A TextClassifier for scikit-learn's own checks, which pass matrices of numbers."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        if y is None:
            return super().fit(["text"], y)
        return super().fit(self._written(X, reset=True), y, sample_weight)

    def predict(self, X: Any) -> Any:
        return super().predict(self._read(X))

    def predict_proba(self, X: Any) -> Any:
        return super().predict_proba(self._read(X))

    def decision_function(self, X: Any) -> Any:
        return super().decision_function(self._read(X))

    def _read(self, X: Any) -> Any:
        return self._written(X, reset=False) if hasattr(self, "classifier_") else ["text"]

    def _written(self, X: Any, *, reset: bool) -> list[str]:
        rows = validate_data(self, X, reset=reset, dtype=np.float64)
        return [" ".join(["numbers", *map(repr, row)]) for row in rows.tolist()]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = tags.input_tags.one_d_array = False
        tags.input_tags.two_d_array = True
        return tags
