"""Hugging Face Inference's dialect: POST / and POST /models/{model}.

The answer has a list around it for a single text, too, as the service itself has it: its clients,
huggingface_hub's and huggingface.js, take the first element.
"""

from typing import Annotated

from fastapi import Request
from pydantic import ConfigDict, Field
from starlette.responses import Response

from isobatch.serve.dialects.route import Dialect, call_of, json_response
from isobatch.serve.dialects.words import (
    Inputs,
    LabelScore,
    Strict,
    Whole,
    answers,
    label_scores,
    refusals,
)
from isobatch.types import ScoreActivation

dialect = Dialect("Hugging Face Inference")


class Parameters(Strict):
    """How scores are made, and how many are wanted."""

    function_to_apply: ScoreActivation | None = Field(
        default=None,
        description="As the model says, if absent: softmax, or sigmoid for several labels.",
    )
    top_k: Annotated[int, Field(ge=1), Whole] | None = Field(
        default=None, description="Only the so many highest labels."
    )
    truncation: bool | None = Field(default=None, description="Cut what is too long, or refuse it.")


class ServiceOptions(Strict):
    """What clients tell the service; none of it has a meaning for a model that is loaded."""

    wait_for_model: bool | None = None
    use_cache: bool | None = None
    use_gpu: bool | None = None


class InferenceRequest(Strict):
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

    inputs: Inputs
    parameters: Parameters = Parameters()
    options: ServiceOptions | None = Field(default=None, description="Read and not needed.")


_RESPONSES = answers("A list of labels for each text, the highest first")


@dialect.post(
    "/",
    summary="Classify texts and pairs",
    response_model=list[list[LabelScore]],
    responses=_RESPONSES | refusals(404),
)
async def infer(body: InferenceRequest, request: Request) -> Response:
    """What `huggingface_hub.InferenceClient(base_url=...).text_classification(text)` asks."""
    call = call_of(request)
    parameters = body.parameters
    answer = await call.answer(
        body.inputs.texts, truncate=parameters.truncation, single=body.inputs.single
    )
    head = call.engine.classifier.config.head
    activation = parameters.function_to_apply or head.score_activation
    rows = [label_scores(row, head.labels, activation) for row in answer.logits]
    return json_response([row[: parameters.top_k] for row in rows], call, answer)


@dialect.post(
    "/models/{model:path}",
    summary="The same, for clients that name the model",
    response_model=list[list[LabelScore]],
    responses=_RESPONSES | refusals(),
)
async def infer_by_name(body: InferenceRequest, request: Request, model: str) -> Response:
    """404 if `model` is not the one that is served."""
    call_of(request).check_model(model)
    return await infer(body, request)
