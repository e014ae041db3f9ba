"""`isobatch serve`: a model over HTTP, compatible with other servers' clients.

Each option is also an environment variable. Nothing heavy is imported until the command runs, so
that `--help` responds at once.
"""

import logging
import os
import sys
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isobatch.batching.plan import CACHED_ENCODINGS, MAX_BATCH_TOKENS
from isobatch.cli import options
from isobatch.cli.server_command import exiting_on_signals
from isobatch.cli.server_logging import configure_logging
from isobatch.errors import IsobatchError
from isobatch.extras import needs_extra
from isobatch.serve.address import bind
from isobatch.serve.log_format import JsonLines
from isobatch.serve.settings import (
    MAX_CLIENT_BATCH_SIZE,
    MAX_CONCURRENT_REQUESTS,
    PAYLOAD_LIMIT,
    Settings,
)

if TYPE_CHECKING:
    from isobatch.serve.server import ServerAddress
    from isobatch.tasks import Classifier

logger = logging.getLogger("isobatch.serve")

LONGEST_SHUTDOWN = 86_400.0


def _option(variable: str, help_text: str, *names: str, **limits: Any) -> Any:
    """Make an option that is also the environment variable ISOBATCH_`variable`."""
    return typer.Option(*names, envvar=f"ISOBATCH_{variable}", help=help_text, **limits)


Host = Annotated[str, _option("HOST", "Address to listen on; 0.0.0.0 for all interfaces.")]
Port = Annotated[int, _option("PORT", "Port to listen on; 0 for a free one.", min=0, max=65535)]
ServedModelName = Annotated[
    str | None,
    _option(
        "SERVED_MODEL_NAME",
        "Name of the model in requests and responses. Default: its hub id or its folder's name.",
    ),
]
MaxConcurrentRequests = Annotated[
    int,
    _option(
        "MAX_CONCURRENT_REQUESTS",
        "Maximum number of concurrent requests; more are refused at once (429).",
        min=1,
    ),
]
MaxClientBatchSize = Annotated[
    int,
    _option(
        "MAX_CLIENT_BATCH_SIZE",
        "Maximum number of texts per request; more are refused (422).",
        min=1,
    ),
]
PayloadLimit = Annotated[
    int,
    _option(
        "PAYLOAD_LIMIT",
        "Maximum size of a request body in bytes; larger ones are refused (413).",
        min=1,
    ),
]
MaxWaitMs = Annotated[
    float,
    _option("MAX_WAIT_MS", "Maximum time in ms to wait for more requests to batch with.", min=0),
]
CacheSize = Annotated[
    int,
    _option("CACHE_SIZE", "Maximum number of cached predictions; 0 disables the cache.", min=0),
]
ApiKey = Annotated[
    str | None,
    _option(
        "API_KEY",
        "API key that requests must send as Authorization: Bearer KEY (401). Other users of the "
        "machine can see it on a command line, but not in the environment variable.",
    ),
]
HealthNeedsKey = Annotated[
    bool,
    _option(
        "HEALTH_NEEDS_KEY",
        "Require the API key for /health and /metrics too.",
        "--health-needs-key",
    ),
]
CorsAllowOrigin = Annotated[
    list[str] | None,
    _option("CORS_ALLOW_ORIGIN", "Origin whose pages may read responses; repeat for several."),
]
JsonOutput = Annotated[
    bool,
    _option("JSON_OUTPUT", "Write logs, errors and the line on stdout as JSON.", "--json-output"),
]
AccessLog = Annotated[bool, _option("ACCESS_LOG", "Log a line for each request.")]
ShutdownSeconds = Annotated[
    float,
    _option(
        "SHUTDOWN_SECONDS",
        "Maximum time in seconds for active requests to complete after SIGTERM.",
        min=1,
        max=LONGEST_SHUTDOWN,
    ),
]
Page = Annotated[
    bool,
    _option(
        "PAGE",
        "Serve the interactive lesson page at /, which loads the model a second time and computes "
        "what visitors type; not with --api-key.",
        "--page",
    ),
]
RootPath = Annotated[
    str,
    _option(
        "ROOT_PATH",
        "Path of the server behind a proxy, such as /isobatch, whether the proxy strips it or not.",
    ),
]


