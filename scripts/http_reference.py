"""The reference of the HTTP API, docs/http.md: the routes of the OpenAPI description."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]

_REFERENCE = "#/components/schemas/"


def render_routes(document: Schema) -> str:
    """Render all routes of an OpenAPI document, then the objects that they name."""
    routes = [
        "\n\n".join(_route(f"{method.upper()} {path}", operation))
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    objects = ["## Objects", *_objects(document["components"]["schemas"])]
    return "\n\n".join(["## Routes", *routes, *objects])


def _route(title: str, operation: Schema) -> Iterator[str]:
    yield f"### `{title}`"
    others = [tag for tag in operation["tags"] if tag != "status"]
    compatible = f" Compatible with: {', '.join(others)}." if others else ""
    yield f"{_summary(operation['summary'])}{compatible}"
    yield from dict.fromkeys(operation.get("description", "").split("\n\n"))
    if body := operation.get("requestBody"):
        yield f"**Request**: {_type(_schema(body))}"
    for status, response in operation["responses"].items():
        if status == "200":
            schema = _schema(response)
            yield f"**Response**: {_type(schema)}" if schema else "**Response**: text"
    others = [f"`{status}`" for status in operation["responses"] if status != "200"]
    if others:
        yield f"**Errors**: {', '.join(others)} ([what they mean](serving.md#errors-and-limits))"


def _objects(schemas: Mapping[str, Schema]) -> Iterator[str]:
    for name, schema in schemas.items():
        yield f"### {name}"
        if description := schema.get("description"):
            yield _one_line(description)
        yield _fields(schema)


def _fields(schema: Schema) -> str:
    required = schema.get("required", ())
    lines = ["| field | type | required | |", "|---|---|---|---|"]
    for name, field in schema.get("properties", {}).items():
        need = "yes" if name in required else f"default `{json.dumps(field.get('default'))}`"
        note = _one_line(field.get("description", ""))
        lines.append(f"| `{name}` | {_cell(_type(field))} | {need} | {_cell(note)} |")
    return "\n".join(lines)


def _schema(part: Schema) -> Schema:
    content: Schema = part.get("content", {}).get("application/json", {})
    schema: Schema = content.get("schema", {})
    return schema


def _type(schema: Schema) -> str:
    """Name the type of a schema, with a link for each object."""
    if reference := schema.get("$ref"):
        name = reference.removeprefix(_REFERENCE)
        return f"[{name}](#{name.lower()})"
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return " or ".join(dict.fromkeys(_type(each) for each in schema[key]))
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    if "enum" in schema:
        return " or ".join(f"`{json.dumps(each)}`" for each in schema["enum"])
    if schema.get("type") == "array":
        return f"array of {_several(_type(schema.get('items', {})))}"
    return str(schema.get("type", "any JSON value"))


def _several(name: str) -> str:
    """Return the plural of a type's name; objects have their names, and a union is in brackets."""
    if " or " in name:
        return f"({name})"
    return re.sub(r"^(array|boolean|integer|number|object|string)\b", r"\1s", name)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _summary(text: str) -> str:
    """Return a summary as a sentence; routes of several tasks may say the same twice."""
    parts = {each.lower(): each for each in reversed(text.split("; "))}
    return f"{'; '.join(reversed(parts.values()))}."
