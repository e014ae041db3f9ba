"""Hugging Face Inference's API for zero-shot classification, on the routes for labels.

A body with `candidate_labels` is one of `InferenceClient.zero_shot_classification`; any other is
classified by the checkpoint's own labels. A text counts once for each label in the limit of texts
per request.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from isobatch.errors import InputError, OptionError
from isobatch.serve.api_route import ApiRoute, engine_of, infer, json_response
from isobatch.serve.body_errors import StrictModel
from isobatch.serve.http_errors import ErrorCode, RequestError
from isobatch.serve.openapi import describe_responses
from isobatch.serve.routes.hugging_face import (
    TAG,
    InferenceRequest,
    ServiceOptions,
    infer_labels,
)
from isobatch.serve.schema import LabelScore, TextOrList
from isobatch.serve.text_field import MAX_CHARACTERS_PER_TOKEN, TextField
from isobatch.tasks.candidate_labels import DEFAULT_TEMPLATE, CandidateLabels
from isobatch.tasks.zero_shot import ZeroShotClassifier
from isobatch.types import Encoding, TextInput, Truncation

_INPUTS = TextField("inputs", '"parameters": {"truncation": true}')
_IN_BODY = {"labels": "candidate_labels", "template": "hypothesis_template"}

_Label = Annotated[str, Field(json_schema_extra={"pattern": r"\S"})]
_TEMPLATE = r"^([^{}]|\{\{|\}\})*\{\}([^{}]|\{\{|\}\})*$"


class ZeroShotParameters(StrictModel):
    """The labels to choose from, and how they are asked for."""

    HINTS: ClassVar[Mapping[str, str]] = {
        "candidate_labels": "a list, even of one: commas do not separate labels",
        "multi_class": "send multi_label",
        "top_k": "all labels are returned: use the first ones",
        "function_to_apply": "the scores are those of multi_label: leave it out",
    }

    candidate_labels: list[_Label] = Field(
        json_schema_extra={"minItems": 1, "uniqueItems": True},
        description="At least one label, none of them empty or twice.",
    )
    hypothesis_template: str = Field(
        default=DEFAULT_TEMPLATE,
        json_schema_extra={"pattern": _TEMPLATE},
        description="The hypothesis, with {} once, in the place of the label; braces that are not "
        "for the label are doubled.",
    )
    multi_label: bool = Field(
        default=False,
        description="Whether each label is true or false by itself. Otherwise the scores of all "
        "labels sum to 1.",
    )
    truncation: bool | None = Field(
        default=None,
        description="Whether to cut texts that are too long or refuse them. Labels are never cut.",
    )


class ZeroShotRequest(StrictModel):
    """Texts to classify by labels of the request."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "inputs": "The train was late again.",
                    "parameters": {"candidate_labels": ["travel", "sports"]},
                },
                {
                    "inputs": ["The train was late again."],
                    "parameters": {
                        "candidate_labels": ["travel", "sports"],
                        "hypothesis_template": "This text is about {}.",
                        "multi_label": True,
                    },
                },
            ]
        }
    )

    inputs: TextOrList
    parameters: ZeroShotParameters
    options: ServiceOptions | None = Field(default=None, description="Accepted and ignored.")

    @classmethod
    def takes(cls, content: object) -> bool:
        """Recognize a body by its candidate labels."""
        parameters = content.get("parameters") if isinstance(content, dict) else None
        return isinstance(parameters, dict) and "candidate_labels" in parameters


async def infer_any_labels(request: Request, body: ZeroShotRequest | InferenceRequest) -> Response:
    """Classify by `candidate_labels`, if there are any, or else by the checkpoint's own labels."""
    if isinstance(body, InferenceRequest):
        return await infer_labels(request, body)
    zero_shot = _zero_shot(request)
    parameters, inputs = body.parameters, body.inputs
    candidates = _checked(parameters)
    lengths = [len(candidates.template) + len(label) for label in candidates.labels]
    _check_lengths(candidates, max(lengths), zero_shot.max_tokens)
    result = await infer(
        request,
        inputs.texts,
        field=_INPUTS,
        truncate=parameters.truncation,
        single=inputs.single,
        tokenize=partial(_tokenize, zero_shot, candidates),
        per_text=len(candidates.labels),
        more_characters=sum(lengths),
    )
    predictions = map(zero_shot.decode, result.outputs, result.encodings)
    rows = [
        [{"label": label, "score": score} for label, score in prediction.ranked]
        for prediction in predictions
    ]
    return json_response(request, rows[0] if inputs.single else rows, result)


def _zero_shot(request: Request) -> ZeroShotClassifier:
    zero_shot = engine_of(request).zero_shot
    assert zero_shot is not None
    return zero_shot


def _checked(parameters: ZeroShotParameters) -> CandidateLabels:
    try:
        return CandidateLabels(
            tuple(parameters.candidate_labels),
            parameters.hypothesis_template,
            parameters.multi_label,
        )
    except OptionError as error:
        raise _refusal(error) from None


def _check_lengths(candidates: CandidateLabels, longest: int, max_tokens: int) -> None:
    """Refuse hypotheses that are too long before they are made: each label repeats the template."""
    limit = max_tokens * MAX_CHARACTERS_PER_TOKEN
    if longest > limit:
        name = "template" if len(candidates.template) > limit // 2 else "labels"
        raise RequestError(
            ErrorCode.VALIDATION,
            f"parameters.{_IN_BODY[name]}: a hypothesis has {longest:,} characters, for a model "
            f"that reads {max_tokens} tokens (maximum {limit:,} characters). Shorten it",
        )


def _tokenize(
    zero_shot: ZeroShotClassifier,
    candidates: CandidateLabels,
    texts: Sequence[TextInput],
    *,
    truncation: Truncation | None,
) -> list[Encoding | InputError]:
    try:
        return zero_shot.tokenize(
            texts,
            candidates.labels,
            candidates.template,
            candidates.multi_label,
            truncation=truncation,
        )
    except OptionError as error:  # a hypothesis that is too long
        raise _refusal(error) from None


def _refusal(error: OptionError) -> RequestError:
    """Say what is wrong by the names that the body has."""
    name, _, reason = str(error).partition(": ")
    return RequestError(ErrorCode.VALIDATION, f"parameters.{_IN_BODY.get(name, name)}: {reason}")


_RESPONSE = list[LabelScore] | list[list[LabelScore]]
_DESCRIPTION = "A list of labels, highest first; for several texts, or own labels, a list of lists"

ROUTES = (
    ApiRoute(
        "/",
        infer_any_labels,
        tag=TAG,
        summary="Classify texts by labels of the request",
        response=_RESPONSE,
        responses=describe_responses(_DESCRIPTION),
        operation_id="infer_any_labels__post",
        tasks=("zero-shot-classification",),
    ),
    ApiRoute(
        "/models/{model:path}",
        infer_any_labels,
        tag=TAG,
        summary="The same, for clients that name the model",
        response=_RESPONSE,
        responses=describe_responses(_DESCRIPTION, names_model=True),
        operation_id="infer_any_labels_by_name_models__model__post",
        tasks=("zero-shot-classification",),
    ),
)
