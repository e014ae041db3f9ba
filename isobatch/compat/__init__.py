"""The drop-in API: a script written for transformers runs with only its import line changed."""

from isobatch.compat.auto_model import (
    AutoModel,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)
from isobatch.compat.collator import DataCollatorForTokenClassification, DataCollatorWithPadding
from isobatch.compat.model_config import AutoConfig
from isobatch.compat.pipeline_entry import pipeline
from isobatch.compat.tokenizer import AutoTokenizer

__all__ = [
    "AutoConfig",
    "AutoModel",
    "AutoModelForSequenceClassification",
    "AutoModelForTokenClassification",
    "AutoTokenizer",
    "DataCollatorForTokenClassification",
    "DataCollatorWithPadding",
    "pipeline",
]
