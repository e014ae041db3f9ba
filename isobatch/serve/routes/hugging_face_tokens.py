"""Hugging Face Inference's API for entities: POST / and POST /models/{model}.

Requests of `huggingface_hub.InferenceClient.token_classification`. A single text's entities are a
list, those of several texts a list of lists, as in transformers' pipeline. `word` is the text
between `start` and `end`, not the tokens put together again.
"""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from isobatch.errors import InputError, OptionError
from isobatch.serve.api_route import ApiRoute, engine_of, infer, json_response
from isobatch.serve.body_errors import StrictModel
from isobatch.serve.engine import InferenceResult, Tokenize
from isobatch.serve.http_errors import ErrorCode, RequestError
from isobatch.serve.openapi import describe_responses
from isobatch.serve.routes.hugging_face import TAG, ServiceOptions
from isobatch.serve.schema import Integral, TextOrList
from isobatch.serve.text_field import TextField
from isobatch.tasks.entities import OUTSIDE, Aggregation, Entity, read_tags
from isobatch.tasks.token_classification import TokenClassifier
from isobatch.types import Encoding, TextInput, TextWindows, Truncation

_INPUTS = TextField("inputs", '"parameters": {"stride": 0}', "read it in windows")


class EntityParameters(StrictModel):
    """How tokens become entities."""

    HINTS: ClassVar[Mapping[str, str]] = {
        "grouped_entities": "send aggregation_strategy",
        "ignore_subwords": 'send aggregation_strategy: "first"',
        "is_split_into_words": "send the text as a string: leave it out",
        "top_k": "each entity has one label: leave it out",
        "truncation": "send stride to read long texts in windows, or start the server with "
        "--truncation",
        "candidate_labels": "the labels are the checkpoint's: it is not a zero-shot classifier",
    }

    aggregation_strategy: Aggregation = Field(
        default="simple", description="none: an entry for each token."
    )
    ignore_labels: list[str] | None = Field(
        default=None,
        description=f"Labels and types that are left out. Default: {json.dumps(OUTSIDE)}.",
    )
    stride: Annotated[int, Field(ge=0), Integral] | None = Field(
        default=None,
        description="Tokens that the windows of a long text share, at most half of a window. "
        "Default: a quarter, unless the server was started with another --truncation.",
    )


class EntitiesRequest(StrictModel):
    """Texts to find entities in."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"inputs": "Sarah lives in London."},
                {
                    "inputs": ["Sarah lives in London.", "Not sure."],
                    "parameters": {"aggregation_strategy": "first"},
                },
            ]
        }
    )

    inputs: TextOrList
    parameters: EntityParameters | None = None
    options: ServiceOptions | None = Field(default=None, description="Accepted and ignored.")


class FoundEntity(BaseModel):
    """An entity; of a single token, with aggregation_strategy none, `entity` has its tag."""

    entity_group: str | None = None
    entity: str | None = None
    score: float
    index: int | None = Field(default=None, description="Number of the token, from 1 on.")
    word: str
    start: int = Field(ge=0)
    end: int = Field(ge=0)


async def infer_entities(request: Request, body: EntitiesRequest) -> Response:
    """Requests of `huggingface_hub.InferenceClient(base_url=...).token_classification(text)`."""
    parameters = body.parameters or EntityParameters()
    engine = engine_of(request)
    classifier = engine.pipeline
    assert isinstance(classifier, TokenClassifier)
    _check_parameters(classifier, parameters)
    result = await infer(
        request,
        body.inputs.texts,
        field=_INPUTS,
        truncate=None,
        single=body.inputs.single,
        tokenize=_tokenize(classifier, parameters.stride),
    )
    rows = await engine.decode(lambda: _decoded(classifier, result, parameters), result.num_tokens)
    return json_response(request, rows[0] if body.inputs.single else rows, result)


def known_labels(classifier: TokenClassifier) -> tuple[str, ...]:
    """List what ignore_labels may name: labels, and the types of entities."""
    types = (tag.entity for tag in read_tags(classifier.labels))
    return (*dict.fromkeys([*OUTSIDE, *classifier.labels, *types]),)


def largest_stride(classifier: TokenClassifier) -> int:
    """Return half of a window: with more, the number of windows, and the work, has no bound."""
    return classifier.max_tokens // 2


def _check_parameters(classifier: TokenClassifier, parameters: EntityParameters) -> None:
    known = known_labels(classifier)
    unknown = [name for name in parameters.ignore_labels or () if name not in known]
    largest = largest_stride(classifier)
    if unknown:
        message = (
            f"parameters.ignore_labels: the checkpoint has no label {unknown[0][:40]!r}, only "
            f"{', '.join(known)}"
        )
    elif parameters.stride is not None and parameters.stride > largest:
        message = f"parameters.stride: expected at most {largest}, got {parameters.stride}"
    else:
        return
    raise RequestError(ErrorCode.VALIDATION, message)


def _tokenize(classifier: TokenClassifier, stride: int | None) -> Tokenize | None:
    if stride is None:
        return None
    windows = TextWindows(stride)

    def tokenize(
        texts: Sequence[TextInput], *, truncation: Truncation | None
    ) -> list[Encoding | InputError]:
        return classifier.tokenize(texts, truncation=truncation or windows)

    return tokenize


def _decoded(
    classifier: TokenClassifier, result: InferenceResult, parameters: EntityParameters
) -> list[list[dict[str, Any]]]:
    strategy = parameters.aggregation_strategy
    kind = "entity" if strategy == "none" else "entity_group"
    ignored = OUTSIDE if parameters.ignore_labels is None else parameters.ignore_labels
    tags = read_tags(classifier.labels)
    names = {tag.label if strategy == "none" else tag.entity for tag in tags}
    decode = partial(
        classifier.decode,
        aggregation=strategy,
        ignore_labels=[name for name in ignored if name in names],
    )
    try:
        predictions = list(map(decode, result.outputs, result.encodings))
    except OptionError as error:  # words, of a tokenizer that finds none
        message = f"parameters.aggregation_strategy: {error}"
        raise RequestError(ErrorCode.VALIDATION, message) from None
    return [[_as_json(each, kind) for each in row.entities] for row in predictions]


def _as_json(entity: Entity, kind: str) -> dict[str, Any]:
    index = {} if entity.index is None else {"index": entity.index}
    return {
        kind: entity.label,
        "score": entity.score,
        **index,
        "word": entity.text,
        "start": entity.start,
        "end": entity.end,
    }


_DESCRIPTION = "The entities of each text, in their order in it"

ROUTES = (
    ApiRoute(
        "/",
        infer_entities,
        tag=TAG,
        summary="Find entities in texts",
        response=list[FoundEntity] | list[list[FoundEntity]],
        responses=describe_responses(_DESCRIPTION),
        operation_id="infer_entities__post",
        tasks=("token-classification",),
    ),
    ApiRoute(
        "/models/{model:path}",
        infer_entities,
        tag=TAG,
        summary="The same, for clients that name the model",
        response=list[FoundEntity] | list[list[FoundEntity]],
        responses=describe_responses(_DESCRIPTION, names_model=True),
        operation_id="infer_entities_by_name_models__model__post",
        tasks=("token-classification",),
    ),
)
