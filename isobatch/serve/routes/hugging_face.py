"""Hugging Face Inference's API for labels: POST / and POST /models/{model}.

A single text's labels have a list around them too, as in the service itself: its clients,
huggingface_hub's and huggingface.js, take the first element.
"""

from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from isobatch.serve.api_route import (
    ApiRoute,
    infer,
    json_response,
    served_classifier,
)
from isobatch.serve.body_errors import StrictModel
from isobatch.serve.openapi import describe_responses
from isobatch.serve.schema import Integral, LabelScore, TextsOrPairs
from isobatch.serve.text_field import TextField
from isobatch.types import ScoreActivation

TAG = "Hugging Face Inference"


_INPUTS = TextField("inputs", '"parameters": {"truncation": true}')


class Parameters(StrictModel):
    """How scores are computed, and how many are returned."""

    HINTS: ClassVar[Mapping[str, str]] = {
        "return_all_scores": "all labels are returned unless top_k is sent",
        "max_length": "texts are cut to the model's maximum length",
        "padding": "texts are not padded: leave it out",
        "candidate_labels": "the labels are the checkpoint's: it is not a zero-shot classifier",
        "aggregation_strategy": "entities need a token classifier, and this model classifies texts",
        "ignore_labels": "entities need a token classifier, and this model classifies texts",
    }

    function_to_apply: ScoreActivation | None = Field(
        default=None,
        description="Default: the checkpoint's own, softmax or, for multi-label models, sigmoid.",
    )
    top_k: Annotated[int, Field(ge=1), Integral] | None = Field(
        default=None, description="Number of labels to return, highest first. Default: all."
    )
    truncation: bool | None = Field(
        default=None, description="Whether to cut texts that are too long or refuse them."
    )


class ServiceOptions(StrictModel):
    """Options of the hosted service; accepted and ignored."""

    wait_for_model: bool | None = None
    use_cache: bool | None = None
    use_gpu: bool | None = None


class InferenceRequest(StrictModel):
    """Texts to classify."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"inputs": "Today is a nice day!"},
                {
                    "inputs": ["Today is a nice day!", {"text": "a", "text_pair": "b"}],
                    "parameters": {"function_to_apply": "none", "top_k": 1},
                },
            ]
        }
    )

    inputs: TextsOrPairs
    parameters: Parameters | None = None
    options: ServiceOptions | None = Field(default=None, description="Accepted and ignored.")


async def infer_labels(request: Request, body: InferenceRequest) -> Response:
    """Requests of `huggingface_hub.InferenceClient(base_url=...).text_classification(text)`."""
    parameters = body.parameters or Parameters()
    result = await infer(
        request,
        body.inputs.texts,
        field=_INPUTS,
        truncate=parameters.truncation,
        single=body.inputs.single,
    )
    classifier = served_classifier(request)
    rows = [classifier.ranked(row, parameters.function_to_apply) for row in result.outputs]
    return json_response(request, [row[: parameters.top_k] for row in rows], result)


_DESCRIPTION = "A list of labels for each text, highest first"

ROUTES = (
    ApiRoute(
        "/",
        infer_labels,
        tag=TAG,
        summary="Classify texts and pairs",
        response=list[list[LabelScore]],
        responses=describe_responses(_DESCRIPTION),
        operation_id="infer__post",
        tasks=("text-classification",),
    ),
    ApiRoute(
        "/models/{model:path}",
        infer_labels,
        tag=TAG,
        summary="The same, for clients that name the model",
        response=list[list[LabelScore]],
        responses=describe_responses(_DESCRIPTION, names_model=True),
        operation_id="infer_by_name_models__model__post",
        tasks=("text-classification",),
    ),
)
