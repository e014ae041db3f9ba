"""create_app: one model as an ASGI application.

Invariant: an application serves one model, whose thread lives as long as the application's
lifespan.
"""

import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from isobatch.checkpoint import checkpoint_name, read_config
from isobatch.errors import IsobatchError, OptionError
from isobatch.page import check_lesson
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
from isobatch.serve.model_values import model_values
from isobatch.serve.openapi import RESPONSE_HEADERS, openapi_document
from isobatch.serve.path_prefix import PathPrefixMiddleware
from isobatch.serve.request_id import RequestIdMiddleware
from isobatch.serve.route_table import fitting_routes, refusing_routes
from isobatch.serve.routes import API_ROUTES, docs, status
from isobatch.serve.settings import Settings
from isobatch.serve.unexpected_errors import UnexpectedErrorMiddleware
from isobatch.tasks import Classifier, Pipeline
from isobatch.tasks.zero_shot import ZeroShotClassifier

logger = logging.getLogger("isobatch.serve")


def create_app(pipeline: Pipeline[Any], settings: Settings | None = None) -> Starlette:
    """Make an application that serves `pipeline`: a classifier, or a pipeline of another task."""
    settings = settings or Settings()
    if isinstance(pipeline, ZeroShotClassifier):
        raise OptionError(
            "a ZeroShotClassifier is not served. Serve the Classifier of its checkpoint: requests "
            "with candidate_labels are zero-shot"
        )
    fitting = fitting_routes(API_ROUTES, pipeline)
    routes = [
        *fitting,
        *refusing_routes(API_ROUTES, pipeline),
        *docs.ROUTES,
        *_root_routes(pipeline, settings),
    ]
    _check_prefix(settings.root_path, routes)
    engine = ServingEngine(pipeline, settings)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        engine.start()
        yield
        await engine.close()

    async def on_error(request: Request, error: Exception) -> Response:
        code = error_code(error)
        engine.metrics.failures.labels(code.label).inc()
        if code is ErrorCode.UNEXPECTED:
            logger.error("unhandled exception while serving a request", exc_info=error)
        return error_response(error, request.scope["path"])

    app = Starlette(
        routes=routes,
        middleware=[*_middleware(engine), Middleware(UnexpectedErrorMiddleware, on_error)],
        exception_handlers={
            404: not_found,
            405: method_not_allowed,
            IsobatchError: on_error,
            ClientDisconnect: on_error,
        },
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    app.state.engine = engine
    app.state.openapi = openapi_document(
        fitting, values=model_values(pipeline), server=settings.root_path or "."
    )
    app.state.paths = [route.path_format for route in fitting if route.tasks]
    return app


def _check_prefix(prefix: str, routes: Iterable[ApiRoute]) -> None:
    """Raise OptionError for a prefix that is the same as a route's own path."""
    first = prefix.strip("/").partition("/")[0]
    if first and first in {route.path.strip("/").partition("/")[0] for route in routes}:
        raise OptionError(f"root_path {prefix!r} is a path of the API. Choose another prefix")


def _root_routes(pipeline: Pipeline[Any], settings: Settings) -> list[ApiRoute]:
    if settings.page:
        if not isinstance(pipeline, Classifier):
            raise OptionError(
                f"page: the lesson is about classification, and the model is for {pipeline.task}. "
                "Leave out --page"
            )
        check_lesson(checkpoint_name(pipeline.folder), read_config(pipeline.folder))
        return page_routes(pipeline.folder)
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
                allow_headers=["*"],  # clients send headers of their own: OpenAI's x-stainless-*
                expose_headers=[*RESPONSE_HEADERS, "x-request-id"],
            )
        )
    if settings.root_path:
        middleware.append(Middleware(PathPrefixMiddleware, settings.root_path))
    health = () if settings.health_needs_key else status.HEALTH_PATHS
    open_paths = (*health, *docs.DOCUMENT_PATHS, "/")
    exempt_paths = (*status.STATUS_PATHS, *docs.DOCUMENT_PATHS)
    return [*middleware, Middleware(AdmissionMiddleware, engine, open_paths, exempt_paths)]
