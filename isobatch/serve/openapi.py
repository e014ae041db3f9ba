"""The OpenAPI document, built from the routes of the served model.

docs/openapi.json is that of all routes; where models of different tasks have one path, its body is
of any of their types.
"""

from collections.abc import Iterable, Mapping, Sequence
from inspect import cleandoc
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import JsonSchemaMode

from isobatch import __version__
from isobatch.serve.api_route import ApiRoute
from isobatch.serve.http_errors import OPENAI_PATHS, ErrorCode
from isobatch.serve.schema import NestedRefusal, Refusal

DESCRIPTION = (
    "Text classification, ranking, entities and embeddings in which the batch never changes the "
    "answer: every number has the same bits as the Python API gives for the text alone, with any "
    "other requests in progress."
)
_ABOUT = {"title", "description", "default"}
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
    "x-total-time": {"description": "Milliseconds from reading to the last output", **_NUMBER},
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
    424: "The route does not fit the model, or the model failed",
    429: "Too many concurrent requests",
    500: "Internal server error",
    503: "The server is shutting down",
}


def describe_responses(
    description: str = "Successful response", *, names_model: bool = False, nested: bool = False
) -> dict[int, dict[str, Any]]:
    """Describe the responses of an inference route; 404 only where a request names the model.

    nested: errors are those of OPENAI_PATHS.
    """
    types = {code.status: code.error_type for code in reversed(ErrorCode)}  # the first counts
    errors = {}
    for status, text in _ERROR_DESCRIPTIONS.items():
        if status == 404 and not names_model:
            continue
        plain: dict[str, Any] = {"error": text, "error_type": types[status]}
        inner = {"message": text, "type": types[status], "param": None, "code": status}
        example = {"error": inner} if nested else plain
        errors[status] = describe_error(text, NestedRefusal if nested else Refusal, example=example)
    return {200: {"description": description, "headers": RESPONSE_HEADERS}, **errors}


def describe_error(
    description: str, body: type[BaseModel] = Refusal, **content: object
) -> dict[str, Any]:
    schema = {"$ref": COMPONENT.format(model=body.__name__)}
    return {
        "description": description,
        "content": {"application/json": {"schema": schema, **content}},
    }


def openapi_document(
    routes: Iterable[ApiRoute],
    *,
    values: Mapping[str, dict[str, Any]] | None = None,
    server: str = ".",
) -> dict[str, Any]:
    """Build the document of all `routes` that have a summary.

    values: the schemas of fields whose values depend on the served model, by name. server: where
    the paths begin, by default the folder of the document itself, under any prefix of a proxy.
    """
    described = [route for route in routes if route.include_in_schema]
    schemas, components = _json_schemas(described)
    _name_values(components, values or {})
    paths: dict[str, dict[str, Any]] = {}
    for route in described:
        methods = paths.setdefault(route.path_format, {})
        operation = _operation(route, schemas)
        method = route.method.lower()
        methods[method] = _joined(methods[method], operation) if method in methods else operation
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


def _json_schemas(routes: Sequence[ApiRoute]) -> tuple[_Schemas, dict[str, Any]]:
    inputs: list[tuple[str, JsonSchemaMode, TypeAdapter[Any]]] = [
        ("", "serialization", TypeAdapter(Refusal))
    ]
    if any(route.path in OPENAI_PATHS for route in routes):
        inputs.append(("nested", "serialization", TypeAdapter(NestedRefusal)))
    for route in routes:
        if route.body is not None:
            inputs.append((route.operation_id, "validation", TypeAdapter(route.body)))
        if route.response is not None:
            inputs.append((route.operation_id, "serialization", TypeAdapter(route.response)))
    schemas, definitions = TypeAdapter.json_schemas(inputs, ref_template=COMPONENT)
    components: dict[str, Any] = _without_nulls(definitions["$defs"])
    return schemas, components


def _name_values(components: dict[str, Any], values: Mapping[str, dict[str, Any]]) -> None:
    """Write into the request schemas which values the served model takes."""
    for schema in components.values():
        properties = schema.get("properties", {})
        for name in values.keys() & properties.keys():
            kept = {key: properties[name][key] for key in _ABOUT & properties[name].keys()}
            properties[name] = kept | values[name]


def _joined(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Join the operations of one path for models of different tasks: any body, any response."""
    joined = {**one, "description": f"{one['description']}\n\n{other['description']}"}
    joined["summary"] = f"{one['summary']}; {_lower(other['summary'])}"
    bodies = [_schema_of(each["requestBody"]) for each in (one, other)]
    results = [_schema_of(each["responses"]["200"]) for each in (one, other)]
    joined["requestBody"] = {**one["requestBody"], "content": _any_of(bodies)}
    success = {"description": "As the model's task says", "headers": RESPONSE_HEADERS}
    joined["responses"] = one["responses"] | {"200": success | {"content": _any_of(results)}}
    return joined


def _schema_of(message: Mapping[str, Any]) -> dict[str, Any]:
    schema: dict[str, Any] = message["content"]["application/json"]["schema"]
    return schema


def _any_of(schemas: Iterable[dict[str, Any]]) -> dict[str, Any]:
    parts: list[dict[str, Any]] = []
    for schema in schemas:
        parts += [each for each in schema.get("anyOf", [schema]) if each not in parts]
    return {"application/json": {"schema": {"anyOf": parts}}}


def _lower(summary: str) -> str:
    return summary[:1].lower() + summary[1:]


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