def serve(
    model: options.ModelArgument = None,
    host: Host = "127.0.0.1",
    port: Port = 8080,
    served_model_name: ServedModelName = None,
    max_concurrent_requests: MaxConcurrentRequests = MAX_CONCURRENT_REQUESTS,
    max_client_batch_size: MaxClientBatchSize = MAX_CLIENT_BATCH_SIZE,
    payload_limit: PayloadLimit = PAYLOAD_LIMIT,
    max_batch_tokens: options.MaxBatchTokensOption = MAX_BATCH_TOKENS,
    max_wait_ms: MaxWaitMs = 0.0,
    truncation: options.TruncationOption = "cut",
    cache_size: CacheSize = CACHED_ENCODINGS,
    api_key: ApiKey = None,
    health_needs_key: HealthNeedsKey = False,
    cors_allow_origin: CorsAllowOrigin = None,
    json_output: JsonOutput = False,
    access_log: AccessLog = True,
    shutdown_seconds: ShutdownSeconds = 25.0,
    page: Page = False,
    root_path: RootPath = "",
    precision: options.PrecisionOption = None,
    device: options.DeviceOption = "cpu",
    threads: options.ThreadsOption = None,
    revision: options.RevisionOption = None,
) -> None:
    """Serve a model over HTTP: /predict, /rerank, /v1/classify, / and more; see /docs.

    Logs go to stderr. On SIGTERM, SIGHUP or Ctrl-C active requests are completed, new ones are
    refused, and the exit code is 0; a second signal ends the process at once.
    """
    configure_logging(as_json=json_output)
    settings = Settings(
        model_name="default" if served_model_name is None else served_model_name,
        max_concurrent_requests=max_concurrent_requests,
        max_client_batch_size=max_client_batch_size,
        payload_limit=payload_limit,
        max_batch_tokens=max_batch_tokens,
        max_wait_ms=max_wait_ms,
        cache_size=cache_size,
        api_key=api_key,
        health_needs_key=health_needs_key,
        cors_allow_origins=tuple(cors_allow_origin or ()),
        access_log=access_log,
        page=page,
        root_path=root_path,
    )
    on_ready = partial(_report, as_json=json_output)
    # The address first, so that a port in use is reported before the model is loaded.
    with bind(host, port) as bound, exiting_on_signals():
        run_server, classifier, name = _loaded(
            model,
            precision=precision,
            device=device,
            threads=threads,
            max_batch_tokens=max_batch_tokens,
            truncation=truncation,
            revision=revision,
        )
        settings = settings if served_model_name else replace(settings, model_name=name)
        run_server(classifier, settings, bound, shutdown_seconds, on_ready=on_ready)


def _loaded(model: str | None, **options: Any) -> tuple[Any, "Classifier", str]:
    """Import everything heavy and load: `run_server`, the classifier, and its model's name."""
    with needs_extra("serve", "serving"):
        from isobatch.checkpoint import checkpoint_name
        from isobatch.serve.server import run_server
        from isobatch.tasks import Classifier
    return run_server, Classifier.from_pretrained(model, **options), checkpoint_name(model)


def _report(address: "ServerAddress", *, as_json: bool) -> None:
    """Print where the server is. A stdout that cannot be written does not end the server."""
    line = str(address)
    if as_json:
        fields = {"model": address.model, "precision": address.precision, "url": address.url}
        record = logging.makeLogRecord({"levelname": "INFO", "msg": line, "fields": fields})
        line = JsonLines().format(record)
    try:
        typer.echo(line)
    except (OSError, IsobatchError, SystemExit) as error:  # full, closed, or without a reader
        logger.warning("stdout cannot be written (%s): %s", error, address)
        if isinstance(error, OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
