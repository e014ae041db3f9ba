"""The values of request fields that depend on the served model, as JSON schemas for OpenAPI."""

from collections.abc import Mapping
from typing import Any

from isobatch.serve.routes.hugging_face_tokens import known_labels, largest_stride
from isobatch.tasks import Pipeline
from isobatch.tasks.embedding import Embedder
from isobatch.tasks.token_classification import TokenClassifier

SIDE_FIELDS = ("truncation_direction", "truncation_side")

_NULL: Mapping[str, Any] = {"type": "null"}


def model_values(pipeline: Pipeline[Any]) -> dict[str, dict[str, Any]]:
    """Return the schema of each such field by its name; those of other models are left out."""
    side = pipeline.truncation_side
    values: dict[str, dict[str, Any]] = {
        name: {"enum": [side, side.title(), None]} for name in SIDE_FIELDS
    }
    if isinstance(pipeline, Embedder):
        values["dimensions"] = {"enum": [pipeline.size, None]}
        values["prompt_name"] = {"enum": [*pipeline.prompts, None]}
        values["normalize"] = {"enum": [True] if pipeline.normalizes else [True, False]}
    if isinstance(pipeline, TokenClassifier):
        names = {"type": "array", "items": {"enum": [*known_labels(pipeline)]}}
        stride = {"type": "integer", "minimum": 0, "maximum": largest_stride(pipeline)}
        values["ignore_labels"] = {"anyOf": [names, _NULL]}
        values["stride"] = {"anyOf": [stride, _NULL]}
    return values
