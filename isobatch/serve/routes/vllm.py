"""vLLM's and SGLang's API: POST /v1/classify, and /classify.

vLLM's `user` and `priority` have no meaning here; they are accepted and ignored.
"""

import time
import uuid
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from isobatch.serve.api_route import (
    ApiRoute,
    check_model,
    check_side,
    engine_of,
    infer,
    json_response,
)
from isobatch.serve.body_errors import StrictModel
from isobatch.serve.openapi import describe_responses
from isobatch.serve.schema import Integral, Side, TextOrList
from isobatch.serve.text_field import TextField
from isobatch.tasks import rank_logits, score_logits

TAG = "vLLM and SGLang"


_INPUT = TextField("input", '"truncate_prompt_tokens": -1')


class ClassifyRequest(StrictModel):
    """Texts to classify."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"input": "Today is a nice day!"},
                {"input": ["Today is a nice day!", "Im not sure."], "use_activation": False},
            ]
        }
    )

    HINTS: ClassVar[Mapping[str, str]] = {
        "softmax": "send use_activation",
        "activation": "send use_activation",
        "messages": "send the text as input",
        "encoding_format": "scores are JSON numbers: leave it out",
        "padding": "texts are not padded: leave it out",
        "cache_salt": "send the header Cache-Control: no-cache",
        "truncate_prompt_tokens": "-1 cuts texts to the model's maximum length",
        "add_special_tokens": "the model needs them: leave it out",
    }

    input: TextOrList = Field(
        description="One text or a list of texts. Token ids are not supported."
    )
    model: str | None = Field(default=None, description="Name of the served model.")
    use_activation: bool | None = Field(
        default=None, description="false: logits instead of probabilities."
    )
    truncate_prompt_tokens: Annotated[Literal[-1], Integral] | None = Field(
        default=None, description="-1: cut texts that are too long. Other lengths are unsupported."
    )
    truncation_side: Side = None
    add_special_tokens: Literal[True] = True
    request_id: Annotated[str, Field(max_length=128)] | None = Field(
        default=None, description="Becomes the response's id, after `classify-`."
    )
    user: str | None = Field(default=None, description="Accepted and ignored.")
    priority: Annotated[int, Integral] = Field(
        default=0, description="Accepted and ignored: first come, first served."
    )


class Classification(BaseModel):
    """One text's result: the likeliest label, and all scores in the checkpoint's order."""

    index: int = Field(ge=0)
    label: str
    probs: list[float]
    num_classes: int = Field(ge=1)


class Usage(BaseModel):
    """Number of tokens of the request, including special tokens."""

    prompt_tokens: int
    total_tokens: int
    completion_tokens: Literal[0] = 0
    prompt_tokens_details: None = None


class ClassifyResponse(BaseModel):
    """The results, in the order of the texts."""

    id: str
    object: Literal["list"]
    created: int
    model: str
    data: list[Classification]
    usage: Usage


async def classify(request: Request, body: ClassifyRequest) -> Response:
    """Return all scores in the checkpoint's order, and the label of the highest."""
    check_model(request, body.model)
    check_side(request, "truncation_side", body.truncation_side)
    texts = body.input
    truncate = None if body.truncate_prompt_tokens is None else True
    result = await infer(request, texts.texts, field=_INPUT, truncate=truncate, single=texts.single)
    engine = engine_of(request)
    head = engine.pipeline.config.head
    activation = "none" if body.use_activation is False else head.score_activation
    data = []
    for index, logits in enumerate(result.outputs):
        probs = score_logits(logits, activation)
        label = head.labels[rank_logits(logits)[0]]
        data.append({"index": index, "label": label, "probs": probs, "num_classes": len(probs)})
    usage = Usage(prompt_tokens=result.num_tokens, total_tokens=result.num_tokens)
    content = {
        "id": f"classify-{body.request_id or uuid.uuid4().hex}",
        "object": "list",
        "created": int(time.time()),
        "model": engine.settings.model_name,
        "data": data,
        "usage": usage.model_dump(),
    }
    return json_response(request, content, result)


ROUTES = (
    ApiRoute(
        "/v1/classify",
        classify,
        tag=TAG,
        summary="Classify texts",
        response=ClassifyResponse,
        responses=describe_responses(names_model=True),
        tasks=("text-classification",),
    ),
    ApiRoute(
        "/classify",
        classify,
        tag=TAG,
        summary="The same, at vLLM's older path",
        response=ClassifyResponse,
        responses=describe_responses(names_model=True),
        tasks=("text-classification",),
        operation_id="classify_at_older_path",
    ),
)
