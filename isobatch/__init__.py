"""Isobatch: batched inference for text classifiers in which the batch never changes the answer.

Only public names live here, each imported at its first use, so that `import isobatch`
costs nothing and `isobatch --help` does not wait for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from isobatch.audit import assert_batch_invariant, assert_gradient_invariant
    from isobatch.compat import (
        AutoConfig,
        AutoModel,
        AutoModelForSequenceClassification,
        AutoModelForTokenClassification,
        AutoTokenizer,
        DataCollatorForTokenClassification,
        DataCollatorWithPadding,
        pipeline,
    )
    from isobatch.errors import IsobatchError, MissingAttentionMaskWarning
    from isobatch.tasks import (
        Classifier,
        Embedder,
        Embedding,
        Entity,
        Prediction,
        Reranker,
        TokenClassifier,
        TokenPrediction,
        ZeroShotClassifier,
    )
    from isobatch.training.fit import fit
    from isobatch.types import TextWindows

__version__ = "0.1.0"

__all__ = [
    "AutoConfig",
    "AutoModel",
    "AutoModelForSequenceClassification",
    "AutoModelForTokenClassification",
    "AutoTokenizer",
    "Classifier",
    "DataCollatorForTokenClassification",
    "DataCollatorWithPadding",
    "Embedder",
    "Embedding",
    "Entity",
    "IsobatchError",
    "MissingAttentionMaskWarning",
    "Prediction",
    "Reranker",
    "TextWindows",
    "TokenClassifier",
    "TokenPrediction",
    "ZeroShotClassifier",
    "__version__",
    "assert_batch_invariant",
    "assert_gradient_invariant",
    "fit",
    "pipeline",
]

_ROOMS = {
    "AutoConfig": "isobatch.compat",
    "AutoModel": "isobatch.compat",
    "AutoModelForSequenceClassification": "isobatch.compat",
    "AutoModelForTokenClassification": "isobatch.compat",
    "AutoTokenizer": "isobatch.compat",
    "Classifier": "isobatch.tasks",
    "DataCollatorForTokenClassification": "isobatch.compat",
    "DataCollatorWithPadding": "isobatch.compat",
    "Entity": "isobatch.tasks",
    "Embedder": "isobatch.tasks",
    "Embedding": "isobatch.tasks",
    "IsobatchError": "isobatch.errors",
    "MissingAttentionMaskWarning": "isobatch.errors",
    "Prediction": "isobatch.tasks",
    "Reranker": "isobatch.tasks",
    "ZeroShotClassifier": "isobatch.tasks",
    "TextWindows": "isobatch.types",
    "TokenClassifier": "isobatch.tasks",
    "TokenPrediction": "isobatch.tasks",
    "assert_batch_invariant": "isobatch.audit",
    "assert_gradient_invariant": "isobatch.audit",
    "fit": "isobatch.training.fit",
    "pipeline": "isobatch.compat",
}


def __getattr__(name: str) -> object:
    if name not in _ROOMS:
        raise AttributeError(f"module 'isobatch' has no attribute {name!r}")
    return getattr(import_module(_ROOMS[name]), name)


def __dir__() -> list[str]:
    return __all__
