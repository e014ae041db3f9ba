"""create_app: the parts put together into one ASGI application.

It only assembles. Invariant: an application serves one model, whose thread lives as long as the
application's lifespan.
"""

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from isobatch import __version__
from isobatch.errors import IsobatchError
from isobatch.serve import documents
from isobatch.serve.dialects import DIALECTS, status
from isobatch.serve.dialects.words import TIMING_HEADERS
from isobatch.serve.engine import Engine
from isobatch.serve.errors import (
    UNFORESEEN,
    answer_framework,
    answer_invalid,
    error_response,
    fault_of,
)
from isobatch.serve.limits import ApiKeyGate, BodyGate, ConcurrencyGate, Door, ShutdownGate
from isobatch.serve.logs import AccessLog
from isobatch.serve.metrics import Metrics
from isobatch.serve.settings import Settings
from isobatch.tasks import Classifier

logger = logging.getLogger("isobatch.serve")

DESCRIPTION = (
    "Text classification in which the batch never changes the answer: every logit has the same "
    "bits as `Classifier` gives for the text alone, whatever else is under way."
)


_Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


def describe_app(page: APIRouter | None = None) -> FastAPI:
    """The routes alone: what OpenAPI is made from. `page` may bring routes of its own, as GET /."""
    return _routes(None, page)


def create_app(
    classifier: Classifier, settings: Settings | None = None, *, page: APIRouter | None = None
) -> FastAPI:
    """An application that serves `classifier`.

    `page` may bring routes of its own, as GET /: what it answers to GET needs no key.
    """
    settings = settings or Settings()
    metrics, door = Metrics(), Door()
    engine = Engine(classifier, settings, metrics)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        engine.start()
        yield
        await engine.close()

    app = _routes(lifespan, page)
    app.state.engine, app.state.door = engine, door
    for kind in (IsobatchError, ClientDisconnect):
        app.add_exception_handler(kind, partial(_answer_refusal, metrics))
    app.add_exception_handler(HTTPException, answer_framework)
    app.add_exception_handler(RequestValidationError, answer_invalid)
    app.add_exception_handler(Exception, partial(_answer_unforeseen, metrics))
    readable = (*documents.DOCUMENT_PATHS, *_paths_of(page))
    _add_gates(app, settings, door, readable, partial(metrics.failures.add, 1))
    return app


def _routes(lifespan: _Lifespan | None, page: APIRouter | None) -> FastAPI:
    app = FastAPI(
        title="Isobatch",
        version=__version__,
        description=DESCRIPTION,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        openapi_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        routes=[route for dialect in DIALECTS for route in dialect.served],
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    for router in (status.router, documents.router, *([page] if page else [])):
        app.include_router(router)
    described = [route for dialect in DIALECTS for route in dialect.described.routes]
    app.state.description = documents.describe(app, described)
    return app


def _paths_of(page: APIRouter | None) -> list[str]:
    return [route.path for route in page.routes if isinstance(route, Route)] if page else []


async def _answer_refusal(metrics: Metrics, request: Request, error: Exception) -> Response:
    fault = fault_of(error)
    metrics.failures.add(1, fault.label)
    if fault is UNFORESEEN:
        logger.error("a request failed by what no request should meet", exc_info=error)
    return error_response(error)


async def _answer_unforeseen(metrics: Metrics, request: Request, error: Exception) -> Response:
    """500, for what is in no table; the framework passes the error on to the log."""
    metrics.failures.add(1, UNFORESEEN.label)
    return error_response(error)


def _add_gates(
    app: FastAPI,
    settings: Settings,
    door: Door,
    readable: Sequence[str],
    count: Callable[[str], None],
) -> None:
    """From the inside out: the last that is added is asked first.

    `readable` are paths whose GET tells nothing of the model, and needs no key.
    """
    app.add_middleware(
        ConcurrencyGate,
        limit=settings.max_concurrent_requests,
        free_paths=(*status.STATUS_PATHS, *documents.DOCUMENT_PATHS),
        count=count,
    )
    app.add_middleware(
        BodyGate, limit=settings.payload_limit, seconds=settings.body_seconds, count=count
    )
    if settings.api_key is not None:
        opened = () if settings.health_needs_key else status.HEALTH_PATHS
        open_paths = (*opened, *readable)
        app.add_middleware(ApiKeyGate, api_key=settings.api_key, open_paths=open_paths, count=count)
    app.add_middleware(ShutdownGate, door=door, count=count)
    if settings.cors_allow_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_allow_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["authorization", "content-type"],
            expose_headers=list(TIMING_HEADERS),
        )
    if settings.access_log:
        app.add_middleware(AccessLog)
