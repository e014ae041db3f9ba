"""The drop-in API: a script written for transformers runs with only its import line changed."""

from isobatch.compat.auto_model import AutoModel, AutoModelForSequenceClassification
from isobatch.compat.collator import DataCollatorWithPadding
from isobatch.compat.model_config import AutoConfig
from isobatch.compat.text_classification import pipeline
from isobatch.compat.tokenizer import AutoTokenizer

__all__ = [
    "AutoConfig",
    "AutoModel",
    "AutoModelForSequenceClassification",
    "AutoTokenizer",
    "DataCollatorWithPadding",
    "pipeline",
]
