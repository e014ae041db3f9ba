"""vLLM's and SGLang's dialect: POST /v1/classify, and /classify.

What vLLM's clients send and what has no meaning here is read and not needed: `user` and `priority`.
"""

import time
import uuid
from typing import Annotated, Literal

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from isobatch.serve.dialects.route import Dialect, call_of, json_response
from isobatch.serve.dialects.words import Strict, Texts, Whole, answers, refusals
from isobatch.tasks import score_logits

dialect = Dialect("vLLM and SGLang")


class ClassifyRequest(Strict):
    """Texts to classify."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"input": "Today is a nice day!"},
                {"input": ["Today is a nice day!", "Im not sure."], "use_activation": False},
            ]
        }
    )

    input: str | Texts = Field(description="One text or a list of texts; token ids are not taken.")
    model: str | None = Field(default=None, description="The model that is served, or nothing.")
    use_activation: bool | None = Field(
        default=None, description="false: logits instead of probabilities."
    )
    truncate_prompt_tokens: Annotated[Literal[-1], Whole] | None = Field(
        default=None, description="-1: cut what is too long. Other lengths are not offered."
    )
    truncation_side: Literal["right"] | None = None
    add_special_tokens: Literal[True] = True
    request_id: Annotated[str, Field(max_length=128)] | None = Field(
        default=None, description="Becomes the answer's id, after `classify-`."
    )
    user: str | None = Field(default=None, description="Read and not needed.")
    priority: Annotated[int, Whole] = Field(
        default=0, description="Read and not needed: first come, first served."
    )


class Classification(BaseModel):
    """One text's answer: the likeliest label, and all scores in the checkpoint's order."""

    index: int = Field(ge=0)
    label: str
    probs: list[float]
    num_classes: int = Field(ge=1)


class Usage(BaseModel):
    """Tokens of the request, special ones included."""

    prompt_tokens: int
    total_tokens: int
    completion_tokens: Literal[0] = 0
    prompt_tokens_details: None = None


class ClassifyResponse(BaseModel):
    """The answers, in the order of the texts."""

    id: str
    object: Literal["list"]
    created: int
    model: str
    data: list[Classification]
    usage: Usage


@dialect.post(
    "/v1/classify",
    summary="Classify texts",
    response_model=ClassifyResponse,
    responses=answers() | refusals(),
)
async def classify(body: ClassifyRequest, request: Request) -> Response:
    """All scores in the checkpoint's order, and the label of the highest."""
    call = call_of(request)
    call.check_model(body.model)
    single = isinstance(body.input, str)
    texts = [body.input] if isinstance(body.input, str) else body.input
    truncate = None if body.truncate_prompt_tokens is None else True
    answer = await call.answer(texts, truncate=truncate, single=single)
    head = call.engine.classifier.config.head
    activation = "none" if body.use_activation is False else head.score_activation
    data = []
    for index, logits in enumerate(answer.logits):
        probs = score_logits(logits, activation)
        label = head.labels[max(range(len(probs)), key=probs.__getitem__)]
        data.append({"index": index, "label": label, "probs": probs, "num_classes": len(probs)})
    content = {
        "id": f"classify-{body.request_id or uuid.uuid4().hex}",
        "object": "list",
        "created": int(time.time()),
        "model": call.engine.settings.model_name,
        "data": data,
        "usage": Usage(
            prompt_tokens=answer.num_tokens, total_tokens=answer.num_tokens
        ).model_dump(),
    }
    return json_response(content, call, answer)


dialect.post(
    "/classify",
    summary="The same, at vLLM's older path",
    response_model=ClassifyResponse,
    responses=answers() | refusals(),
    operation_id="classify_at_older_path",
)(classify)
