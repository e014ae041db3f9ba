"""scikit-learn's API of training: TextClassifier, an estimator on texts.

Invariant: `fit` computes what `isobatch.training.fit` computes with the same options, so that the
fitted model depends on base, texts, labels, weights and options alone.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from isobatch.errors import InputError, TrainingError
from isobatch.extras import needs_extra
from isobatch.types import TextInput

with needs_extra("train", "isobatch.sklearn"):
    from sklearn.base import BaseEstimator, ClassifierMixin  # type: ignore[import-untyped]
    from sklearn.utils import check_array, check_random_state  # type: ignore[import-untyped]
    from sklearn.utils.multiclass import (  # type: ignore[import-untyped]
        check_classification_targets,
        type_of_target,
    )
    from sklearn.utils.validation import (  # type: ignore[import-untyped]
        _check_sample_weight,
        check_consistent_length,
        check_is_fitted,
        column_or_1d,
    )

__all__ = ["TextClassifier"]

MAX_SEED = 2**31

NOT_OPTIONS = frozenset(
    {"base", "out", "class_weight", "validation_share", "random_state"}
    | {"teacher", "layers", "threads", "blocks_in_flight", "callback"}
)
"""Parameters of the estimator that are not fields of RecipeOptions of the same name."""


class TextClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier of texts that is trained by `fit` and works in scikit-learn's tools.

    base: a folder or hub id of a classifier or an encoder; None for the bundled model. out: a
    folder to write the checkpoint to; None for a temporary one. Do not name one in a
    cross-validation, where each fit is another run. class_weight: None, "balanced", or a weight
    for each class. validation_share: of the texts, held out to choose the best weights by.
    random_state: the seed, or a `numpy.random.RandomState` that one is drawn from. teacher, layers,
    threads, blocks_in_flight, callback: as `isobatch.training.fit.fit` takes them. All other
    parameters are the values of the recipe of `isobatch train`; None leaves one to the size of the
    base and of the data.

    X is a list, array or pandas Series of texts, or an array or DataFrame with a column of texts,
    or two columns of pairs; or a list of pairs. y has one class for each text, or is a matrix of 0
    and 1, [texts, labels], where a text may have several labels.

    Attributes: `classes_`, sorted as scikit-learn does; for a matrix the numbers of its columns.
    `classifier_`: the trained `isobatch.Classifier`. `seed_`: the seed that was used.
    """

    def __init__(
        self,
        base: str | Path | None = None,
        *,
        epochs: int | None = None,
        batch_size: int = 32,
        block_tokens: int = 256,
        learning_rate: float | None = None,
        layer_decay: float = 0.9,
        warm_up: float = 0.1,
        weight_decay: float = 0.01,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        clip_norm: float = 1.0,
        label_smoothing: float = 0.0,
        average_decay: float | None = None,
        evaluations_per_epoch: int = 2,
        patience: int = 3,
        metric: str | None = None,
        freeze: int = 0,
        precision: str = "fp32",
        teacher: str | Path | None = None,
        teacher_weight: float = 0.7,
        teacher_temperature: float = 2.0,
        layers: int | None = None,
        class_weight: Literal["balanced"] | Mapping[Any, float] | None = None,
        validation_share: float = 0.1,
        random_state: Any = 0,
        out: str | Path | None = None,
        threads: int | None = None,
        blocks_in_flight: int | None = None,
        callback: Callable[[Any], None] | None = None,
    ) -> None:
        self.base = base
        self.epochs = epochs
        self.batch_size = batch_size
        self.block_tokens = block_tokens
        self.learning_rate = learning_rate
        self.layer_decay = layer_decay
        self.warm_up = warm_up
        self.weight_decay = weight_decay
        self.beta1, self.beta2 = beta1, beta2
        self.epsilon = epsilon
        self.clip_norm = clip_norm
        self.label_smoothing = label_smoothing
        self.average_decay = average_decay
        self.evaluations_per_epoch, self.patience = evaluations_per_epoch, patience
        self.metric = metric
        self.freeze = freeze
        self.precision = precision
        self.teacher = teacher
        self.teacher_weight, self.teacher_temperature = teacher_weight, teacher_temperature
        self.layers = layers
        self.class_weight = class_weight
        self.validation_share = validation_share
        self.random_state = random_state
        self.out = out
        self.threads, self.blocks_in_flight = threads, blocks_in_flight
        self.callback = callback

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:  # noqa: N803
        """Train a classifier on texts and their classes; sample_weight weighs texts in the loss.

        Raises what `isobatch.training.fit.fit` raises, and ValueError for targets that are not
        classes.
        """
        from isobatch.training import fit  # heavy; and tests replace it

        texts = as_texts(X)
        targets = self._targets(y)
        check_consistent_length(texts, targets)
        weights = None
        if sample_weight is not None:
            weights = _check_sample_weight(sample_weight, texts, dtype=np.float64).tolist()
        self._set_classes(targets)
        seed = self.random_state
        if not isinstance(seed, int | np.integer):
            seed = check_random_state(seed).randint(MAX_SEED)
        self.seed_ = int(seed)
        parameters = self.get_params(deep=False)
        options = {name: parameters[name] for name in parameters if name not in NOT_OPTIONS}
        labels: Any = targets if self._is_multilabel else targets.tolist()
        self.classifier_ = fit.fit(
            self.base,
            texts,
            labels,
            weights=weights,
            validation_share=self.validation_share,
            out=self.out,
            teacher=self.teacher,
            layers=self.layers,
            task="multi" if self._is_multilabel else "single",
            class_weights=self._class_weights(),
            threads=self.threads,
            blocks_in_flight=self.blocks_in_flight,
            callback=self.callback,
            seed=self.seed_,
            **options,
        )
        self._columns = self._columns_of(self.classifier_.labels)
        return self

    def predict(self, X: Any) -> NDArray[Any]:  # noqa: N803
        """Return the class of each text, [texts]; for several labels a matrix of 0 and 1."""
        logits = self._logits(X)
        if self._is_multilabel:
            return (logits > 0).astype(int)
        classes: NDArray[Any] = self.classes_[logits.argmax(axis=1)]
        return classes

    def predict_proba(self, X: Any) -> NDArray[np.float64]:  # noqa: N803
        """Return the score of each class, [texts, classes], in the order of `classes_`."""
        check_is_fitted(self, "classifier_")
        scores: NDArray[np.float64] = self.classifier_.predict_proba(as_texts(X))
        return scores[:, self._columns]

    def decision_function(self, X: Any) -> NDArray[np.float64]:  # noqa: N803
        """Return the logits, [texts, classes]; for two classes their difference, [texts]."""
        logits = self._logits(X)
        if len(self.classes_) == 2 and not self._is_multilabel:
            return np.asarray(logits[:, 1] - logits[:, 0])
        return logits

    def _logits(self, X: Any) -> NDArray[np.float64]:  # noqa: N803
        check_is_fitted(self, "classifier_")
        logits: NDArray[np.float64] = self.classifier_.logits(as_texts(X)).astype(np.float64)
        return logits[:, self._columns]

    def _targets(self, y: Any) -> NDArray[Any]:
        if y is None:
            raise InputError(
                "TextClassifier requires y to be passed, but the target y is None. Pass the class "
                "of each text"
            )
        targets = check_array(y, dtype=None, ensure_2d=False, input_name="y")
        if type_of_target(targets) != "multilabel-indicator":
            targets = column_or_1d(targets, warn=True)
        check_classification_targets(targets)
        found: NDArray[Any] = targets
        return found

    def _set_classes(self, targets: NDArray[Any]) -> None:
        self._is_multilabel = targets.ndim == 2
        if self._is_multilabel:
            self.classes_ = np.arange(targets.shape[1])
            return
        self.classes_ = np.unique(targets)
        if len(self.classes_) < 2:
            only = self.classes_.tolist()[0]
            raise InputError(
                f"TextClassifier needs texts of at least 2 classes, got 1 class: {only!r}. Add "
                "texts of another one"
            )

    def _class_weights(self) -> Any:
        if isinstance(self.class_weight, Mapping):
            names = dict(zip(self.classes_.tolist(), self._names(), strict=True))
            return {names.get(key, key): weight for key, weight in self.class_weight.items()}
        return "none" if self.class_weight is None else self.class_weight

    def _names(self) -> list[str]:
        """Return the label of each class, as the training names it."""
        from isobatch.training.data.label_values import name_of, number_of, plain_value

        classes = [plain_value(each, "y") for each in self.classes_.tolist()]
        if self._is_multilabel:
            return [str(each) for each in classes]
        numbers = [number_of(each) for each in classes]
        whole = all(number is not None and number.is_integer() for number in numbers)
        return ["" if each is None else name_of(each, whole=whole) for each in classes]

    def _columns_of(self, labels: Sequence[str]) -> list[int]:
        """Return the column of the model's outputs that each class has."""
        names = self._names()
        if sorted(names) != sorted(labels):
            raise TrainingError(
                f"the classes {names} became the labels {list(labels)}, in which some cannot be "
                "distinguished. Give classes that differ in more than spaces or zeros"
            )
        return [labels.index(name) for name in names]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False  # of numbers, as scikit-learn's checks pass them
        tags.classifier_tags.multi_label = True
        return tags


