"""The OpenAPI document, built from the routes; docs/openapi.json is the same document."""

from collections.abc import Iterable
from inspect import cleandoc
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode

from isobatch import __version__
from isobatch.serve.api_route import ApiRoute
from isobatch.serve.http_errors import ErrorCode
from isobatch.serve.schema import Refusal

DESCRIPTION = (
    "Text classification in which the batch never changes the answer: every logit has the same "
    "bits as `Classifier` gives for the text alone, with any other requests in progress."
)
SIDE_FIELDS = {"truncation_direction", "truncation_side"}
COMPONENT = "#/components/schemas/{model}"

_NUMBER = {"schema": {"type": "number"}}
_COUNT = {"schema": {"type": "integer"}}
RESPONSE_HEADERS: dict[str, Any] = {
    "x-compute-type": {"description": "cpu or cuda", "schema": {"type": "string"}},
    "x-compute-time": {"description": "The same as x-total-time", **_NUMBER},
    "x-compute-characters": {"description": "Number of characters of the texts", **_COUNT},
    "x-compute-tokens": {
        "description": "Number of tokens of the texts, including special tokens",
        **_COUNT,
    },
    "x-total-time": {"description": "Milliseconds from reading to the last logit", **_NUMBER},
    "x-tokenization-time": {"description": "Milliseconds of tokenization", **_NUMBER},
    "x-queue-time": {"description": "Milliseconds in the queue", **_NUMBER},
    "x-inference-time": {"description": "Milliseconds of the request's batch", **_NUMBER},
    "x-truncated-inputs": {"description": "Number of truncated texts", **_COUNT},
}

_ERROR_DESCRIPTIONS = {
    400: "The request contains no text",
    401: "Missing or wrong API key",
    404: "The requested model is not served",
    408: "The body was not complete in time",
    413: "The body is too large",
    415: "The body is not uncompressed JSON",
    422: "The body does not match this schema, has too many texts, or one that cannot be tokenized",
    424: "The route does not support the model, or the model failed",
    429: "Too many concurrent requests",
    500: "Internal server error",
    503: "The server is shutting down",
}


def describe_responses(
    description: str = "Successful response", *, names_model: bool = False
) -> dict[int, dict[str, Any]]:
    """Describe the responses of an inference route; 404 only where a request names the model."""
    types = {code.status: code.error_type for code in ErrorCode}
    errors = {
        status: describe_error(text, example={"error": text, "error_type": types[status]})
        for status, text in _ERROR_DESCRIPTIONS.items()
        if status != 404 or names_model
    }
    return {200: {"description": description, "headers": RESPONSE_HEADERS}, **errors}


def describe_error(description: str, **content: object) -> dict[str, Any]:
    schema = {"$ref": COMPONENT.format(model=Refusal.__name__)}
    return {
        "description": description,
        "content": {"application/json": {"schema": schema, **content}},
    }


def openapi_document(
    routes: Iterable[ApiRoute], *, side: str = "right", server: str = "."
) -> dict[str, Any]:
    """Build the document of all `routes` that have a summary.

    side: the end that the served checkpoint cuts off long texts. server: where the paths begin, by
    default the folder of the document itself, under any prefix of a proxy.
    """
    described = [route for route in routes if route.include_in_schema]
    schemas, components = _json_schemas(described)
    _name_side(components, side)
    paths: dict[str, dict[str, Any]] = {}
    for route in described:
        operation = _operation(route, schemas)
        paths.setdefault(route.path_format, {})[route.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Isobatch",
            "description": DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            "version": __version__,
        },
        "servers": [{"url": server}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "--api-key"}
            },
        },
        "security": [{}, {"key": []}],
    }


_Schemas = dict[tuple[str, JsonSchemaMode], dict[str, Any]]


def _json_schemas(routes: Iterable[ApiRoute]) -> tuple[_Schemas, dict[str, Any]]:
    inputs: list[tuple[str, JsonSchemaMode, TypeAdapter[Any]]] = [
        ("", "serialization", TypeAdapter(Refusal))
    ]
    for route in routes:
        if route.body is not None:
            inputs.append((route.operation_id, "validation", TypeAdapter(route.body)))
        if route.response is not None:
            inputs.append((route.operation_id, "serialization", TypeAdapter(route.response)))
    schemas, definitions = TypeAdapter.json_schemas(inputs, ref_template=COMPONENT)
    components: dict[str, Any] = _without_nulls(definitions["$defs"])
    return schemas, components


def _name_side(components: dict[str, Any], side: str) -> None:
    """Write into the request schemas which end of a text may be cut."""
    for schema in components.values():
        for name in SIDE_FIELDS & schema.get("properties", {}).keys():
            schema["properties"][name]["enum"] = [side, side.title(), None]


def _operation(route: ApiRoute, schemas: _Schemas) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "tags": [route.tag],
        "summary": route.summary,
        "description": cleandoc(route.description or ""),
        "operationId": route.operation_id,
    }
    if route.param_convertors:
        operation["parameters"] = [
            {
                "name": name,
                "in": "path",
                "required": True,
                "schema": {"type": "string", "title": name.title()},
            }
            for name in route.param_convertors
        ]
    if route.body is not None:
        content = {"application/json": {"schema": schemas[route.operation_id, "validation"]}}
        operation["requestBody"] = {"content": content, "required": True}
    operation["responses"] = {str(status): each for status, each in route.responses.items()}
    if route.response is not None:
        schema = schemas[route.operation_id, "serialization"]
        if "$ref" not in schema:
            title = f"Response {route.operation_id.replace('_', ' ').title()}"
            schema = {**schema, "title": title}
        content = {"application/json": {"schema": schema}}
        operation["responses"]["200"] = {**route.responses[200], "content": content}
    return operation


def _without_nulls(value: Any) -> Any:
    """Leave out null defaults, which say nothing that an optional field does not."""
    if isinstance(value, dict):
        return {key: _without_nulls(each) for key, each in value.items() if each is not None}
    return [_without_nulls(each) for each in value] if isinstance(value, list) else value
