"""The API described: OpenAPI, and a page at /docs that shows it without fetching from elsewhere.

Swagger UI's two files lie in swagger/ with their licence. Invariant: /openapi.json is made from the
routes themselves, and docs/openapi.json in the repository is the same description.
"""

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.utils import get_openapi
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

SWAGGER = Path(__file__).parent / "swagger"

CONTENT_SECURITY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Isobatch: API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="docs/swagger-ui.css">
<div id="swagger"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</html>
"""
START = """SwaggerUIBundle({
  url: "openapi.json", dom_id: "#swagger", deepLinking: true, validatorUrl: null,
  tryItOutEnabled: true, defaultModelsExpandDepth: 0
});
"""
KINDS = {".css": "text/css", ".js": "text/javascript", ".html": "text/html"}

DOCUMENT_PATHS = (
    "/docs",
    "/docs/start.js",
    "/docs/swagger-ui.css",
    "/docs/swagger-ui-bundle.js",
    "/openapi.json",
)

router = APIRouter(include_in_schema=False)


@router.get("/docs")
async def page() -> Response:
    """Swagger UI on the description of this server."""
    return _document(PAGE, ".html")


@router.get("/openapi.json")
async def openapi(request: Request) -> Response:
    """The description itself."""
    return JSONResponse(request.app.state.description)


@router.get("/docs/start.js")
async def start() -> Response:
    """What starts Swagger UI; in a file of its own, so that no inline script need be allowed."""
    return _document(START, ".js")


@router.get("/docs/swagger-ui.css")
async def style() -> Response:
    """Swagger UI's style sheet."""
    return _document(_shipped("swagger-ui.css"), ".css")


@router.get("/docs/swagger-ui-bundle.js")
async def script() -> Response:
    """Swagger UI."""
    return _document(_shipped("swagger-ui-bundle.js"), ".js")


@cache
def _shipped(name: str) -> bytes:
    return (SWAGGER / name).read_bytes()


def _document(content: str | bytes, suffix: str) -> Response:
    headers = {
        "content-security-policy": CONTENT_SECURITY,
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
    }
    return Response(content, headers=headers, media_type=KINDS[suffix])


def describe(app: FastAPI, first: Sequence[BaseRoute]) -> dict[str, Any]:
    """OpenAPI of the routes `first` and those of `app`, with the key that a server may ask for."""
    description = get_openapi(
        title=app.title,
        version=app.version,
        description=app.description,
        license_info=app.license_info,
        routes=[*first, *app.routes],
    )
    schemes = {"key": {"type": "http", "scheme": "bearer", "description": "--api-key"}}
    description["components"]["securitySchemes"] = schemes
    description["security"] = [{}, {"key": []}]
    return description


def openapi_text(app: FastAPI) -> str:
    """What stands in docs/openapi.json."""
    return json.dumps(app.state.description, ensure_ascii=False, indent=1) + "\n"
