"""create_app: one model as an ASGI application.

Invariant: an application serves one model, whose thread lives as long as the application's
lifespan.
"""

import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from isobatch.errors import IsobatchError, OptionError
from isobatch.serve.admission import AdmissionMiddleware
from isobatch.serve.api_route import ApiRoute
from isobatch.serve.engine import ServingEngine
from isobatch.serve.http_errors import (
    ErrorCode,
    error_code,
    error_response,
    method_not_allowed,
    not_found,
)
from isobatch.serve.live_page import page_routes
from isobatch.serve.logs import AccessLogMiddleware
from isobatch.serve.openapi import RESPONSE_HEADERS, openapi_document
from isobatch.serve.path_prefix import PathPrefixMiddleware
from isobatch.serve.request_id import RequestIdMiddleware
from isobatch.serve.routes import API_ROUTES, docs, status
from isobatch.serve.settings import Settings
from isobatch.tasks import Classifier

logger = logging.getLogger("isobatch.serve")


def create_app(classifier: Classifier, settings: Settings | None = None) -> Starlette:
    """Make an application that serves `classifier`."""
    settings = settings or Settings()
    routes = [*API_ROUTES, *docs.ROUTES, *_root_routes(classifier, settings)]
    _check_prefix(settings.root_path, routes)
    engine = ServingEngine(classifier, settings)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        engine.start()
        yield
        await engine.close()

    async def on_error(request: Request, error: Exception) -> Response:
        code = error_code(error)
        engine.metrics.failures.labels(code.label).inc()
        if code is ErrorCode.UNEXPECTED and isinstance(error, IsobatchError):
            # Starlette reraises other exceptions, which uvicorn logs.
            logger.error("unhandled exception while serving a request", exc_info=error)
        return error_response(error)

    app = Starlette(
        routes=routes,
        middleware=_middleware(engine),
        exception_handlers={
            404: not_found,
            405: method_not_allowed,
            IsobatchError: on_error,
            ClientDisconnect: on_error,
            Exception: on_error,
        },
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    app.state.engine = engine
    app.state.openapi = openapi_document(
        API_ROUTES, side=classifier.truncation_side, server=settings.root_path or "."
    )
    return app


def _check_prefix(prefix: str, routes: Iterable[ApiRoute]) -> None:
    """Raise OptionError for a prefix that is the same as a route's own path."""
    first = prefix.strip("/").partition("/")[0]
    if first and first in {route.path.strip("/").partition("/")[0] for route in routes}:
        raise OptionError(f"root_path {prefix!r} is a path of the API. Choose another prefix")


def _root_routes(classifier: Classifier, settings: Settings) -> list[ApiRoute]:
    if settings.page:
        return page_routes(classifier.folder)
    return [ApiRoute("/", docs.redirect_to_docs)]


def _middleware(engine: ServingEngine) -> list[Middleware]:
    """List the middlewares from the outermost to the innermost."""
    settings = engine.settings
    middleware = [Middleware(AccessLogMiddleware)] if settings.access_log else []
    middleware.append(Middleware(RequestIdMiddleware))
    if settings.cors_allow_origins:
        middleware.append(
            Middleware(
                CORSMiddleware,
                allow_origins=settings.cors_allow_origins,
                allow_methods=["GET", "POST"],
                allow_headers=["authorization", "cache-control", "content-type", "x-request-id"],
                expose_headers=[*RESPONSE_HEADERS, "x-request-id"],
            )
        )
    if settings.root_path:
        middleware.append(Middleware(PathPrefixMiddleware, settings.root_path))
    health = () if settings.health_needs_key else status.HEALTH_PATHS
    open_paths = (*health, *docs.DOCUMENT_PATHS, "/")
    exempt_paths = (*status.STATUS_PATHS, *docs.DOCUMENT_PATHS)
    return [*middleware, Middleware(AdmissionMiddleware, engine, open_paths, exempt_paths)]