def as_texts(X: Any) -> list[TextInput]:  # noqa: N803
    """Read texts, or pairs of texts: a list, an array, a Series, or a frame of one or two columns.

    Raises InputError, a ValueError, for other shapes, and for an item that is not a text or a pair.
    """
    if isinstance(X, str | bytes | Mapping) or not hasattr(X, "__len__"):
        raise InputError(
            f"expected a list or array of texts, got {type(X).__name__}. Put one text into a list"
        )
    rows = X.to_numpy() if hasattr(X, "to_numpy") else X
    if isinstance(rows, np.ndarray):
        if rows.ndim == 2 and rows.shape[1] == 1:
            rows = rows[:, 0]
        if rows.ndim > 2 or (rows.ndim == 2 and rows.shape[1] != 2):
            raise InputError(
                "expected texts, [texts] or [texts, 1], or pairs of texts, [texts, 2], got the "
                f"shape {list(rows.shape)}"
            )
    if not len(rows):
        raise InputError("expected at least one text, got 0 samples")
    return [_as_text(row, index) for index, row in enumerate(rows)]


def _as_text(row: Any, index: int) -> TextInput:
    if isinstance(row, str):
        return str(row)  # also NumPy's
    if isinstance(row, np.ndarray | list | tuple) and len(row) == 2:
        first, second = row
        if isinstance(first, str) and isinstance(second, str):
            return str(first), str(second)
    raise InputError(f"expected a text, or a pair of texts, got {str(row)[:60]!r}", index)
