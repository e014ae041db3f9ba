"""The drop-in API: a script written for transformers runs with only its import line changed."""

from isobatch.compat.model import AutoModelForSequenceClassification
from isobatch.compat.tokenizer import AutoTokenizer

__all__ = ["AutoModelForSequenceClassification", "AutoTokenizer"]
