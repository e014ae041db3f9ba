"""The rerank API of Jina and Cohere: POST /v1/rerank, and /v2/rerank, Cohere's newer path.

Documents are in the response unless the request says otherwise, as Jina does; Cohere's clients
ignore them. vLLM's `user` and `priority` are accepted and ignored.
"""

import uuid
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainValidator
from starlette.requests import Request
from starlette.responses import Response

from isobatch.serve.api_route import ApiRoute, check_model, engine_of, json_response
from isobatch.serve.body_errors import StrictModel
from isobatch.serve.openapi import describe_responses
from isobatch.serve.rank_texts import rank_texts
from isobatch.serve.schema import Integral, expected
from isobatch.serve.text_field import TextField

TAG = "Jina and Cohere"

_DOCUMENTS = TextField("documents", '"truncate_prompt_tokens": -1')


class Document(StrictModel):
    """A document as an object."""

    text: str


def _read_documents(value: object) -> list[str]:
    if not isinstance(value, list):
        raise expected("a list of texts", value)
    return [_read_document(each, f"[{n}]") for n, each in enumerate(value)]


def _read_document(value: object, place: str) -> str:
    text = value["text"] if isinstance(value, dict) and value.keys() == {"text"} else value
    if isinstance(text, str):
        return text
    got = f"an object with {', '.join(value)[:40]}" if isinstance(value, dict) and value else None
    raise expected('a text, or an object with "text" alone', value, place, got=got)


_NonEmptyDocuments = Annotated[list[str | Document], Field(min_length=1)]
Documents = Annotated[
    list[str], PlainValidator(_read_documents, json_schema_input_type=_NonEmptyDocuments)
]


class DocumentsRequest(StrictModel):
    """A query, and documents to rank by how well they answer it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "query": "What is padding?",
                    "documents": ["Zeros at the end.", {"text": "A kind of bread."}],
                    "top_n": 1,
                }
            ]
        }
    )

    HINTS: ClassVar[Mapping[str, str]] = {
        "texts": "send them as documents, or to /rerank",
        "top_k": "send top_n",
        "return_text": "send return_documents",
        "raw_scores": "send use_activation: false",
        "rank_fields": "documents have one field: put everything to read into text",
        "max_chunks_per_doc": "documents are not split: leave it out",
        "max_tokens_per_doc": "documents are cut to the model's maximum length: leave it out",
        "truncate_prompt_tokens": "-1 cuts documents to the model's maximum length",
    }

    query: str
    documents: Documents
    model: str | None = Field(default=None, description="Name of the served model.")
    top_n: Annotated[int, Field(ge=1), Integral] | None = Field(
        default=None, description="Number of documents to return, best first. Default: all."
    )
    return_documents: bool = Field(
        default=True, description="Whether the response has the documents."
    )
    use_activation: bool | None = Field(
        default=None, description="false: logits instead of scores, as in vLLM."
    )
    truncate_prompt_tokens: Annotated[Literal[-1], Integral] | None = Field(
        default=None, description="-1: cut documents that are too long, as in vLLM."
    )
    user: str | None = Field(default=None, description="Accepted and ignored.")
    priority: Annotated[int, Integral] = Field(
        default=0, description="Accepted and ignored: first come, first served."
    )


class RankedDocument(BaseModel):
    """One document: its index in the request, and how well it answers the query."""

    index: int = Field(ge=0)
    relevance_score: float
    document: Document | None = Field(default=None, description="Only with `return_documents`.")


class RankUsage(BaseModel):
    """Number of tokens of the request, the query once for each document."""

    prompt_tokens: int
    total_tokens: int


class RankedDocuments(BaseModel):
    """The documents, the best first."""

    id: str
    model: str
    results: list[RankedDocument]
    usage: RankUsage


async def rerank_documents(request: Request, body: DocumentsRequest) -> Response:
    """Ranks, the highest logit first. 424 unless the model has a single label."""
    check_model(request, body.model)
    ranking = await rank_texts(
        request,
        body.query,
        body.documents,
        field=_DOCUMENTS,
        truncate=None if body.truncate_prompt_tokens is None else True,
        raw=body.use_activation is False,
    )
    results: list[dict[str, Any]] = [
        {"index": index, "relevance_score": ranking.scores[index]}
        | ({"document": {"text": body.documents[index]}} if body.return_documents else {})
        for index in ranking.order[: body.top_n]
    ]
    num_tokens = ranking.result.num_tokens
    content = {
        "id": f"rerank-{uuid.uuid4().hex}",
        "model": engine_of(request).settings.model_name,
        "results": results,
        "usage": {"prompt_tokens": num_tokens, "total_tokens": num_tokens},
    }
    return json_response(request, content, ranking.result)


ROUTES = (
    ApiRoute(
        "/v1/rerank",
        rerank_documents,
        tag=TAG,
        summary="Rank documents by how well they answer a query",
        response=RankedDocuments,
        responses=describe_responses(names_model=True),
        tasks=("text-ranking",),
    ),
    ApiRoute(
        "/v2/rerank",
        rerank_documents,
        tag=TAG,
        summary="The same, at Cohere's newer path",
        response=RankedDocuments,
        responses=describe_responses(names_model=True),
        operation_id="rerank_documents_at_newer_path",
        tasks=("text-ranking",),
    ),
)
