"""API documentation: /openapi.json, and Swagger UI at /docs, which needs no network.

Swagger UI is in serve/swagger/ with its license. No inline script or style is needed, so that the
content security policy forbids them.
"""

from functools import cache
from pathlib import Path

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from isobatch.serve.api_route import ApiRoute, engine_of

SWAGGER = Path(__file__).parent.parent / "swagger"

DOCUMENT_HEADERS = {"x-content-type-options": "nosniff", "referrer-policy": "no-referrer"}
CONTENT_SECURITY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


async def openapi(request: Request) -> Response:
    """Respond with the OpenAPI document."""
    return JSONResponse(request.app.state.openapi)


async def redirect_to_docs(request: Request) -> Response:
    """Redirect to /docs; without --root-path relatively, for a proxy's prefix that is unknown."""
    prefix = engine_of(request).settings.root_path
    return RedirectResponse(f"{prefix}/docs" if prefix else "docs")


@cache
def _content(name: str) -> bytes:
    return (SWAGGER / name).read_bytes()


def _file_route(path: str, name: str, media_type: str) -> ApiRoute:
    headers = {"content-security-policy": CONTENT_SECURITY, **DOCUMENT_HEADERS}

    async def document(request: Request) -> Response:
        return Response(_content(name), headers=headers, media_type=media_type)

    return ApiRoute(path, document)


ROUTES = (
    _file_route("/docs", "index.html", "text/html"),
    _file_route("/docs/start.js", "start.js", "text/javascript"),
    _file_route("/docs/swagger-ui.css", "swagger-ui.css", "text/css"),
    _file_route("/docs/swagger-ui-bundle.js", "swagger-ui-bundle.js", "text/javascript"),
    ApiRoute("/openapi.json", openapi),
)
DOCUMENT_PATHS = tuple(route.path for route in ROUTES)
