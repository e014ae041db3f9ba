"""`isobatch serve`: a model over HTTP, in the dialects that clients know already."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import typer

from isobatch.batching.cache import CACHED_ENCODINGS
from isobatch.batching.plan import MAX_BATCH_TOKENS
from isobatch.cli import options, serve_options
from isobatch.extras import needs_extra
from isobatch.serve import settings as server

if TYPE_CHECKING:
    from isobatch.tasks import Classifier


def serve(
    model: options.ModelArgument = None,
    host: serve_options.Host = "127.0.0.1",
    port: serve_options.Port = 8080,
    served_model_name: serve_options.ServedModelName = None,
    max_concurrent_requests: serve_options.MaxConcurrentRequests = server.MAX_CONCURRENT_REQUESTS,
    max_client_batch_size: serve_options.MaxClientBatchSize = server.MAX_CLIENT_BATCH_SIZE,
    payload_limit: serve_options.PayloadLimit = server.PAYLOAD_LIMIT,
    max_batch_tokens: options.MaxBatchTokensOption = MAX_BATCH_TOKENS,
    max_wait_ms: serve_options.MaxWaitMs = 0.0,
    truncation: options.TruncationOption = "cut",
    cache_size: serve_options.CacheSize = CACHED_ENCODINGS,
    api_key: serve_options.ApiKey = None,
    health_needs_key: serve_options.HealthNeedsKey = False,
    cors_allow_origin: serve_options.CorsAllowOrigin = None,
    json_output: serve_options.JsonOutput = False,
    access_log: serve_options.AccessLog = True,
    shutdown_seconds: serve_options.ShutdownSeconds = 25.0,
    page: serve_options.Page = True,
    precision: options.PrecisionOption = None,
    device: options.DeviceOption = "cpu",
    threads: options.ThreadsOption = None,
    revision: serve_options.Revision = None,
) -> None:
    """Serve a model over HTTP: /predict, /rerank, /v1/classify, / and more; /docs describes them.

    Logs go to stderr. After SIGTERM or Ctrl-C what is under way is answered, all else refused, and
    the exit code is 0; a second signal ends at once.
    """
    settings = server.Settings(
        model_name=served_model_name or _name_of(model),
        max_concurrent_requests=max_concurrent_requests,
        max_client_batch_size=max_client_batch_size,
        payload_limit=payload_limit,
        max_batch_tokens=max_batch_tokens,
        max_wait_ms=max_wait_ms,
        cached_answers=cache_size,
        api_key=api_key,
        health_needs_key=health_needs_key,
        cors_allow_origins=tuple(cors_allow_origin or ()),
        access_log=access_log,
    )
    with needs_extra("serve", "serving"):
        from isobatch.serve.app import create_app
        from isobatch.serve.lesson import lesson_router
        from isobatch.serve.logs import configure_logging
        from isobatch.serve.run import bind, run_server
    configure_logging(as_json=json_output)
    with bind(host, port) as bound:  # before loading: an address that is taken shows at once
        classifier = _load(
            model, precision, device, threads, max_batch_tokens, truncation, revision
        )
        # A browser cannot send the key, so the page would only be refused its lessons.
        lesson = lesson_router(classifier.folder) if page and api_key is None else None
        app = create_app(classifier, settings, page=lesson)
        ready = f"isobatch: serving {settings.model_name} ({classifier.precision}) on"
        tell = partial(_tell, ready)
        run_server(app, bound, grace_seconds=shutdown_seconds, on_ready=tell)


def _tell(ready: str, address: str) -> None:
    typer.echo(f"{ready} {address}")


def _load(
    model: str | None,
    precision: options.PrecisionName | None,
    device: str,
    threads: int | None,
    max_batch_tokens: int,
    truncation: str,
    revision: str | None,
) -> "Classifier":
    from isobatch.tasks import Classifier

    return Classifier.from_pretrained(
        model,
        precision=precision,
        device=device,
        threads=threads,
        max_batch_tokens=max_batch_tokens,
        truncation=cast("Literal['cut', 'error']", truncation),
        revision=revision,
    )


def _name_of(model: str | None) -> str:
    """A hub id is its own name, a folder has one."""
    from isobatch.checkpoint import bundled_folder

    folder = bundled_folder() if model is None else Path(model)
    return folder.resolve().name if folder.is_dir() else str(model)
